"""The names of the in-kernel tests, read from the sources: what a complete KTAP output must hold."""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEST = re.compile(r"^TEST\(\s*(\w+),\s*(\w+)\s*\)", re.MULTILINE)


def sources():
    text = (ROOT / "cmake" / "sources.cmake").read_text()
    lists = [
        re.search(rf"set\({name}\s+(.*?)\)", text, re.DOTALL)[1]
        for name in ("CAIRN_TEST_SOURCES", "CAIRN_KERNEL_TEST_SOURCES")
    ]
    return [ROOT / word for word in " ".join(lists).split() if word.endswith(".c")]


def names():
    return [f"{suite}.{sentence}" for source in sources() for suite, sentence in TEST.findall(source.read_text())]

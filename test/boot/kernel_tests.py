"""The names of the in-kernel tests, read from the sources: what a complete KTAP output must hold."""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEST = re.compile(r"^TEST\(\s*(\w+),\s*(\w+)\s*\)", re.MULTILINE)


def sources():
    text = (ROOT / "cmake" / "sources.cmake").read_text()
    block = re.search(r"set\(CAIRN_TEST_SOURCES\s+(.*?)\)", text, re.DOTALL)
    return [ROOT / word for word in block[1].split() if word.endswith(".c")]


def names():
    return [f"{suite}.{sentence}" for source in sources() for suite, sentence in TEST.findall(source.read_text())]

"""The names of the in-kernel tests, read from the sources: what a complete KTAP output must hold."""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEST = re.compile(r"^TEST\(\s*(\w+),\s*(\w+)\s*\)", re.MULTILINE)


def words_of(name, lists):
    """The words of a list of cmake/, those of the lists that it names included."""
    found = []
    for word in re.search(rf"set\({name}\s+(.*?)\)", lists, re.DOTALL)[1].split():
        inner = re.fullmatch(r"\$\{(\w+)\}", word)
        found += words_of(inner[1], lists) if inner else [word]
    return found


def sources(preset):
    """The release kernels hold the first lists, the debug kernel all."""
    lists = "".join(path.read_text() for path in sorted((ROOT / "cmake").glob("*sources.cmake")))
    more = ("CAIRN_TEST_MORE_SOURCES", "CAIRN_KERNEL_TEST_MORE_SOURCES") if preset == "kernel-debug" else ()
    names = ("CAIRN_TEST_SOURCES", "CAIRN_KERNEL_TEST_SOURCES", *more)
    return [ROOT / word for name in names for word in words_of(name, lists) if word.endswith(".c")]


def names(preset):
    return [f"{suite}.{sentence}" for source in sources(preset) for suite, sentence in TEST.findall(source.read_text())]

"""The names of the in-kernel tests, read from the sources: what a complete KTAP output must hold."""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEST = re.compile(r"^TEST\(\s*(\w+),\s*(\w+)\s*\)", re.MULTILINE)


def sources(preset):
    """The release kernels hold the first lists, the debug kernel all."""
    files = ("sources.cmake", "aspace_sources.cmake", "heap_sources.cmake")
    text = "".join((ROOT / "cmake" / name).read_text() for name in files)
    of_layers = [f"CAIRN_{layer}_TEST_SOURCES" for layer in ("ASPACE", "HEAP")]
    of_debug = ["CAIRN_TEST_MORE_SOURCES", "CAIRN_KERNEL_TEST_MORE_SOURCES", *of_layers]
    more = of_debug if preset == "kernel-debug" else []
    lists = [
        re.search(rf"set\({name}\s+(.*?)\)", text, re.DOTALL)[1]
        for name in ("CAIRN_TEST_SOURCES", "CAIRN_KERNEL_TEST_SOURCES", *more)
    ]
    return [ROOT / word for word in " ".join(lists).split() if word.endswith(".c")]


def names(preset):
    return [f"{suite}.{sentence}" for source in sources(preset) for suite, sentence in TEST.findall(source.read_text())]

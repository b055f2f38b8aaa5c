"""Every deliberate fault: the run fails with status 1, and the report says in words what happened."""
import re

import pytest
from conftest import run_cairn

pytestmark = pytest.mark.cairn(labels="qemu", seconds=90)

# What the report must hold, as regular expressions, in any order. Those that are refused go on to the exit line by
# themselves, the others panic.
FAULTS = {
    "null": [r"panic: page fault", r"null pointer"],
    "guard": [r"panic: page fault", r"guard page"],
    "nx": [r"panic: page fault", r"(?i)execut"],
    "wp": [r"panic: page fault", r"(?i)writ|read-only"],
    "stack-overflow": [r"panic: ", r"stack overflow"],
    "double-fault": [r"panic: double fault"],
    "ud": [r"panic: invalid opcode"],
    "gp": [r"panic: general protection"],
    "heap-overflow": [r"panic: page fault", r"guard page"],
    "panic-in-report": [r"panic: ", r"inside the report"],
}
REFUSED = {
    "double-free": [r"misuse", r"free"],
    "free-unallocated": [r"misuse"],
    "free-reserved": [r"misuse", r"reserved|metadata"],
    "free-outside": [r"misuse", r"outside"],
    "free-unaligned": [r"misuse", r"align|start of a frame|not a frame"],
    "heap-double-free": [r"misuse"],
    "heap-foreign": [r"misuse"],
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_fatal_and_explained(name):
    ended = run_cairn("--exec", f"provoke {name}")
    assert ended.status == 1, ended.log
    for words in FAULTS[name]:
        assert re.search(words, ended.log), f"{words} in\n{ended.log}"
    assert "rip " in ended.log or name == "panic-in-report", "registers are shown"
    assert re.search(r"^cairn-exit 1 ", ended.log, re.MULTILINE), "the kernel itself says that it failed"
    assert f"result provoke {name}: ok" not in ended.log


@pytest.mark.parametrize("name", REFUSED)
def test_a_misuse_is_reported_and_changes_nothing(name):
    ended = run_cairn("--exec", f"mem -j; provoke {name}; check; mem -j")
    assert ended.status == 1
    for words in REFUSED[name]:
        assert re.search(words, ended.log, re.IGNORECASE), f"{words} in\n{ended.log}"
    assert f"result provoke {name}: failed" in ended.log.splitlines()
    assert "check: ok" in ended.log.splitlines(), "the kernel lives on and its validators agree"
    before, after = ended.json_all("mem -j")
    assert before["ram"] == after["ram"] and before["reserved"] == after["reserved"]


@pytest.mark.parametrize("name", REFUSED)
def test_with_panic_misuse_the_kernel_stops_there(name):
    ended = run_cairn("--append", "panic=misuse", "--exec", f"provoke {name}; check")
    assert ended.status == 1
    assert "panic: " in ended.log and "result check:" not in ended.log


def test_an_unknown_name_is_refused():
    ended = run_cairn("--exec", "provoke nonsense")
    assert ended.status == 1 and "result provoke nonsense: failed" in ended.log.splitlines()


def test_the_list_is_complete():
    """Whatever the kernel offers is tested here."""
    ended = run_cairn("--exec", "provoke")
    offered = {
        word for line in ended.log.splitlines() for word in line.split() if word in FAULTS | REFUSED or "-free" in word
    }
    assert set(FAULTS | REFUSED) == offered, ended.log


def test_a_panic_by_hand():
    ended = run_cairn("--exec", "panic")
    assert ended.status == 1 and "panic: " in ended.log and "backtrace" in ended.log

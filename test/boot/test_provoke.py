"""Every deliberate fault: the run fails with status 1, and the report says in words what happened."""
import re
import socket
import subprocess
import threading
import time

import pytest
from conftest import ROOT, run_cairn

pytestmark = pytest.mark.cairn(labels="qemu", seconds=90)


def here(function):
    """The backtrace begins in this function, and its caller has a name."""
    return rf"  #0  0x[0-9a-f]{{16}} {function}\+(0x[0-9a-f]+|0) \(here\)\n  #1  0x[0-9a-f]{{16}} \w+\+0x"


# What the report must hold, as regular expressions, in any order. Those that are refused go on to the exit line by
# themselves, the others panic.
FAULTS = {
    "null": [
        r"panic: page fault \(vector 14, error 0\)",
        r"cannot read 0x0{16}: nothing is mapped there \(kernel mode\)",
        r"walk: PML4E \[  0\] = 0{16}  stops here: not present",
        r"place: the first page: a null pointer",
        here("null_read") + r".*\n(  #.*\n)*  #\d+ .* kernel_main\+.*\n  #\d+ .* enter_on_stack\+",
    ],
    "guard": [
        r"cannot read 0xffff8.*: nothing is mapped",
        r"walk: PTE   \[.*stops here: not present",
        r"place: guard page below provoked \(1 pages",
        here("guard"),
    ],
    "nx": [
        r"cannot execute 0x\w+: its rights forbid it",
        r"it was jumped to",
        r"walk: PTE .* stops here: no execution \(XD=1\)",
        r"place: the kernel image, data: may not be executed\nplace: code\S*\+0",
        r"  #1  0x\w+ execute_data\+",
    ],
    "wp": [
        r"cannot write 0x\w+: its rights forbid it",
        r"walk: PTE .* stops here: read-only \(W=0\)",
        r"place: the kernel image, constants: may only be read\nplace: constant\S*\+0",
    ],
    "stack-overflow": [
        r"panic: double fault",
        r"stack overflow: rsp is in the guard page below the main stack \(16 pages",
        r" recurse\+.*\n      \.\.\. and \d+ more such frames\n  #\d+ .* stack_overflow\+",
    ],
    "double-fault": [
        r"panic: double fault",
        r"a fault could not be delivered",
        r"rsp is in no stack\nplace: PML4 slot 260, where nothing is ever mapped",
    ],
    "ud": [r"panic: invalid opcode", r"ud2: a place that is never reached", r"^code: 0f 0b", here("invalid_opcode")],
    "gp": [
        r"panic: general protection fault \(vector 13, error 0\)",
        r"rax = 0x8000000000000000 is not a canonical address: using it as one is the likely cause",
    ],
    "bad-selector": [r"entry 583 of the GDT \(selector 0x1238\) is at fault"],
    "divide": [r"panic: divide error", r"a division by zero"],
    "machine-check": [r"panic: machine check", r"MCG_STATUS 0, \d+ banks"],
    "jump-to-null": [
        r"cannot execute 0x0{16}: nothing is mapped",
        r"it was jumped to, by a wrong function pointer",
        r"^code: none can be read",
        r"  #0  0x\w+ jump_to_null\+",
    ],
    "other-space": [
        r"place: the private user part\nplace: space 1, another one, has a page there: rw-, to 0x",
        r"walk: PML4E \[  0\] = 0{16}  stops here: not present",
    ],
    "user-page": [r"walk: PTE .*leaf, 4 KiB\nwalk: a user page: SMAP keeps the kernel from it", r"r--, user, to 0x"],
    "user-untouched": [
        r"cannot read 0x0000000000600000: nothing is mapped there \(kernel mode\)",
        r"place: the private user part\nplace: in a range of space 1, 16 pages at 0x600000",
    ],
    "reserved-bit": [r"a reserved bit is set in an entry", r"walk: PTE .*  stops here: a reserved bit is set"],
    "self-window": [r"place: the self window: the PTE of 0xffff807ffffff000, whose table is not there"],
    "heap-overflow": [
        r"panic: page fault",
        r"place: guard page above .*: an overrun",
        r"place: live heap block of 12288 bytes at 0x\w+, byte 12287 of it",
    ],
    "fault-in-walk": [
        r"cannot read 0x0{16}: nothing",
        r"inside the report, at 'the walk': page fault at .* it goes on",
        r"^rip [0-9a-f]{16}",
        r"backtrace:\n  #0  0x[0-9a-f]{16} \(here\)\n  #1  0x[0-9a-f]{16}\n  #2 ",
        r"place: the first page",
    ],
    "fault-in-symbols": [
        r"inside the report, at 'the backtrace': page fault at .* it goes on",
        r"backtrace:\n  #0  0x[0-9a-f]{16} \(here\)\n  #1  0x[0-9a-f]{16}\n  #2 ",
        r"place: the first page",
    ],
    "panic-in-report": [
        r"panic: with a text that cannot be read: ",
        r"inside the report, at 'text': page fault at .* it goes on",
        r"  #0  0x\w+ panic_in_report\+0x",
    ],
}
REFUSED = {
    "double-free": [r"misuse", r"free"],
    "free-unallocated": [r"misuse"],
    "free-reserved": [r"misuse", r"reserved|metadata"],
    "free-outside": [r"misuse", r"outside"],
    "free-unaligned": [r"misuse", r"align|start of a frame|not a frame"],
    "heap-double-free": [r"misuse"],
    "heap-foreign": [r"misuse"],
    "heap-cache-double-free": [r"misuse: heap_cache_free: .*double free", r"'provoked'"],
}
# What nobody can see without guard mode (test_heap_guard.py).
UNSEEN = {"heap-write-after-free", "heap-cache-overflow"}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_fatal_and_explained(name):
    ended = run_cairn("--exec", f"provoke {name}")
    assert ended.status == 1, ended.log
    for words in FAULTS[name]:
        assert re.search(words, ended.log, re.MULTILINE), f"{words} in\n{ended.log}"
    assert re.search(r"^rip [0-9a-f]{16}  rsp ", ended.log, re.MULTILINE) or name == "panic-in-report"
    assert ("inside the report" in ended.log) == ("-in-" in name), "the report itself does not fault"
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
        word
        for line in ended.log.splitlines()
        for word in line.split()
        if word in FAULTS or word in REFUSED or word in UNSEEN or "-free" in word or "-in-" in word
    }
    assert set(FAULTS | REFUSED) | UNSEEN == offered, ended.log


def test_a_panic_by_hand():
    ended = run_cairn("--exec", "panic")
    assert ended.status == 1 and "panic: " in ended.log and "backtrace" in ended.log


def test_an_nmi_is_explained(tmp_path):
    """Sent by QEMU's monitor while the exercise runs."""
    log, socket_path = tmp_path / "serial.log", tmp_path / "monitor"
    sent = threading.Event()

    def press():
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline and not (log.exists() and b"cairn 0." in log.read_bytes()):
            time.sleep(0.1)
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(socket_path))
            monitor.sendall(b"nmi\n")
            sent.set()
            time.sleep(1)

    thread = threading.Thread(target=press, daemon=True)
    thread.start()
    ended = run_cairn("--serial-log", log, "--qemu-monitor", socket_path, "--exec", "exercise 1000000")
    thread.join(timeout=10)
    assert sent.is_set() and ended.status == 1
    assert "panic: non-maskable interrupt (vector 2" in ended.log
    assert "sent by a person, a watchdog or a debugger (port 0x61:" in ended.log
    assert re.search(r"^cairn-exit 1 ", ended.log, re.MULTILINE)
    assert re.search(r"  #\d+ .* kernel_main\+", ended.log), "from the NMI stack on to the interrupted one"


def test_the_backtrace_gets_file_and_line(kernels, tmp_path):
    """scripts/symbolise knows the lines that the image does not carry."""
    kernel = kernels("kernel")
    ended = run_cairn("--exec", "provoke guard")
    log = tmp_path / "log"
    log.write_text(ended.log)
    command = [ROOT / "scripts" / "symbolise", "--elf", kernel, log]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = re.search(r"  #0  .* guard\+.* at src/kernel/provoke\.c:(\d+)$", told, re.MULTILINE)
    source = (ROOT / "src" / "kernel" / "provoke.c").read_text().splitlines()
    assert line and "volatile uint8_t" in source[int(line[1]) - 1], told
    assert re.search(r"  #\d+ .* kernel_main\+.* at src/kernel/main\.c:\d+$", told, re.MULTILINE), told
    assert told.count("\n") == ended.log.count("\n"), "nothing is dropped"

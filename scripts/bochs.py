#!/usr/bin/env python3
"""Runs Bochs for scripts/run: between its serial line and ours, and to its end.

Bochs is built with its debugger, knows no device that a kernel could end it with, and its own status is always 1. So
somebody must tell its debugger to continue, see that the kernel is done, and end it:

    done        an exit line (whose nonce and status scripts/verdict.py judges), and then the CPU halted with interrupts
                off (Bochs's log says so); a second of silence will do as well. What came until then is in the log.
    reset       a hardware or software reset after the first one: ended at once, or the BIOS would boot again.
    flood       more than --kib-max in the serial log or its own: ended at once, as QEMU is by its limit of file sizes.
    its end     a triple fault is fatal (reset_on_triple_fault=0), and its log holds the CPU's last state.

Status: 0 done, 128 + SIGXFSZ for a flood, 128 + N where signal N killed it, else 1. A time limit is the caller's
affair.

Modes: `headless` shows the serial line on standard output; `terminal` gives it a terminal of its own, joined to ours
(Ctrl-A X ends Bochs); `debugger` leaves terminal and all to Bochs's debugger and only keeps the serial log.
"""
import argparse
import ctypes
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
import tty
from contextlib import suppress
from pathlib import Path

SILENCE_SECONDS = 1.0
POLL_SECONDS = 0.1
CONTINUES = 1000  # a magic breakpoint that nobody waits for is passed; so often at most
PR_SET_PDEATHSIG = 1
RESET = re.compile(rb"Reset\((HARDWARE|SOFTWARE)\) called")
EXIT_LINE = re.compile(rb"(?:^|\n)cairn-exit [^\n]*\n")
EXIT_LINE_BYTES = 256
HALTED = b"WARNING: HLT instruction with IF=0"
CTRL_A, END_KEYS = 1, (ord("x"), ord("X"))


class Serial:
    """The machine's serial line as a file descriptor here, and as a word of the bochsrc there."""

    def __init__(self, mode: str, folder: Path):
        self.keys = mode == "terminal"
        if self.keys:
            self.fd, slave = pty.openpty()
            tty.setraw(slave)
            self.word = f"term, dev={os.ttyname(slave)}"
            self.slave = slave  # kept open: a pty without a user reads as an error
        else:
            path = folder / "com1"
            os.mkfifo(path)
            # Reading and writing, so that opening does not wait for Bochs and its end does not end the line.
            self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
            self.word = f"file, dev={path}"

    def read(self) -> bytes:
        with suppress(BlockingIOError):
            return os.read(self.fd, 65536)
        return b""


class Log:
    """Bochs's own log, read as it grows."""

    def __init__(self, path: Path):
        self.path, self.offset, self.resets, self.halts = path, 0, 0, 0

    def update(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.offset)
            whole = file.read().rpartition(b"\n")[0]
        self.offset += len(whole) + 1 if whole else 0
        self.resets += len(RESET.findall(whole))
        self.halts += whole.count(HALTED)


def start(arguments, serial: Serial) -> subprocess.Popen:
    rc = arguments.bochsrc
    rc.write_text(rc.read_text().replace("@COM1@", serial.word))
    commands = rc.with_name("commands")
    given = arguments.commands.read_text() if arguments.commands else ""
    commands.write_text(given if given else "c\n")
    libc = ctypes.CDLL(None)

    def die_with_parent():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    quiet = {}  # the debugger's own terminal
    if arguments.mode != "debugger":
        continues = rc.with_name("continues")
        continues.write_text("c\n" * CONTINUES)
        output = arguments.output or rc.with_name("output")
        quiet = {"stdin": continues.open("rb"), "stdout": output.open("wb"), "stderr": subprocess.STDOUT}
    return subprocess.Popen(["bochs", "-q", "-f", rc, "-rc", commands], preexec_fn=die_with_parent, **quiet)


class Watch:
    """Is the kernel done? An exit line came, and then nothing more."""

    def __init__(self, log: Log):
        self.tail, self.log, self.said, self.halts, self.last = b"", log, False, 0, 0.0

    def take(self, data: bytes) -> None:
        self.last = time.monotonic()
        self.tail = (self.tail + data)[-EXIT_LINE_BYTES - len(data) :]
        if not self.said and EXIT_LINE.search(self.tail):
            self.said = True

    def is_done(self) -> bool:
        if not self.said:
            self.halts = self.log.halts
            return False
        return self.log.halts > self.halts or time.monotonic() - self.last > SILENCE_SECONDS


def pass_keys(serial: Serial, pending: list[int]) -> bool:
    """What is typed goes to the machine; true for Ctrl-A X."""
    for key in os.read(sys.stdin.fileno(), 256):
        if pending:
            pending.clear()
            if key in END_KEYS:
                return True
        elif key == CTRL_A:
            pending.append(key)
            continue
        os.write(serial.fd, bytes([key]))
    return False


def last_words(output: Path) -> str:
    """Why Bochs gave up, in its own words, where it wrote no log yet."""
    found = re.search(rb"exiting with the following message:\n(.*)\n", output.read_bytes())
    return found[1].decode(errors="replace") if found else ""


def show(data: bytes, mode: str) -> None:
    if mode == "debugger":
        return
    with suppress(OSError):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def attend(arguments, bochs: subprocess.Popen, serial: Serial, kept) -> int:
    log = Log(arguments.log)
    watch = Watch(log)
    sources, pending = [serial.fd] + [sys.stdin.fileno()] * serial.keys, []
    while True:
        ended = bochs.poll() is not None
        log.update()
        ready, _, _ = select.select(sources, [], [], 0 if ended else POLL_SECONDS)
        data = serial.read() if serial.fd in ready else b""
        if max(kept.tell(), log.offset) >= arguments.kib_max << 10:
            return 128 + signal.SIGXFSZ
        if data:
            kept.write(data[: (arguments.kib_max << 10) - kept.tell()])
            kept.flush()
            show(data, arguments.mode)
            watch.take(data)
        elif ended:
            return 128 - bochs.returncode if bochs.returncode < 0 else int(arguments.mode != "debugger")
        elif arguments.mode != "debugger" and log.resets > 1:
            return 1
        elif arguments.mode != "debugger" and watch.is_done():
            return 0
        if serial.keys and sys.stdin.fileno() in ready and pass_keys(serial, pending):
            return 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Run Bochs for scripts/run.")
    parser.add_argument("--mode", choices=["headless", "terminal", "debugger"], required=True)
    parser.add_argument("--bochsrc", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--serial-log", type=Path, required=True)
    parser.add_argument("--kib-max", type=int, required=True, help="the limit of both logs")
    parser.add_argument("--commands", type=Path, help="commands of the debugger, one a line, instead of `c`")
    parser.add_argument("--output", type=Path, help="what the debugger says goes there")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if arguments.mode == "debugger":
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the debugger's
    serial = Serial(arguments.mode, arguments.bochsrc.parent)
    before = termios.tcgetattr(sys.stdin) if serial.keys else None
    bochs = start(arguments, serial)
    try:
        with arguments.serial_log.open("wb") as kept:
            if before is not None:
                tty.setraw(sys.stdin)
            status = attend(arguments, bochs, serial, kept)
        output = arguments.output or arguments.bochsrc.with_name("output")
        if status == 1 and arguments.mode != "debugger" and last_words(output):
            print(f"Bochs ended: {last_words(output)}", file=sys.stderr)
        return status
    finally:
        if before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        bochs.kill()
        bochs.wait()


if __name__ == "__main__":
    sys.exit(main())

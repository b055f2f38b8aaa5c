"""Independent witnesses of the page tables: what the kernel's `pt` says is compared, page by page, with what Bochs and
QEMU read out of the same machine. test_witness_history.py does the same after a random history.

The rule for the two windows: they show the tables themselves as pages, `pt` folds each to a line, so addresses from the
foreign window's base on (that is in the line) are left out of the comparison. Instead the self window is compared with
the tables: it must show each of them exactly once, and nothing else.
"""
import os
import re
import time
from dataclasses import dataclass

import pexpect
import pytest
from conftest import ROOT, typed_monitor
from test_exercise import ask_qemu

PAGE_BYTES, ENTRIES, LEVELS = 4096, 512, 4
WINDOWS = (510, 511)
PRESENT, WRITE, USER, LARGE, NO_EXECUTE = 1, 2, 4, 1 << 7, 1 << 63
FRAME_MASK = 0x000F_FFFF_FFFF_F000
BOCHS_TAB_FIRST = 0xFFFFF80000000000  # Bochs 2.7's `info tab` skips the part of the upper half below
ROW = re.compile(
    r"^ +([0-9a-f]{16}) +([0-9a-f]+) +(\d+) +[\d.]+ \w+ +(\d+) ([KMG]iB) ([r-])([w-])([x-])([u-]) ",
    re.MULTILINE,
)


def canonical(va):
    return va | 0xFFFF_0000_0000_0000 if va >> 47 & 1 else va


@dataclass
class Reading:
    """What one `pt` says: {virtual: (physical, rights)} of each leaf, with an L after the rights of large ones; the
    windows' bases, the PML4, who is in the foreign window."""

    pages: dict
    foreign: int
    self_base: int
    root: int
    space: int
    opened: int | None


def reading_of_pt(text):
    pages, listed = {}, 0
    for base, address, count, size, unit, *rights in ROW.findall(text):
        leaf = {"4 KiB": PAGE_BYTES, "2 MiB": PAGE_BYTES * ENTRIES, "1 GiB": PAGE_BYTES * ENTRIES**2}[f"{size} {unit}"]
        mark = "" if leaf == PAGE_BYTES else "L"
        listed += int(count)
        for offset in range(0, int(count) * PAGE_BYTES, leaf):
            va = int(base, 16) + offset
            assert va not in pages, "listed twice"
            pages[va] = (int(address, 16) + offset, "".join(rights) + mark)
    foreign, opened = re.search(r"([0-9a-f]{16})  foreign window: (?:closed|open on space (\d+),)", text).groups()
    self_base, root = re.search(r"([0-9a-f]{16})  self window: PML4 at ([0-9a-f]+)", text).groups()
    space, total, unsafe = map(
        int, re.search(r"space (\d+): \d+ mappings, (\d+) pages, (\d+) both writable and executable", text).groups()
    )
    assert listed == total > 100 and unsafe == 0
    assert not any(rights[1:3] == "wx" for _, rights in pages.values())
    return Reading(pages, int(foreign, 16), int(self_base, 16), int(root, 16), space, opened and int(opened))


def pages_of_pt(text):
    """The same at the prompt, where there is no other space."""
    said = reading_of_pt(text)
    assert said.space == 0 and said.opened is None
    return said.pages, said.foreign, said.self_base, said.root


def check_self_window(shown, self_base, tables):
    """`shown` {va: physical} from the self window's base on: each table once, and nothing else."""
    inside = sorted(physical for va, physical in shown.items() if va >= self_base)
    assert inside == sorted(tables), "the self window shows each table exactly once"


class Bochs:
    """Bochs's debugger at its prompt."""

    def __init__(self, *arguments):
        environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
        self.child = pexpect.spawn(
            str(ROOT / "scripts" / "debug"),
            ["bochs", *arguments],
            encoding="utf-8",
            codec_errors="replace",
            env=environment,
            timeout=60,
            dimensions=(50, 200),
            echo=False,
        )
        self.child.delaybeforesend = None
        self.child.expect(r"Magic breakpoint")
        self.number = 1
        self.prompt()

    def prompt(self):
        self.child.expect_exact(f"<bochs:{self.number}> ")
        self.number += 1
        return self.child.before.replace("\r", "")

    def ask(self, command):
        self.child.send(command + "\n")
        return self.prompt()

    def entries(self, table):
        text = self.ask(f"xp /{ENTRIES}gx {table:#x}")
        # Eight digits at least, sixteen at most, whatever the value needs.
        words = [int(word, 16) for line in text.splitlines() for word in re.findall(r"\t0x([0-9a-f]{8,16})", line)]
        assert len(words) == ENTRIES, text[:400]
        return words

    def run_to_the_end(self, log):
        """Goes on, past other stops; the serial log when the kernel has ended."""
        self.child.send("c\n")
        deadline, text = time.monotonic() + 60, ""
        while "cairn-exit" not in text and time.monotonic() < deadline:
            self.child.expect([pexpect.TIMEOUT, pexpect.EOF], timeout=0.5)
            text = log.read_text(errors="replace").replace("\r", "")
        self.child.close(force=True)
        return text


def walk_all(entries_of, root):
    """All leaves by the tables' raw entries in physical memory: {va: (physical, rights)}, as in a Reading; the set of
    tables; {va: bytes} of large ones; and what a window shows of these, as if they were tables: {va: bytes}. The
    recursive entry is followed as the MMU does, but each table is read from the machine once."""
    cache, pages, sizes, shown = {}, {}, {}, {}

    def load(table):
        if table not in cache:
            cache[table] = entries_of(table)
        return cache[table]

    def descend(table, level, va, write, user, execute):
        for index, entry in enumerate(load(table)):
            if not entry & PRESENT:
                continue
            here = va | index << (12 + 9 * (level - 1))
            rights = (write and entry & WRITE, user and entry & USER, execute and not entry & NO_EXECUTE)
            is_large = level in (2, 3) and entry & LARGE
            if level == 1 or is_large:
                span = PAGE_BYTES << 9 * (level - 1)
                letters = "".join(letter if right else "-" for letter, right in zip("wux", rights, strict=True))
                mark = "L" if is_large else ""
                pages[canonical(here)] = (entry & FRAME_MASK, "r" + letters[0] + letters[2] + letters[1] + mark)
                if is_large:
                    sizes[canonical(here)] = span
                if entry & LARGE and va >> 39 & (ENTRIES - 1) in WINDOWS:
                    shown[canonical(here)] = span
            else:
                descend(entry & FRAME_MASK, level - 1, here, *rights)

    descend(root, LEVELS, 0, True, True, True)
    return pages, set(cache), sizes, shown


def walk(entries_of, root):
    pages, tables, sizes, _ = walk_all(entries_of, root)
    assert not sizes, "no large pages here"
    return pages, tables


@pytest.mark.cairn(labels="bochs", seconds=150)
def test_bochs_reads_the_same_mappings_as_the_kernel(tmp_path):
    bochs = Bochs(
        "--memory", "64M", "--append", "debug=magic:prompt", "--exec", "pt", "--serial-log", str(tmp_path / "log")
    )
    tab = bochs.ask("info tab")
    root = int(re.search(r"cr3: (0x[0-9a-f]+)", tab)[1], 16)
    walked, tables = walk(bochs.entries, root)
    mapped = {va: physical for va, (physical, _) in walked.items()}
    sample = sorted(va for va in walked)[:: max(1, len(walked) // 12)]
    answers = {va: bochs.ask(f"page {va:#x}") for va in sample}
    hole = sample[0] + 0x10000000
    assert hole not in walked
    nothing = bochs.ask(f"page {hole:#x}")
    text = bochs.run_to_the_end(tmp_path / "log")
    said, foreign, self_base, said_root = pages_of_pt(text)
    assert said_root == root
    # `info tab`, where it looks, and `page` agree with the walk through physical memory: the witness is sound.
    listed = {}
    for start, end, address in re.findall(r"^(0x[0-9a-f]+)-(0x[0-9a-f]+) -> (0x[0-9a-f]+)-", tab, re.MULTILINE):
        for va in range(int(start, 16), int(end, 16) + 1, PAGE_BYTES):
            listed[va] = int(address, 16) + va - int(start, 16)
    assert listed == {va: physical for va, physical in mapped.items() if va >= BOCHS_TAB_FIRST} and len(listed) > 50
    for va, answer in answers.items():
        assert f"maps to physical page {mapped[va]:#014x}" in answer
    assert "maps to" not in nothing
    # And the kernel says the same as both.
    assert said == {va: page for va, page in walked.items() if va < foreign}
    check_self_window(mapped, self_base, tables)
    below = {physical for va, physical in mapped.items() if va < foreign}
    assert not below & tables, "a table is mapped in the window only"


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_qemu_reads_the_same_mappings_as_the_kernel(tmp_path):
    """At the prompt, after the heap and a space have been at work; nothing changes between the readings."""
    monitor = tmp_path / "monitor"
    child = typed_monitor("--memory", "64M", "--qemu-monitor", str(monitor))
    for command in ("exercise 1", "space new", "map 1 0x40000000 3"):
        child.send(command + "\r")
        child.expect_exact("cairn> ")
    child.send("pt\r")
    child.expect_exact("cairn> ")
    said, foreign, self_base, root = pages_of_pt(child.before.replace("\r", ""))
    tlb, mem, registers = ask_qemu(monitor, ["info tlb", "info mem", "info registers"])
    child.close(force=True)
    assert int(re.search(r"CR3=([0-9a-f]+)", registers)[1], 16) == root
    shown, flags = {}, {}
    for va, physical, letters in re.findall(r"^([0-9a-f]{16}): ([0-9a-f]{16}) ([A-Z-]{9,})\r?$", tlb, re.MULTILINE):
        shown[int(va, 16)], flags[int(va, 16)] = int(physical, 16), letters
    below = {va: physical for va, physical in shown.items() if va < foreign}
    assert below == {va: page[0] for va, page in said.items()}
    # The effective rights: `info mem` merges them over the levels (u r w); execution is the leaf's bit in `info tlb`.
    rights = {}
    for start, end, letters in re.findall(r"^([0-9a-f]{16})-([0-9a-f]{16}) [0-9a-f]{16} ([urw-]{3})\r?$", mem, re.M):
        for va in range(int(start, 16), min(int(end, 16), foreign), PAGE_BYTES):
            rights[va] = letters
    for va, (_, text) in said.items():
        assert rights[va] == ("u" if text[3] == "u" else "-") + text[0] + text[1], hex(va)
        assert (text[2] == "x") == (not flags[va].startswith("X")), hex(va)
    window = [physical for va, physical in shown.items() if va >= self_base]
    assert not set(below.values()) & set(window), "a table is mapped in the window only"
    assert len(window) == len(set(window)) and root in window


@pytest.mark.cairn(labels="bochs", seconds=120)
def test_a_page_both_writable_and_executable_is_marked_and_a_bit_nobody_sets_is_told(tmp_path):
    """The machine has none, so the debugger makes one: the no-execute bit of a page of the stack goes, bit 62 comes."""
    stack = 0xFFFF800040013000
    log = tmp_path / "log"
    commands = f"pt; pt {stack:#x}; check"
    bochs = Bochs("--memory", "64M", "--append", "debug=magic:prompt", "--exec", commands, "--serial-log", str(log))
    table = int(re.search(r"cr3: (0x[0-9a-f]+)", bochs.ask("info tab"))[1], 16)
    for level in range(LEVELS, 0, -1):
        index = stack >> (12 + 9 * (level - 1)) & (ENTRIES - 1)
        entry = bochs.entries(table)[index]
        place, table = table + 8 * index, entry & FRAME_MASK
    assert entry & PRESENT and entry & WRITE and entry & NO_EXECUTE
    bochs.ask(f"setpmem {place + 4:#x} 4 {(entry & ~NO_EXECUTE | 1 << 62) >> 32:#x}")
    text = bochs.run_to_the_end(log)
    row = next(line for line in text.splitlines() if line.startswith(f"  {stack:016x}"))
    assert row.split()[2] == "1" and " rwx- " in row and row.endswith("  WRITABLE AND EXECUTABLE")
    assert re.search(r"^  space 0: \d+ mappings, \d+ pages, 1 both writable and executable$", text, re.MULTILINE)
    assert "result pt: failed" in text and "result check: failed" in text
    walk_row = next(line for line in text.splitlines() if line.startswith("  PT "))
    assert walk_row.endswith(" present writable owned unknown-0x4000000000000000"), walk_row

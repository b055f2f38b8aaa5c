"""The monitor's commands about page tables: what they print, as text and as JSON, and what they refuse."""
import json
import re

import pytest
from conftest import PROMPT, run_cairn, typed_monitor

PAGE_BYTES, LEVELS = 4096, ("PML4", "PDPT", "PD", "PT")
SELF, FOREIGN = 511, 510
USER = 0x40000000
ARENA = 0xFFFF800040200000
FRAME_MASK = 0x000F_FFFF_FFFF_F000
pytestmark = pytest.mark.cairn(labels="qemu", seconds=120)


class Monitor:
    """One machine, many commands."""

    def __init__(self):
        self.child = typed_monitor(columns=1000)
        self.child.delaybeforesend = None

    def ask(self, command):
        """The answer's lines, without the line typed."""
        self.child.send(command + "\r")
        self.child.expect_exact(PROMPT)
        return self.child.before.replace("\r", "").split("\n", 1)[1].rstrip("\n").split("\n")

    def json(self, command):
        (line,) = self.ask(command)
        return json.loads(line)


@pytest.fixture
def monitor():
    m = Monitor()
    yield m
    m.child.close(force=True)


def rows(lines, below=1 << 47):
    """(virtual, physical, pages, rights, owner) of each row of `pt` below an address."""
    row = re.compile(r"  ([0-9a-f]{16}) +([0-9a-f]+) +(\d+) .* 4 KiB ([r-][w-][x-][u-]) WB  (.*)$")
    found = [row.match(line) for line in lines]
    return [
        (int(m[1], 16), int(m[2], 16), int(m[3]), m[4], m[5]) for m in found if m is not None and int(m[1], 16) < below
    ]


def window_entry(va, level, slot):
    """The address at which the entry of `level` (0: the PML4's) for `va` appears through the slot."""
    indices = [va >> 39 - 9 * n & 511 for n in range(4)]
    through = [SELF] * (3 - level) + [slot] + indices[:level]
    address = 0xFFFF_0000_0000_0000 | indices[level] * 8
    for n, index in enumerate(through):
        address |= index << 39 - 9 * n
    return address


def test_pt_merges_what_continues_and_parts_what_differs(monitor):
    monitor.ask("space new")
    monitor.ask(f"map 1 {USER:#x} 5")
    ((va, frame, pages, rights, owner),) = rows(monitor.ask("pt 1"))
    assert (va, pages, rights, owner) == (USER, 5, "rw-u", "private")
    monitor.ask(f"protect 1 {USER + 2 * PAGE_BYTES:#x} 2 rx")
    step = [USER + n * PAGE_BYTES for n in (0, 2, 4)]
    assert rows(monitor.ask("pt 1")) == [
        (step[0], frame, 2, "rw-u", "private"),
        (step[1], frame + 2 * PAGE_BYTES, 2, "r-xu", "private"),
        (step[2], frame + 4 * PAGE_BYTES, 1, "rw-u", "private"),
    ]
    monitor.ask(f"protect 1 {USER:#x} 5 r")
    assert rows(monitor.ask("pt 1")) == [(USER, frame, 5, "r--u", "private")]
    monitor.ask(f"unmap 1 {USER + PAGE_BYTES:#x} 1")
    assert [row[:3] for row in rows(monitor.ask("pt 1"))] == [
        (USER, frame, 1),
        (USER + 2 * PAGE_BYTES, frame + 2 * PAGE_BYTES, 3),
    ]
    # The global user part, and an address of the kernel's by hand.
    assert monitor.ask("map 1 global 1 r")[0].startswith("mapped: space 1, 0000400000000000, 1 pages")
    monitor.ask(f"map 0 {ARENA:#x} 2")
    listed = rows(monitor.ask("pt 1"), below=1 << 64)
    assert [(va, pages, rights, owner) for va, _, pages, rights, owner in listed if va in (0x400000000000, ARENA)] == [
        (0x400000000000, 1, "r--u", "global"),
        (ARENA, 2, "rw--", "mapped by hand"),
    ]


def test_pt_folds_the_windows_and_says_on_whom_the_foreign_one_is_open(monitor):
    def windows(command):
        return [line.strip() for line in monitor.ask(command) if " window: " in line]

    roots = [space["root"] for space in monitor.json("spaces -j")["spaces"]]
    assert windows("pt") == [
        "ffffff0000000000  foreign window: closed",
        f"ffffff8000000000  self window: PML4 at {roots[0]:x}",
    ]
    monitor.ask("space new")
    monitor.ask("space new")
    roots = [space["root"] for space in monitor.json("spaces -j")["spaces"]]
    monitor.ask(f"map 2 {USER:#x} 1")
    assert windows("pt")[0] == f"ffffff0000000000  foreign window: open on space 2, PML4 at {roots[2]:x}"
    # Another space is read through the window, and has none of its own open.
    assert windows("pt 1") == [
        "ffffff0000000000  foreign window: closed",
        f"ffffff8000000000  self window: PML4 at {roots[1]:x}",
    ]
    assert windows("pt")[0] == f"ffffff0000000000  foreign window: open on space 1, PML4 at {roots[1]:x}"
    monitor.ask("space free 1")
    assert windows("pt")[0] == "ffffff0000000000  foreign window: closed"
    # Nothing of them is listed as a mapping.
    assert all(row[0] < 0xFFFFFF0000000000 for row in rows(monitor.ask("pt"), below=1 << 64))


NAMES = ((0, "present"), (1, "writable"), (2, "user"), (3, "PWT"), (4, "PCD"), (5, "accessed"))


def words_of(raw, level):
    """The bits in words; level 3 is the leaf."""
    words = [name for bit, name in NAMES if raw >> bit & 1]
    if raw >> 6 & 1:
        words.append("dirty" if level == 3 else "written-by-window")
    if level == 3:
        words += [name for bit, name in ((8, "global"), (9, "owned"), (10, "device")) if raw >> bit & 1]
    if raw >> 63:
        words.append("no-execute")
    count = (raw >> 52 & 0x7F) << 3 | raw >> 9 & 7
    return words + [f"{count}-entries"] * (level < 3 and count > 0)


@pytest.mark.parametrize(("space", "slot"), [(0, SELF), (1, FOREIGN)])
def test_pt_of_an_address_tells_the_walk_bit_by_bit(monitor, space, slot):
    va = 0x123456789000
    monitor.ask("space new")
    monitor.ask(f"map {space} {va:#x} 100")
    at = va + 7 * PAGE_BYTES + 0x123
    lines = monitor.ask(f"pt {at:#x} {space}")
    assert lines[0] == f"space {space}, {at:016x}"
    assert re.fullmatch(r"  level entry read through      table at          raw               bits", lines[1])
    table = monitor.json("spaces -j")["spaces"][space]["root"]
    for level, line in enumerate(lines[2:6]):
        name, index, window, frame, raw, *bits = line.split()
        raw = int(raw, 16)
        assert (name, int(index)) == (LEVELS[level], at >> 39 - 9 * level & 511)
        assert int(window, 16) == window_entry(at, level, slot)
        assert int(frame, 16) == table
        assert bits == words_of(raw, level), line
        table = raw & FRAME_MASK
    # 100 pages of one PT, and one table each above it: the live counts.
    assert [line.split()[-1] for line in lines[2:5]] == ["1-entries", "1-entries", "100-entries"]
    assert lines[6] == f"  maps to {table + 0x123:x}, page of 4 KiB, effective rights rw-u, private"
    # Where the walk stops.
    stopped = monitor.ask(f"pt {va + (1 << 21):#x} {space}")
    assert stopped[-1] == "  stopped: the PD entry is not present" and stopped[-2].endswith(f" {0:016x}  not present")
    assert monitor.ask(f"pt {va + 110 * PAGE_BYTES:#x} {space}")[-1] == "  stopped: the PT entry is not present"
    assert monitor.ask(f"pt 0x700000000000 {space}")[-1] == "  stopped: the PML4 entry is not present"


def test_query_and_who_tell_what_is_behind_an_address(monitor):
    monitor.ask("space new")
    monitor.ask(f"map 1 {USER:#x} 3 rx")
    (row,) = rows(monitor.ask("pt 1"))
    frame = row[1] + PAGE_BYTES
    assert monitor.ask(f"query {USER + PAGE_BYTES + 5:#x} 1") == [
        f"{USER + PAGE_BYTES + 5:016x} in space 1: r-xu",
        f"  mapping {USER:016x}, 3 pages, 12 KiB, r-xu of rwxu, by hand: private",
        f"  sharers 1, frame 0x{frame:x}",
        f"  range   {USER:016x}, 3 pages, 12 KiB, mapped in pages of 4 KiB",
        "  object  private, anonymous: its own frames",
        "  cache   WB",
        f"  frame   {frame:x}, used, 1 reference",
    ]
    assert monitor.ask(f"query {USER:#x}") == [f"{USER:016x} in space 0: not mapped"]
    assert monitor.ask("query 0xffff800040012000") == [
        "ffff800040012000 in space 0: not mapped",
        "  guard   below 'the main stack' (ffff800040013000, 16 pages)",
    ]
    told = monitor.ask(f"who {frame + 7:#x}")
    as_frame = f"as a physical address: frame {frame >> 12:#x}, byte 0x7, used, 1 reference"
    assert told[:2] == [f"{frame + 7:#x}", as_frame]
    assert f"  mapped  at {USER + PAGE_BYTES + 7:016x} in space 1, r-xu, private" in told
    # Each table of the walk is known as one.
    for line, level in zip(monitor.ask(f"pt {USER:#x} 1")[2:6], LEVELS, strict=True):
        table = int(line.split()[3], 16)
        assert any(re.match(rf"  table   {level} of space 1\b", text) for text in monitor.ask(f"who {table:#x}")), level
    told = monitor.ask(f"who {USER:#x}")
    assert told[1] == f"as a virtual address in space 1: r-xu, private, to {row[1]:x}"


def test_pt_and_query_tell_the_cache_type_of_a_device(monitor):
    """The VGA text screen is no RAM: uncached, by PWT and PCD; RAM has no such bits."""
    (row,) = [line for line in monitor.ask("pt") if "the VGA text screen" in line]
    va, physical, *_, cache = re.match(r" *(\w+) +(\w+) .* rw-- (\S+) +the VGA text screen", row).groups()
    assert (int(physical, 16), cache) == (0xB8000, "UC")
    leaf = monitor.ask(f"pt 0x{va}")[5]
    assert re.search(r" present writable PWT PCD (accessed )?(dirty )?device no-execute$", leaf)
    assert "  cache   UC" in monitor.ask(f"query 0x{va}")


def test_who_finds_tables_without_a_page(monitor):
    # Nothing is mapped by temporary mappings between two commands: their PT is there, and empty.
    lines = monitor.ask("pt 0xffff810000000000")
    assert lines[-1] == "  stopped: the PT entry is not present"
    for line, level in zip(lines[3:6], LEVELS[1:], strict=True):
        table, base = int(line.split()[3], 16), "ffff810000000000"
        told = monitor.ask(f"who {table:#x}")
        assert any(text.startswith(f"  table   {level} of space 0, for addresses from {base}") for text in told), level


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("0x800000000000", "as a virtual address: not canonical"),
        ("0xfffffffffffff000", "as a virtual address: in the self window, where tables appear"),
        ("0xffffff0000000000", "as a virtual address: in the foreign window, where tables appear"),
        ("0xfffff00000000000", "as a virtual address: in the bank of foreign windows, where tables appear"),
        ("0xffff820000000000", "as a virtual address: in the bank of foreign windows, where tables appear"),
        ("0xffff818000000000", "as a virtual address in space 0: not mapped, nobody"),
        ("0x3ffffffff000", "as a physical address: frame 0x3ffffffff, byte 0, outside RAM"),
        ("0x3fffffffff000", "as a physical address: frame 0x3fffffffff, byte 0, outside RAM"),
    ],
)
def test_who_knows_addresses_that_no_page_can_have_and_frames_that_are_not_there(number, words):
    assert words in run_cairn("--exec", f"who {number}; check").need_success().log


def test_spaces_are_listed_made_entered_and_taken_away(monitor):
    (kernel,) = monitor.json("spaces -j")["spaces"]
    assert kernel["id"] == 0 and kernel["current"] and kernel["root"] % PAGE_BYTES == 0
    assert monitor.ask("space new tables")[0].startswith("space 1: root 0x")
    monitor.ask(f"map 1 {USER:#x} 600 r")
    monitor.ask("map 1 0x7f0000000000 1")
    first, second = monitor.json("spaces -j")["spaces"]
    # 600 pages from a 2 MiB border on: two PTs; one more far off: PML4, two PDPTs, two PDs, three PTs.
    assert first | {"pages": 0} == kernel | {"pages": 0}
    assert {key: second[key] for key in ("id", "pages", "tables", "current")} == {
        "id": 1,
        "pages": 601,
        "tables": 8,
        "current": False,
    }
    lines = monitor.ask("spaces")
    assert re.match(rf" +1 +0*{second['root']:x} +601 +2\.3 MiB +8$", lines[2]) and lines[1].endswith("current")
    shown = monitor.ask("space 1")
    assert shown[0] == f"space 1: root {second['root']:#x}, 601 pages, 8 tables"
    assert shown[-1] == "  601 pages in the user part" and shown[1].startswith(f"  {USER:016x} ")
    assert shown[1].endswith("r--u  own")
    assert monitor.ask("space switch 1") == ["space 1 is current"]
    assert [space["current"] for space in monitor.json("spaces -j")["spaces"]] == [False, True]
    assert monitor.ask(f"query {USER:#x}")[0] == f"{USER:016x} in space 1: r--u"
    assert monitor.ask("space free 1")[-2:] == ["space 1 is current: `space switch` to another one first", "failed"]
    monitor.ask(f"map 0 {USER:#x} 1")
    assert monitor.ask("check")[-1] == "check: ok"
    monitor.ask("space switch 0")
    monitor.ask(f"unmap 0 {USER:#x} 1")
    monitor.ask("space free 1")
    assert monitor.json("spaces -j")["spaces"] == [kernel | {"pages": first["pages"]}]
    assert monitor.ask("check")[-1] == "check: ok"


def test_counters_count_from_the_last_reset(monitor):
    names = {"boot_ticks", "frames_allocated", "frames_freed", "table_loads", "table_stores", "invlpg", "cr3_loads"}
    names |= {"ipis", "faults"}
    monitor.ask("space new tables")
    for _ in range(20):  # idle time zeroes frames until its pool is full: that counts, and ends
        monitor.ask("counters reset")
        zero = monitor.json("counters -j")
        if zero["table_stores"] == 0:
            break
    assert names <= zero.keys() and all(value == 0 for name, value in zero.items() if name != "boot_ticks")
    monitor.ask(f"map 1 {USER:#x} 10")
    mapped = monitor.json("counters -j")
    assert mapped["frames_allocated"] == 10 + 3 and mapped["tables_made"] == 3 and mapped["foreign_opens"] == 1
    assert mapped["cr3_loads"] == 0 and mapped["ipis"] == 0 and mapped["boot_ticks"] == zero["boot_ticks"] > 0
    monitor.ask(f"unmap 1 {USER:#x} 10")
    after = monitor.json("counters -j")
    assert after["frames_freed"] == 13 == after["frames_allocated"] and after["tables_freed"] == 3
    assert dict(line.split() for line in monitor.ask("counters")) == {k: str(v) for k, v in after.items()}


NO_MEMORY = "map 1 0x50000000 1000000"
REFUSED = [
    # not canonical
    ("map 1 0x800000000000 1", "map: outside the range served: 0000800000000000, 1 pages: not canonical"),
    ("unmap 1 0xffff7ffffffff000 1", "unmap: outside the range served: ffff7ffffffff000, 1 pages: not canonical"),
    ("protect 1 0x7ffffffff000 2 r", "protect: outside the range served: 00007ffffffff000, 2 pages: not canonical"),
    ("pt 0x800000000000", "pt: outside the range served: 0000800000000000, 1 pages: not canonical"),
    ("query 0xffff7fffffffffff 1", "query: outside the range served: ffff7fffffffffff, 1 pages: not canonical"),
    # not aligned
    ("map 1 0x40010001 1", "map: invalid argument: 0000000040010001, 1 pages: not page-aligned"),
    ("unmap 1 0x40000008 1", "unmap: invalid argument: 0000000040000008, 1 pages: not page-aligned"),
    ("protect 1 0x40000fff 1 r", "protect: invalid argument: 0000000040000fff, 1 pages: not page-aligned"),
    # overflowing
    ("map 1 0xfffffffffffff000 2", "map: invalid argument: fffffffffffff000, 2 pages: beyond the end of the address"),
    ("map 1 0x40010000 18446744073709551615", ": beyond the end of the address space"),
    ("unmap 1 0x40000000 0x10000000000000", ": beyond the end of the address space"),
    # windows
    ("map 0 0xffffff8000000000 1", "map: outside the range served: ffffff8000000000, 1 pages: self window"),
    ("map 1 0xfffffffffffff000 1", "map: outside the range served: fffffffffffff000, 1 pages: self window"),
    ("unmap 0 0xffffff0000000000 1", "unmap: outside the range served: ffffff0000000000, 1 pages: foreign window"),
    ("protect 0 0xffffff7ffffff000 1 r", "outside the range served: ffffff7ffffff000, 1 pages: foreign window"),
    ("map 0 0xffff820000000000 1", "1 pages: bank of foreign windows"),
    ("pt 0xffffff8000000000", "pt: outside the range served: ffffff8000000000, 1 pages: self window"),
    ("query 0xffffff0000000000", "query: outside the range served: ffffff0000000000, 1 pages: foreign window"),
    # other places
    ("map 1 0 1", ": neither all user part nor all kernel arena"),
    ("map 1 0xffff800040200000 1", ": kernel addresses are space 0's"),
    ("map 0 0xfffffe8000000000 1", ": neither all user part nor all kernel arena"),
    # empty
    ("map 1 0x40010000 0", "map: invalid argument: 0000000040010000, 0 pages: no pages"),
    ("unmap 1 0x40000000 0", "unmap: invalid argument: 0000000040000000, 0 pages: no pages"),
    ("protect 1 0x40000000 0 r", "protect: invalid argument: 0000000040000000, 0 pages: no pages"),
    # rights
    ("map 1 0x40010000 1 q", "'q' are no rights: letters of r, w, x are"),
    ("protect 1 0x40000000 1 rwz", "'rwz' are no rights: letters of r, w, x are"),
    ("map 1 0x40010000 1 rwx", "map: invalid argument: 0000000040010000, 1 pages: writable and executable at once"),
    ("protect 1 0x40000000 3 wx", "3 pages: writable and executable at once"),
    # mapped twice, nothing there, too much
    ("map 1 0x40002000 1", "map: exists already"),
    ("map 1 0x3ffff000 3", "map: exists already"),
    ("unmap 1 0x40003000 1", "unmap: nothing there"),
    ("unmap 1 0x40002000 2", "unmap: nothing there"),
    ("protect 1 0x40002000 2 r", "protect: nothing there"),
    (NO_MEMORY, "map: out of memory"),
    # spaces, numbers, usage
    ("map 7 0x40010000 1", "there is no space 7"),
    ("pt 9", "there is no space 9"),
    ("pt 0x40000000 4294967296", "there is no space 4294967296"),
    ("space 7", "there is no space 7"),
    ("space free 0", "space 0 was not made by `space new`"),
    ("space free 7", "there is no space 7"),
    ("space switch 7", "there is no space 7"),
    ("space switch", "usage: space ID | new | free ID | switch ID"),
    ("map 1 x 1", "address: 'x' is not a number"),
    ("map 1 0x40010000", "usage: map SPACE VA PAGES [rwx]"),
    ("unmap 1 0x40000000 1 r", "usage: unmap SPACE VA PAGES"),
    ("protect 1 0x40000000 1", "usage: protect SPACE VA PAGES rwx"),
    ("pt 1 2 3", "usage: pt [SPACE] | VA [SPACE]"),
    ("query", "usage: query VA [SPACE]"),
    ("who", "usage: who NUMBER"),
    ("who 0x", "who: '0x' is not a number"),
    ("counters 1", "usage: counters [-j | reset]"),
    ("exercise vmm x", "seed: 'x' is not a number"),
]


def test_what_is_refused_is_said_in_words_and_changes_nothing(monitor):
    """One machine for all: its spaces, its memory and its tables are the same after each."""
    monitor.ask("space new tables")
    monitor.ask(f"map 1 {USER:#x} 3")
    assert monitor.ask(NO_MEMORY)[-1] == "failed"  # what caches keep goes when memory is short: now, once

    def state():
        return monitor.json("spaces -j"), monitor.json("mem -j"), rows(monitor.ask("pt 1"), below=1 << 64)

    before = state()
    assert len(before[2]) > 10
    for command, words in REFUSED:
        answer = monitor.ask(command)
        assert answer[-1] == "failed" and any(words in line for line in answer), (command, answer)
        assert state() == before, command
    assert monitor.ask("check")[-1] == "check: ok"


@pytest.mark.parametrize("memory", ["16M", "256M", "4T"])
def test_the_kernel_uses_few_addresses_at_the_prompt_and_none_in_a_window(memory):
    """At most 8 MiB are mapped; the windows and the bank have their slots alone."""
    ended = run_cairn("--memory", memory, "--timeout", "100", "--exec", "pt").need_success()
    mapped = rows(ended.log.splitlines(), below=1 << 64)
    used = sum(pages for _, _, pages, _, _ in mapped) * PAGE_BYTES
    slots = {(va + n * PAGE_BYTES) >> 39 & 511 for va, _, pages, _, _ in mapped for n in (0, pages - 1)}
    print(f"kernel addresses in use at {memory}: {used >> 10} KiB")
    assert 256 << 10 < used <= 8 << 20
    assert slots <= {256, 257, 258, 509} and len(slots) == 4

"""The same witnesses as in test_witness.py after a random history of three spaces: more than 10,000 mappings, edited
through the self window and through the foreign one, are read by the kernel, by QEMU and by Bochs, entry by entry.

The foreign window must show nothing when `pt` says that it is closed, and when it is open on a space, page by page what
the self window of that space shows when the space is current.
"""
import bisect
import json
import re

import pytest
from conftest import PROMPT, run_cairn, typed_monitor
from test_exercise import ask_qemu
from test_witness import BOCHS_TAB_FIRST, PAGE_BYTES, Bochs, check_self_window, reading_of_pt, walk_all

FOREIGN, GIB = 0xFFFFFF0000000000, 1 << 30
HISTORY = "exercise vmm -j 7"  # more than 10,000 mappings; leaves three spaces with more than 10,000 pages


class Windows:
    """What the windows showed at one stop after another, as {distance from the window's base: physical}."""

    def __init__(self):
        self.own, self.foreign = {}, []

    def note(self, said, current, shown):
        """`shown` {va: physical} from the foreign window's base on, while `current` was current."""
        own = {va - said.self_base: physical for va, physical in shown.items() if va >= said.self_base}
        foreign = {va - said.foreign: physical for va, physical in shown.items() if va < said.self_base}
        if said.space != current:
            assert said.opened is None, "a space that is not current has no window open"
            assert foreign, "`pt` of another space reads it through the foreign window"
            self.foreign.append((said.space, foreign))
        elif said.opened is None:
            assert not foreign
            assert len(own) == len(set(own.values())), "each table once"
            assert said.root in own.values()
            self.own[current] = own
        else:
            self.foreign.append((said.opened, foreign))

    def compare(self, least):
        assert len(self.foreign) >= least
        for space, foreign in self.foreign:
            assert foreign == self.own[space], f"the foreign window shows the tables of space {space}"


def need_a_history(told, spaces):
    assert told["ok"] and told["mappings"] >= 10_000 and told["foreign_opens"] >= 10_000
    assert len(told["spaces"]) == 3 and set(told["spaces"]) < {space["id"] for space in spaces}
    assert sum(space["pages"] for space in spaces if space["id"] in told["spaces"]) == told["pages_left"] >= 10_000


def qemu_reads(monitor):
    """{va: (physical, rights)} of each leaf as QEMU reads the tables, and CR3. Of the windows' pages only the tables,
    without their rights."""
    tlb, mem, registers = ask_qemu(monitor, ["info tlb", "info mem", "info registers"])
    shown = {
        int(va, 16): (int(physical, 16), letters)
        for va, physical, letters in re.findall(r"^([0-9a-f]{16}): ([0-9a-f]{16}) ([A-Z-]{9,})\r?$", tlb, re.MULTILINE)
    }
    row = re.compile(r"^([0-9a-f]{16})-([0-9a-f]{16}) [0-9a-f]{16} ([urw-]{3})\r?$", re.MULTILINE)
    ranges = sorted((int(start, 16), int(end, 16), letters) for start, end, letters in row.findall(mem))
    starts = [start for start, _, _ in ranges]
    pages = {}
    for va, (physical, letters) in shown.items():
        is_large = "P" in letters
        if va >= FOREIGN and is_large:
            continue  # what a window shows of a large page
        _, end, merged = ranges[bisect.bisect_right(starts, va) - 1]
        merged = merged if va < end else "---"
        execute = "-" if letters.startswith("X") else "x"
        pages[va] = (physical, merged[1:] + execute + merged[0] + ("L" if is_large else ""))
    return pages, int(re.search(r"CR3=([0-9a-f]+)", registers)[1], 16)


@pytest.mark.cairn(labels="qemu", seconds=240)
def test_qemu_reads_what_a_history_of_spaces_left_as_the_kernel_does(tmp_path):
    options = ("--memory", "64M", "--qemu-monitor", str(tmp_path / "monitor"))
    child = typed_monitor(*options, columns=1000, maxread=1 << 20)

    def ask(command):
        child.send(command + "\r")
        child.expect_exact(PROMPT)
        return child.before.replace("\r", "")

    def json_of(command):
        return json.loads(next(line for line in ask(command).splitlines() if line.startswith("{")))

    told = json_of(HISTORY)
    need_a_history(told, json_of("spaces -j")["spaces"])
    ids = [0, *told["spaces"]]
    windows, inside, outside = Windows(), {}, {}
    for current, other in zip(ids, ids[1:] + ids[:1], strict=True):
        ask(f"space switch {current}")
        for space in (current, other):
            said = reading_of_pt(ask(f"pt {space}"))
            seen, root = qemu_reads(tmp_path / "monitor")
            shown = {va: physical for va, (physical, _) in seen.items() if va >= said.foreign}
            assert said.space == space
            if space == current:
                assert said.root == root
                below = {va: page for va, page in seen.items() if va < said.foreign}
                assert below == said.pages
                inside[space] = said.pages
            else:
                outside[space] = said.pages
            windows.note(said, current, shown)
    assert inside == outside, "from inside and from outside the kernel reads the same"
    assert sum(len(inside[i]) for i in told["spaces"]) > 15_000
    for i in told["spaces"]:  # leaves: whole GiB, then 512 and 512 of one that was demoted, then parts of it
        large = [va for va, (_, rights) in inside[i].items() if rights.endswith("L")]
        assert len(large) >= 2 + 512 + 1 + 2 and any(va + GIB in large and va + GIB // 2 not in large for va in large)
    windows.compare(least=len(ids))
    assert "check: ok" in ask("check")
    child.close(force=True)


def expanded(leaves, sizes):
    """{va: physical} of 4 KiB pages, of leaves whose bytes are in `sizes` where they are larger."""
    return {
        va + offset: physical + offset
        for va, physical in leaves.items()
        for offset in range(0, sizes.get(va, PAGE_BYTES), PAGE_BYTES)
    }


def listed_by_bochs(tab):
    listed = {}
    for start, end, address in re.findall(r"^(0x[0-9a-f]+)-(0x[0-9a-f]+) -> (0x[0-9a-f]+)-", tab, re.MULTILINE):
        for va in range(int(start, 16), int(end, 16) + 1, PAGE_BYTES):
            listed[va] = int(address, 16) + va - int(start, 16)
    return listed


@pytest.mark.cairn(labels="bochs", seconds=400)
def test_bochs_reads_what_a_history_of_spaces_left_as_the_kernel_does(tmp_path):
    """Stopped after each `pt`. The numbers of the spaces are QEMU's: the history is the same. Only one space is read
    from another: what the serial line carries takes most of the time."""
    machine = ("--memory", "64M")
    first = run_cairn(*machine, "--exec", f"{HISTORY}; spaces -j").need_success()
    told = first.json_after(HISTORY)
    need_a_history(told, first.json_after("spaces -j")["spaces"])
    ids = [0, *told["spaces"]]
    stops, commands = [], [HISTORY]
    for current in ids:
        commands += [f"space switch {current}", f"pt {current}"]
        stops.append((current, current))
    commands += [f"space switch {ids[1]}", f"pt {ids[2]}"]
    stops.append((ids[1], ids[2]))
    log = tmp_path / "log"
    bochs = Bochs(
        *machine, "--append", "debug=magic:pt", "--exec", "; ".join([*commands, "check"]), "--serial-log", str(log)
    )
    tabs, walked = [], {}
    for number, (current, space) in enumerate(stops):
        if number > 0:
            bochs.child.send("c\n")
            bochs.prompt()
        tabs.append(bochs.ask("info tab"))
        if current == space:
            root = int(re.search(r"cr3: (0x[0-9a-f]+)", tabs[-1])[1], 16)
            walked[space] = walk_all(bochs.entries, root)
    text = bochs.run_to_the_end(log)
    assert "result check: ok" in text
    parts = re.split(r"^result pt \d+: ok$", text, flags=re.MULTILINE)
    assert len(parts) == len(stops) + 1
    windows = Windows()
    for (current, space), part, tab in zip(stops, parts[:-1], tabs, strict=True):
        said, listed = reading_of_pt(part), listed_by_bochs(tab)
        assert said.space == space
        pages, tables, sizes, as_tables = walked[space]
        window = said.self_base if said.space == current else said.foreign
        hidden = {va - said.self_base + window for va in expanded({va: 0 for va in as_tables}, as_tables)}
        in_windows = {va: physical for va, physical in listed.items() if va >= said.foreign and va not in hidden}
        windows.note(said, current, in_windows)
        assert said.pages == {va: page for va, page in pages.items() if va < said.foreign}
        if space != current:
            continue
        # What `info tab` looks at: the user half, and the top.
        leaves = {va: page[0] for va, page in pages.items() if va < 1 << 47 or va >= BOCHS_TAB_FIRST}
        seen = expanded(leaves, {**sizes, **as_tables})
        assert listed == seen and (space == 0 or len(listed) > 1000)
        check_self_window(in_windows, said.self_base, tables)
    windows.compare(least=1)

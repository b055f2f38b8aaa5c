"""The mover: pages change their frames while spaces and tasks use them; what is won, and who sees nothing of it."""
import json
import time

import pytest
from conftest import PROMPT, ROOT, run_cairn, typed_monitor

PROGRAMS = ROOT / "build" / "user"
PAGE, BASE, BLOCK = 4 * 1024, 0x40000000, 512
pytestmark = pytest.mark.cairn(labels="qemu", seconds=120)


def at(page):
    return hex(BASE + page * PAGE)


def scattered(blocks, keep_every=BLOCK):
    """A space with so many blocks of pages, of which one of `keep_every` stays, with a value of its own."""
    kept = range(0, blocks * BLOCK, keep_every)
    commands = ["space new", f"map 1 {hex(BASE)} {blocks * BLOCK} rw"]
    commands += [f"touch 1 {at(page)} {n + 1}" for n, page in enumerate(kept)]
    return commands + [f"unmap 1 {at(page + 1)} {keep_every - 1}" for page in kept]


def values(blocks, keep_every=BLOCK):
    return [f"touch 1 {at(page)}" for page in range(0, blocks * BLOCK, keep_every)]


def shown(log):
    return [int(line.split(": ")[2].split(",")[0], 0) for line in log.splitlines() if line.startswith("touch: space 1")]


def run(*commands, options=(), modules=()):
    words = [word for name in modules for word in ("--module", PROGRAMS / name)]
    return run_cairn(*words, *options, "--timeout", "90", "--exec", "; ".join(commands))


@pytest.mark.parametrize("options", [(), ("--preset", "kernel-debug"), ("--machine", "q35", "--memory", "5G")])
def test_scattered_pages_become_whole_blocks_and_say_what_they_said(options):
    ended = run(*scattered(5), "compact -j", *values(5), "compact", "check", options=options).need_success()
    done = ended.json_after("compact -j")
    assert 3 <= done["won"] <= done["moved"] <= 5 and sum(done["refused"].values()) == 0, done
    assert shown(ended.log) == [*range(1, 6), *range(1, 6)]
    assert "compact: 0 pages moved, 0 blocks won" in ended.log


def test_a_clones_pages_stay_and_are_counted():
    ended = run(*scattered(4), "space clone 1", "compact -j", *values(4), "check").need_success()
    done = ended.json_after("compact -j")
    assert done["won"] == 0 and done["moved"] == 0 and done["refused"]["shared"] > 0, done
    assert shown(ended.log) == [*range(1, 5), *range(1, 5)]


def test_so_many_blocks_are_won_as_are_asked_for():
    ended = run(*scattered(4), "compact 1", "compact 1 -j", "check").need_success()
    assert ended.json_after("compact 1 -j")["won"] == 1
    for wrong in ("compact many", "compact 1 2"):
        assert run_cairn("--exec", wrong).status == 1


def test_tasks_that_run_meanwhile_see_nothing():
    some = ["run ends count 2000003", "run ends count 2000005", "run hello"]
    first, mapped, *rest = scattered(4)
    stays = "map 1 0x60000000 300 rw"  # the fullest block: the tasks' pages are fewer, and go there
    commands = [first, *some, "wait 3", mapped, stays, *rest, "compact -j", "compact", "wait", "run cow", "wait"]
    commands += [*values(4), "check"]
    ended = run(*commands, modules=("ends", "hello", "cow")).need_success()
    done = ended.json_after("compact -j")
    assert done["won"] > 0 and done["moved"] > 4, f"pages of tasks moved too: {done}"
    for task, n in enumerate((2000003, 2000005), 1):
        assert f"[ends {task}] counted {n}, {n}" in ended.log
    assert shown(ended.log) == [*range(1, 5), *range(1, 5)]


def test_pages_move_before_2_mib_in_a_row_are_refused():
    """32 MiB: what is free is scattered, no block is whole, and a page of 2 MiB is mapped all the same."""
    first, mapped, *rest = scattered(5)
    commands = [first, mapped, "space new", "map 2 0x80000000 5100 rw", *rest, "space new tables",
                "map 3 0xc0000000 512 rw 2m", *values(5), "check"]
    ended = run(*commands, options=("--memory", "32M", "--append", "loglevel=3")).need_success()
    assert "pages moved, 1 blocks won" in ended.log
    assert shown(ended.log) == [*range(1, 6), *range(1, 6)]


# Three regions of 2 MiB blocks. The kernel's frames are in the third: it is served first. The second one can go.
CUTS = ("40M 42M", "80M 82M", "126M 128M")
THREE_REGIONS = ("--memory", "128M", *(word for cut in CUTS for word in ("--grub-line", f"cutmem {cut}")))
SECOND = 42 << 20


def test_a_region_goes_with_pages_in_use_and_comes_back():
    pages, step = 16000, 2000  # more than the third region has, and of these a few stay
    kept = range(0, pages, step)
    commands = ["space new", f"map 1 {hex(BASE)} {pages} rw"]
    commands += [f"touch 1 {at(page + 1)} {n + 1}" for n, page in enumerate(kept)]
    commands += [f"unmap 1 {at(page + 2)} {step - 2}" for page in kept]
    read = [f"touch 1 {at(page + 1)}" for page in kept]
    commands += ["mem -j", "region remove 1 -j", "mem -j", "check", *read, f"region add {hex(SECOND)}", "mem -j"]
    commands += [f"map 1 0x80000000 {pages} rw", "check"]
    ended = run(*commands, options=THREE_REGIONS).need_success()
    before, without, after = ended.json_all("mem -j")
    gone = ended.json_after("region remove 1 -j")
    assert gone["status"] == "ok" and gone["moved"] > 0 and gone["base"] == SECOND and "in_the_way" not in gone, gone
    bases = [[region["base"] for region in mem["regions"]] for mem in (before, without, after)]
    assert bases[0] == bases[2] and bases[0][1] == SECOND and bases[1] == [bases[0][0], bases[0][2]]
    assert gone["bytes"] == before["regions"][1]["bytes"] == before["ram"] - without["ram"]
    assert before["ram"] == after["ram"]
    assert before["used"] <= without["used"] <= before["used"] + 2 * PAGE, "the reverse index may have got a page"
    assert shown(ended.log) == [*range(1, len(kept) + 1)] * 2


def test_what_is_in_the_way_of_a_region_is_said_and_it_stays():
    wrong = ["region", "region remove", "region remove 3", "region lose 1", "region remove x"]
    wrong += [f"region add {hex(SECOND)}"]
    ended = run("region remove 0 -j", "region remove 2", *wrong, "check", options=THREE_REGIONS)
    lines = ended.log.splitlines()
    assert ended.status == 1 and "result check: ok" in lines and "result region remove 0 -j: failed" in lines
    (stays,) = [json.loads(line) for line in lines if line.startswith('{"status"')]
    way = stays["in_the_way"]
    assert stays["status"] != "ok" and stays["base"] == 0 and way["reserved"] > 0 and way["state"] == "reserved"
    told = ("  in the way: ", "as a physical address: frame ", "  region  2, from 5200000, ", "region remove: exists")
    for part in told:
        assert sum(line.startswith(part) for line in lines) == 1, part
    for command in wrong:
        assert f"result {command}: failed" in lines
    assert "it is gone" not in ended.log


@pytest.mark.cairn(labels="qemu", seconds=240)
def test_idle_time_wins_blocks_and_commands_do_not():
    """Half of 96 MiB is scattered. While commands run nothing moves; while the monitor waits blocks are won, until less
    is scattered than the policy allows; then there are some left to be won."""
    memory = ("--memory", "96M")
    commands = [command for command in scattered(24) if not command.startswith("touch")]
    busy = ["counters -j", "exercise 20", "counters -j", "check"]
    ended = run(*commands, *busy, options=memory).need_success()
    assert [c["pages_moved"] for c in ended.json_all("counters -j")] == [0, 0]
    child = typed_monitor(*memory)
    for command in commands:
        child.send(command + "\r")
        child.expect_exact(PROMPT)
    won = [0, 0]
    while won[-1] == 0 or won[-1] != won[-2]:
        time.sleep(1)
        child.send("counters\r")
        child.expect(r"blocks_won +(\d+)")
        won.append(int(child.match[1]))
        child.expect_exact(PROMPT)
        assert len(won) < 60, won
    child.send("compact\r")
    child.expect(r"pages moved, (\d+) blocks won")
    assert int(child.match[1]) > 0, "idle time left some"
    child.expect_exact(PROMPT)
    child.send("check\r")
    child.expect_exact("check: ok")
    child.close(force=True)

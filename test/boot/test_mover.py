"""The mover: pages change their frames while spaces and tasks use them; what is won, and who sees nothing of it."""
import pytest
from conftest import ROOT, run_cairn

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

"""Tasks: the programs of src/user/ in user mode, how they end, what they leave behind, who runs when."""
import re
import shutil

import pexpect
import pytest
from conftest import PROMPT, ROOT, run_cairn, typed_monitor

PROGRAMS = ROOT / "build" / "user"
RUNS = 4  # of thrice_and_again
PAGE_BYTES = 4096
pytestmark = pytest.mark.cairn(labels="qemu", seconds=120)


def run(*commands, modules=("ends", "hello"), options=()):
    words = [word for name in modules for word in ("--module", PROGRAMS / name)]
    return run_cairn(*words, *options, "--timeout", "90", "--exec", "; ".join(commands))


def thrice_and_again(name):
    once = [f"run {name}", "wait"]
    return [*once, *once, *once, "mem -j", *once, "mem -j", "tasks -j", "check"]


def needs_nothing_more(ended, name):
    """What the third run has needed, the fourth needs too, and no more; and none of them lives.

    Not the second: the heap makes a page ready for its own tree in several steps, and may end with that in the third.
    """
    ended.need_success()
    before, after = ended.json_all("mem -j")
    assert (before["free"], before["used"]) == (after["free"], after["used"])
    tasks = ended.json_after("tasks -j")
    assert tasks["count"] == 0 and tasks["messages"] == 0 and tasks["tasks"] == []
    mine = [end for end in tasks["ended"] if end["name"] == name]
    assert mine[-1]["how"] == "exited" and mine[-1]["code"] == 0 and mine[-1]["calls"] > 1


# ---- The programs ----


@pytest.mark.parametrize("name", ["hello", "pingpong", "cow", "files", "guard"])
def test_a_program_does_what_it_says_and_leaves_nothing_behind(name):
    needs_nothing_more(run(*thrice_and_again(name), modules=(name, "hello")), name)


@pytest.mark.cairn(labels="qemu;uefi", seconds=240)
@pytest.mark.parametrize("name", ["pingpong", "guard"])
def test_under_uefi(name):
    options = ("--firmware", "uefi", "--memory", "256M")
    needs_nothing_more(run(*thrice_and_again(name), modules=(name,), options=options), name)


@pytest.mark.cairn(labels="bochs", seconds=240)
@pytest.mark.parametrize("name", ["pingpong", "cow"])
def test_under_bochs(name):
    needs_nothing_more(run(*thrice_and_again(name), modules=(name,), options=("--emulator", "bochs")), name)


@pytest.mark.cairn(labels="qemu", seconds=180)
def test_the_limits_of_a_fork_bomb_hold_and_the_machine_goes_on():
    bomb = ("run forkbomb", "wait", "mem -j")
    commands = ("mem -j", *bomb * 8, "check", "run hello", "wait")
    ended = run(*commands, modules=("forkbomb", "hello"), options=("--icount",)).need_success()
    assert re.search(r"task \d+ \(hello\): exited with 0", ended.log)
    before, _, twice, *more = (mem["used"] for mem in ended.json_all("mem -j"))
    assert len(more) == 6 and more[-1] <= twice + 4 * PAGE_BYTES, "a few pages of stock come and go, but not one a run"
    assert twice - before < 3 << 19, "words of the reverse index for all frames, and stock for a few spaces"


@pytest.mark.cairn(labels="qemu", seconds=180)
def test_random_calls_get_every_answer_and_leave_all_in_order():
    """A hundred seconds and more of it: scripts/storm."""
    ended = run("run fuzz 1 300000", "wait", "tasks -j", "check", modules=("fuzz",), options=("--icount",))
    ended.need_success()
    told = re.search(r"(\d+) calls with seed 1; \d+ workers died on the way; (.*)$", ended.log, re.MULTILINE)
    assert int(told[1]) >= 300000 and told[2].strip() == "0 answers never seen; 0 registers changed"
    assert ended.json_after("tasks -j")["count"] == 0


def test_the_hundredth_run_needs_what_the_second_needed(tmp_path):
    short = tmp_path / "h"  # all commands must fit into exec=
    run("run hello", "wait").need_success()
    shutil.copy(PROGRAMS / "hello", short)
    nine, six = ["run h"] * 9 + ["wait"], ["run h"] * 6 + ["wait"]
    # How many of those that are begun together run side by side at the peak, and so what is kept in stock, is chance:
    # more are begun at first, so that no later peak is higher.
    commands = [*nine, *nine, "mem -j", *(six * 14), "mem -j", "check"]
    ended = run(*commands, modules=(short,), options=("--icount",))
    before, after = ended.need_success().json_all("mem -j")
    assert ended.log.count("(h): exited with 0") == 2 * 9 + 14 * 6 > 100
    assert (before["free"], before["used"]) == (after["free"], after["used"])


# ---- Ends ----


def test_a_task_that_faults_is_reported_and_the_rest_goes_on():
    ended = run("run ends fault", "run hello", "run ends count 1000", "wait 2", "wait 3", "wait", "check")
    assert ended.status == 1
    lines = ended.log.splitlines()
    assert "result wait 2: ok" in lines and "result wait 3: ok" in lines and "result wait: failed" in lines
    assert "wait: ended badly: 1" in lines and "result check: ok" in lines
    assert any(re.match(r"task 1 \(ends\): user mode: page fault \(vector 14", line) for line in lines)
    assert "space 1 cannot write 0x0000000000000000: it is no user address" in lines
    assert any(line.startswith("task 1 (ends): faulted: it is no user address, 0x0, at 0x") for line in lines)


def test_other_exceptions_end_a_task_as_well():
    ended = run("run ends divide", "wait 1", "tasks -j", "check")
    assert ended.status == 1 and "result wait 1: failed" in ended.log
    (end,) = ended.json_after("tasks -j")["ended"]
    assert end["how"] == "faulted" and end["cause"].startswith("divide error at 0x") and end["code"] == 0


def test_a_code_that_is_not_0_fails_the_wait_once():
    ended = run("run ends exit 3", "wait 1", "run ends exit 0", "wait")
    lines = ended.log.splitlines()
    assert "result wait 1: failed" in lines and "result wait: ok" in lines, "it was told already"
    assert any(line.startswith("task 1 (ends): exited with 3;") for line in lines)


def test_who_waits_for_what_never_comes_is_named():
    ended = run("run ends wait", "wait", "kill 1", "wait", "check")
    lines = ended.log.splitlines()
    assert lines.count("result wait: failed") == 1 and lines.count("result wait: ok") == 1
    assert "wait: none is ready; these wait for messages:" in lines
    assert any(re.match(r" +1 ends +waiting .* for any$", line) for line in lines)


# ---- Turns ----

LONGER_THAN_A_TURN = "run ends count 3000001"  # so another that is ready gets turns before it ends


@pytest.mark.parametrize("timer", [(), ("--append", "timer=pit"), ("--cpu", "qemu64,-apic"), ("--machine", "q35")])
def test_a_loop_without_calls_does_not_keep_others_from_running_and_can_be_killed(timer):
    commands = ("run ends loop", LONGER_THAN_A_TURN, "wait 2", "tasks -j", "kill 1", "wait", "tasks", "check")
    ended = run(*commands, options=timer)
    tasks = ended.need_success().json_after("tasks -j")
    (loop,) = tasks["tasks"]
    assert loop["id"] == 1 and loop["calls"] == 0 and loop["switches"] > 1 and loop["ticks"] > 0
    assert "task 1 (ends): killed: at the monitor; 0 calls" in ended.log


@pytest.mark.cairn(labels="bochs", seconds=240)
@pytest.mark.parametrize(("option", "timer"), [("loglevel=3", "x2APIC"), ("loglevel=3 timer=pit", "PIT")])
def test_turns_end_where_the_apic_is_an_x2apic(option, timer):
    """QEMU's software CPU has none."""
    commands = ("run ends loop", LONGER_THAN_A_TURN, "wait 2", "tasks -j", "kill 1", "wait", "check")
    ended = run(*commands, options=("--emulator", "bochs", "--append", option)).need_success()
    (loop,) = ended.json_after("tasks -j")["tasks"]
    assert loop["calls"] == 0 and loop["switches"] > 1
    assert re.search(rf"^\[ +[0-9.]+\] timer: {timer}$", ended.log, re.MULTILINE)


def test_registers_of_tasks_that_take_turns_are_their_own():
    counts = [f"run ends count {n}" for n in (3000001, 3000002, 3000003)]
    ended = run(*counts, "run ends yield", "wait 1", "wait 2", "wait 3", "tasks -j", "kill 4", "wait").need_success()
    for task, n in enumerate((3000001, 3000002, 3000003), 1):
        assert f"[ends {task}] counted {n}, {n}" in ended.log
    ended_tasks = ended.json_after("tasks -j")["ended"]
    assert all(end["switches"] > 1 for end in ended_tasks), "they really took turns"


# ---- The monitor ----


@pytest.fixture
def prompt():
    """A monitor at its prompt, with modules."""
    child = typed_monitor("--module", str(PROGRAMS / "ends"), "--module", str(PROGRAMS / "hello"))
    yield child
    child.close(force=True)


def test_tasks_run_while_the_monitor_waits_for_a_key(prompt):
    prompt.send("run ends loop\r")
    prompt.expect_exact(PROMPT)
    prompt.send("run hello wor")
    prompt.send("ld\r")
    prompt.expect_exact("[hello 2] argument 1: world")
    prompt.expect("task 2 .hello.: exited with 0; .*\r\n")
    prompt.expect_exact(PROMPT, timeout=10)
    prompt.send("tas")
    prompt.send("ks\r")
    prompt.expect("1 ends +(ready|running)")
    prompt.expect_exact(PROMPT)
    prompt.send("wait\r")
    prompt.send("\x03")
    prompt.expect_exact("^C")
    prompt.send("kill 1\r")
    prompt.expect_exact("killed: at the monitor")
    prompt.send("poweroff\r")
    prompt.expect(pexpect.EOF)
    prompt.close()
    assert prompt.exitstatus == 0


def test_a_cpu_without_syscall_runs_no_tasks():
    ended = run("run hello", "check", options=("--cpu", "qemu64,-syscall"))
    assert ended.status == 1 and "no SYSCALL; no tasks" in ended.log
    assert "run hello: not supported by this machine" in ended.log and "result check: ok" in ended.log


@pytest.mark.parametrize("option", ["debug=heap", "debug=heap:edge"])
def test_tasks_are_sound_on_a_heap_that_looks_closely(option):
    run("run hello", "run ends count 1000", "wait", "check", options=("--append", option)).need_success()


def test_what_a_task_logs_cannot_act_upon_the_terminal():
    ended = run("run ends log", "wait").need_success()
    assert "[ends 1] one\n[ends 1] \\x1b[31mtwo\\x5c\\x09three\\xff\n" in ended.log


def test_tasks_are_named_where_their_memory_is_shown():
    ended = run("run ends wait", "run ends wait", "wait 2", "spaces", "spaces -j", "space 2", "who 0x401000", "check")
    assert ended.status == 1, "they wait for ever"
    assert re.search(r"^ +2 .*of task 2 \(ends\)$", ended.log, re.MULTILINE)
    assert re.search(r"^space 2: root .*, of task 2 \(ends\)$", ended.log, re.MULTILINE)
    assert [space.get("task") for space in ended.json_after("spaces -j")["spaces"]] == [None, 1, 2]


def test_what_cannot_run_is_refused_in_words(tmp_path):
    odd = tmp_path / "odd"
    odd.write_bytes(b"\x7fELF" + bytes(100))
    wrong = ("run odd", "run none", "run", "kill 7", "wait 7", "kill x")
    ended = run("mem -j", *wrong, "mem -j", "check", modules=(odd, "hello"))
    assert ended.status == 1
    lines = ended.log.splitlines()
    for command in wrong:
        assert f"result {command}: failed" in lines
    assert any(re.match(r"run odd: [a-z ]+: .+", line) for line in lines), "with the reason"
    assert "run none: nothing there" in lines and "modules: odd hello" in lines
    assert lines.count("there is no task 7") == 2
    before, after = ended.json_all("mem -j")
    assert before["free"] - after["free"] <= 4 * PAGE_BYTES, "pages of the file, and their object"

"""The interactive monitor, typed at by a person: scripts/run on a terminal."""
import re

import pexpect
import pytest
from conftest import PROMPT, run_cairn, typed_monitor

UP, DOWN, BACKSPACE, CTRL_A = "\x1b[A", "\x1b[B", "\x7f", "\x01"
pytestmark = pytest.mark.cairn(labels="qemu", seconds=90)


@pytest.fixture
def monitor():
    child = typed_monitor()
    yield child
    child.close(force=True)


def ends_with(child):
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus


def test_poweroff_ends_with_status_0(monitor):
    monitor.send("poweroff\r")
    assert ends_with(monitor) == 0


def test_panic_ends_with_status_1(monitor):
    monitor.send("panic\r")
    assert ends_with(monitor) == 1


def test_an_emulator_that_is_closed_is_no_success(monitor):
    monitor.send(CTRL_A + "x")
    assert ends_with(monitor) == 1


def test_a_command_answers_and_the_prompt_comes_back(monitor):
    monitor.send("check\r")
    monitor.expect_exact("check: ok")
    monitor.expect_exact(PROMPT)


def test_tables_come_from_frames_that_the_waiting_monitor_has_zeroed(monitor):
    monitor.send("space new\r")
    monitor.expect_exact(PROMPT)
    monitor.send("counters reset\r")
    monitor.expect_exact(PROMPT)
    monitor.send("map 1 0x400000 1\r")
    monitor.expect_exact(PROMPT)
    monitor.send("counters\r")
    monitor.expect(r"tables_made +3\b")
    monitor.expect(r"zero_hits +4\b")  # and the page itself
    monitor.expect(r"zero_misses +0\b")
    monitor.expect_exact(PROMPT)
    monitor.send("check\r")
    monitor.expect_exact("check: ok")


def test_an_unknown_command_is_said_and_the_monitor_lives(monitor):
    monitor.send("nonsense\r")
    monitor.expect("no such command")
    monitor.expect_exact(PROMPT)
    monitor.send("check\r")
    monitor.expect_exact("check: ok")


def test_backspace_takes_back_what_was_typed(monitor):
    monitor.send("chexx" + BACKSPACE * 2 + "ck\r")
    monitor.expect_exact("check: ok")


@pytest.mark.parametrize("keys", ["\x1b[15~", "\x1b[24~", "\x1b[1;5C", "\x1b[3;5~", "\x1b[200~", "\x1bOP"])
def test_keys_that_mean_nothing_leave_nothing_in_the_line(monitor, keys):
    monitor.send(keys + "check\r")
    assert monitor.expect_exact(["check: ok", "no such command"]) == 0


def test_backspace_at_the_beginning_does_nothing(monitor):
    monitor.send(BACKSPACE * 20 + "check\r")
    monitor.expect_exact("check: ok")


def test_arrow_up_brings_the_last_lines_back(monitor):
    for command, answer in (("query 0x1234", "0"), ("check", "check: ok")):
        monitor.send(command + "\r")
        monitor.expect_exact(answer)
        monitor.expect_exact(PROMPT)
    monitor.send(UP + "\r")
    monitor.expect_exact("check: ok")
    monitor.expect_exact(PROMPT)
    monitor.send(
        UP + UP
    )  # past `check` (a line repeated is kept once, or twice) to something older, and back down again
    monitor.send(DOWN + DOWN + DOWN + "check\r")
    monitor.expect_exact("check: ok")


def test_a_line_from_the_history_can_be_edited(monitor):
    monitor.send("checkk\r")
    monitor.expect("no such command")
    monitor.expect_exact(PROMPT)
    monitor.send(UP + BACKSPACE + "\r")
    monitor.expect_exact("check: ok")


def test_a_line_that_is_too_long_is_survived(monitor):
    monitor.send("x" * 2000 + "\r")
    monitor.expect_exact(PROMPT)
    monitor.send("check\r")
    monitor.expect_exact("check: ok")


COMMANDS = (
    "mmap mem frames spaces space map unmap protect pt query who heap caches tasks run kill wait share cpus compact"
    " counters test bench exercise check provoke poweroff reboot panic help"
).split()


def test_help_lists_every_command():
    ended = run_cairn("--exec", "help").need_success()
    listed = {line.split()[0] for line in ended.log.splitlines() if line.split()}
    assert set(COMMANDS) <= listed, set(COMMANDS) - listed


@pytest.mark.parametrize(
    "command",
    [
        "cpus",
    ],
)
def test_what_is_not_there_says_not_yet_and_fails(command):
    ended = run_cairn("--exec", f"space new; {command}")
    assert ended.status == 1
    assert "not yet" in ended.log and f"result {command}: failed" in ended.log.splitlines()


def test_caches_shows_classes_and_object_caches_and_draws_slabs():
    commands = ["space new", "space new", "caches -j", "caches", "caches spaces", "caches mixed", "space free 1"]
    ended = run_cairn("--exec", "; ".join([*commands, "caches -j", "check"])).need_success()
    before, after = ended.json_all("caches -j")
    (spaces,) = [cache for cache in before["caches"] if cache["name"] == "spaces"]
    assert spaces["used"] == 2 and spaces["slabs"] == 1 and spaces["waste"] + 2 * spaces["bytes"] == spaces["held"]
    (spaces,) = [cache for cache in after["caches"] if cache["name"] == "spaces"]
    assert spaces["used"] == 1 and spaces["high_water"] == 2
    assert [row["bytes"] for row in before["classes"]] == list(range(16, 385, 16))
    assert re.search(r"\|##\.+\|", ended.log)
    assert run_cairn("--exec", "caches none").status == 1


def test_the_most_that_was_held_is_known_after_it_has_gone():
    ended = run_cairn("--exec", "heap -j; exercise 1; heap -j; caches -j; heap; caches; check").need_success()
    before, after = ended.json_all("heap -j")
    for heap in (before, after):
        assert heap["used"] + heap["waste"] + heap["metadata"] == heap["held"] <= heap["most_held"]
        assert heap["ready"] <= heap["waste"]
    assert after["most_held"] > before["most_held"] and after["most_held"] > after["held"] + (1 << 20)
    assert all(row["most_slabs"] >= row["slabs"] for row in after["classes"])
    gone = [row for row in after["classes"] if row["most_slabs"] > row["slabs"]]
    assert gone, "the exercise churns through more than is left"
    (caches,) = ended.json_all("caches -j")
    most = {row["bytes"]: row["most_held"] for row in caches["classes"]}
    assert most == {row["bytes"]: row["most_slabs"] << 12 for row in after["classes"]}
    assert [row["bytes"] for row in caches["mixed"]] == [64, 256]
    assert all(row["most_held"] > row["held"] for row in caches["mixed"])
    assert re.search(r"held at most [0-9.]+ MiB$", ended.log, re.MULTILINE)
    assert re.search(rf"^  class +{gone[0]['bytes']} .* {gone[0]['most_slabs'] << 12}$", ended.log, re.MULTILINE)


def test_spaces_mapped_and_edited_from_outside():
    commands = [
        "space new",
        "map 1 0x40000000 3",
        "protect 1 0x40001000 1 r",
        "query 0x40000000 1",
        "pt 0x40001000 1",
        "pt 1",
        "space 1",
        "spaces -j",
        "check",
        "unmap 1 0x40000000 3",
        "space free 1",
        "spaces -j",
        "check",
    ]
    ended = run_cairn("--exec", "; ".join(commands)).need_success()
    before, after = ended.json_all("spaces -j")
    assert [space["id"] for space in before["spaces"]] == [0, 1] and before["spaces"][1]["pages"] == 3
    assert [space["id"] for space in after["spaces"]] == [0]


@pytest.mark.parametrize(
    "command",
    [
        "map 1 0x40000000 1",
        "map 0 0x40000001 1",
        "map 0 0x40000000 0",
        "unmap 0 0x40000000 1",
        "protect 0 0x40000000 1 rwx",
        "map 0 0xffffff8000000000 1",
        "map 0 0xffffff0000000000 1",
        "map 0 0x800000000000 1",
        "map 0 0xffff800040013000 1",  # the stack
        "map 0 0xffff800040012000 1",  # the guard below it
        "map 0 0xffff807ffffff000 2",  # beyond the arena
        "unmap 0 0xffff800040024000 1",  # the heap
        "protect 0 0xffff800040013000 16 r",  # the stack
        "space free 7",
        "query",
        "mem 1",
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(command):
    ended = run_cairn("--exec", f"check; {command}; check")
    assert ended.status == 1
    lines = ended.log.splitlines()
    assert f"result {command}: failed" in lines and lines.count("result check: ok") == 2


def test_an_unknown_kernel_option_is_reported_by_name():
    ended = run_cairn("--append", "frobnicate=7", "--exec", "check").need_success()
    assert "frobnicate" in ended.log


def test_commands_that_do_not_fit_are_left_out_whole():
    """exec= is cut at OPTION_TEXT_BYTES; what is left of the command there is not run as if it were meant."""
    command = "query 0x12345678"
    ended = run_cairn("--exec", "; ".join(["help help"] + [command] * 100))
    assert ended.status == 1 and "too long, cut" in ended.log
    ran = [line for line in ended.log.splitlines() if line.startswith("result ")]
    assert len(ran) > 30 and set(ran) <= {"result help help: ok", f"result {command}: ok"}


BY_HAND = "0xffff800040200000"


def test_kernel_addresses_mapped_by_hand_come_from_the_arena():
    run_cairn(
        "--exec",
        f"map 0 {BY_HAND} 300; check; protect 0 0xffff800040201000 2 r; query 0xffff800040201000; check; "
        f"test vmm*; unmap 0 {BY_HAND} 300; check; exercise 1",
    ).need_success()


@pytest.mark.parametrize(
    "wrong",
    [f"unmap 0 {BY_HAND} 299", "unmap 0 0xffff800040201000 299", f"protect 0 {BY_HAND} 301 r", f"map 0 {BY_HAND} 1"],
)
def test_kernel_addresses_mapped_by_hand_go_as_they_came(wrong):
    ended = run_cairn("--exec", f"map 0 {BY_HAND} 300; {wrong}; check")
    assert ended.status == 1 and f"result {wrong}: failed" in ended.log and "result check: ok" in ended.log

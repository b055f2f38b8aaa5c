"""The interactive monitor, typed at by a person: scripts/run on a terminal."""
import os

import pexpect
import pytest
from conftest import RUN, run_cairn

PROMPT = "cairn> "
UP, DOWN, BACKSPACE, CTRL_A = "\x1b[A", "\x1b[B", "\x7f", "\x01"
pytestmark = pytest.mark.cairn(labels="qemu", seconds=90)


@pytest.fixture
def monitor():
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    child = pexpect.spawn(
        str(RUN), encoding="utf-8", codec_errors="replace", env=environment, timeout=60, dimensions=(40, 200)
    )
    child.delaybeforesend = 0.05
    child.expect_exact(PROMPT)
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


def test_an_unknown_command_is_said_and_the_monitor_lives(monitor):
    monitor.send("nonsense\r")
    monitor.expect("no such command")
    monitor.expect_exact(PROMPT)
    monitor.send("check\r")
    monitor.expect_exact("check: ok")


def test_backspace_takes_back_what_was_typed(monitor):
    monitor.send("chexx" + BACKSPACE * 2 + "ck\r")
    monitor.expect_exact("check: ok")


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
        "tasks",
        "run x",
        "kill 1",
        "wait",
        "share 1 0x1000 1 2 r",
        "cpus",
        "compact",
        "heap leaks",
        "caches",
        "bench",
        "map 1 0x40000000 1 2m",
    ],
)
def test_what_is_not_there_says_not_yet_and_fails(command):
    ended = run_cairn("--exec", f"space new; {command}")
    assert ended.status == 1
    assert "not yet" in ended.log and f"result {command}: failed" in ended.log.splitlines()


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

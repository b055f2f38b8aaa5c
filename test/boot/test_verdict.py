"""scripts/verdict.py against forged logs: each way in which a kernel can fail, or lie, is red; a good log is green."""
import subprocess
import sys
from pathlib import Path

import pytest
import verdict

NONCE = "5eed5eed5eed5eed"
GOOD_STATUS = (0 + verdict.STATUS_OFFSET) << 1 | 1
EXIT = f"cairn-exit 0 {NONCE}\r\n"
KTAP = "KTAP version 1\n1..3\n# a note\nok 1 a.one\nok 2 a.two # SKIP no port\nok 3 - b.three\n"


def run_of(log, status=GOOD_STATUS, commands=None, **more):
    return verdict.Run(
        log.encode() if isinstance(log, str) else log, NONCE, emulator_status=status, commands=commands, **more
    )


def test_a_good_log_is_green():
    assert verdict.judge(run_of("hello\n" + EXIT)) == []
    assert verdict.judge(run_of("x\nresult mem -j: ok\nresult check: ok\n" + EXIT, commands=["mem -j", "check"])) == []
    assert verdict.judge(run_of(KTAP + "result test pmm*: ok\n" + EXIT, commands=["test pmm*"])) == []
    assert verdict.judge(run_of("\x1b[2J\x1b[1;1HGRUB\r\n\x1b[0mresult a: ok\r\n" + EXIT, commands=["a"])) == []
    assert verdict.judge(run_of(KTAP + EXIT, expect_plan=True)) == []
    # GRUB ends with a carriage return; with loglevel=0 the plan is the kernel's first line.
    assert verdict.judge(run_of("Booting\r\n\r" + KTAP + EXIT, expect_plan=True)) == []


RED_LOGS = {
    "nothing": "",
    "panic": f"panic: no\ncairn-exit 1 {NONCE}\n",
    "hang": "[ 12] pmm: up\n",
    "success in the middle, then death": "x\n" + EXIT + "panic: page fault\n",
    "success in the middle, then half a line": "x\n" + EXIT + "p",
    "success in the middle, then a second exit line": EXIT + f"panic\ncairn-exit 1 {NONCE}\n",
    "the success line twice": EXIT + EXIT,
    "an empty line after the exit line": EXIT + "\n",
    "no nonce": "x\ncairn-exit 0\n",
    "an empty nonce": "x\ncairn-exit 0 \n",
    "another nonce": "x\ncairn-exit 0 0123456789abcdef\n",
    "the nonce and more": f"x\ncairn-exit 0 {NONCE}0\n",
    "half the nonce": f"x\ncairn-exit 0 {NONCE[:8]}\n",
    "another run's success line before ours": "cairn-exit 0 0123456789abcdef\n" + EXIT,
    "an exit line without its end": EXIT.rstrip(),
    "an exit line after other text": "text " + EXIT,
    "an exit line with text behind": f"cairn-exit 0 {NONCE} really\n",
    "a flood on one line": "a" * 1_000_000,
    "a flood on one line, success at its end": "a" * 1_000_000 + EXIT,
    "a negative status": f"cairn-exit -0 {NONCE}\n",
    "a failed test nobody asked for": "KTAP version 1\n1..1\nnot ok 1 a\n" + EXIT,
}


@pytest.mark.parametrize("name", RED_LOGS)
def test_a_forged_log_is_red(name):
    assert verdict.judge(run_of(RED_LOGS[name]))


RED_RESULTS = {
    "no result": "",
    "a failed command": "result mem: ok\nresult check: failed\n",
    "one result missing": "result mem: ok\n",
    "another order": "result check: ok\nresult mem: ok\n",
    "one result twice": "result mem: ok\nresult check: ok\nresult check: ok\n",
    "failed, then ok": "result mem: ok\nresult check: failed\nresult check: ok\n",
    "a result nobody asked for": "result mem: ok\nresult poweroff: ok\nresult check: ok\n",
    "text before": "result mem: ok\n> result check: ok\n",
    "text behind": "result mem: ok\nresult check: ok?\n",
    "another word": "result mem: ok\nresult check: okay\n",
}


@pytest.mark.parametrize("name", RED_RESULTS)
def test_wrong_results_are_red(name):
    assert verdict.judge(run_of(RED_RESULTS[name] + EXIT, commands=["mem", "check"]))


RED_PLANS = {
    "no output": "",
    "no plan": "KTAP version 1\nok 1 a\n",
    "no tests": "KTAP version 1\n1..0\n",
    "no tests at all": "KTAP version 1\n",
    "half the plan": "KTAP version 1\n1..2\nok 1 a\n",
    "a repeated number": "KTAP version 1\n1..2\nok 1 a\nok 1 a\n",
    "a repeated number beside all others": "KTAP version 1\n1..2\nok 1 a\nok 2 b\nok 2 b\n",
    "a number beyond the plan": "KTAP version 1\n1..2\nok 1 a\nok 2 b\nok 3 c\n",
    "number zero": "KTAP version 1\n1..1\nok 0 z\nok 1 a\n",
    "a failure": "KTAP version 1\n1..2\nok 1 a\nnot ok 2 b\n",
    "failed, then ok": "KTAP version 1\n1..1\nnot ok 1 a\nok 1 a\n",
    "two plans": "KTAP version 1\n1..1\n1..1\nok 1 a\n",
    "two outputs": "KTAP version 1\n1..1\nok 1 a\nKTAP version 1\n1..1\nok 1 a\n",
    "a second output cut short": "KTAP version 1\n1..1\nok 1 a\nKTAP version 1\n1..2\nok 1 a\n",
    "all skipped": "KTAP version 1\n1..1\nok 1 a # SKIP\n",
    "bail out": "KTAP version 1\n1..1\nok 1 a\nBail out! no memory\n",
    "another version": "KTAP version 2\n1..1\nok 1 a\n",
    "no version": "1..1\nok 1 a\n",
}


@pytest.mark.parametrize("name", RED_PLANS)
def test_a_wrong_plan_is_red(name):
    assert verdict.judge(run_of(RED_PLANS[name] + "result test: ok\n" + EXIT, commands=["test"]))


def test_a_plan_before_the_command_is_not_its_own():
    log = "KTAP version 1\n1..1\nok 1 a\nresult mem: ok\nresult test: ok\n"
    assert verdict.judge(run_of(log + EXIT, commands=["mem", "test"]))


def test_each_test_command_needs_its_own_plan():
    log = KTAP + "result test a*: ok\n" + KTAP + "result test b*: ok\n"
    assert verdict.judge(run_of(log + EXIT, commands=["test a*", "test b*"])) == []
    log = KTAP + KTAP + "result test a*: ok\nresult test b*: ok\n"
    assert verdict.judge(run_of(log + EXIT, commands=["test a*", "test b*"]))


def test_the_kernel_option_test_without_a_plan_is_red():
    assert verdict.judge(run_of(EXIT, expect_plan=True))


@pytest.mark.parametrize("status", [0, 1, 2, 32, 34, 35, 124, 137, 143, 153])
def test_an_emulator_that_does_not_agree_is_red(status):
    assert verdict.judge(run_of(EXIT, status=status))


def test_a_kernel_that_says_failure_on_both_ways_is_red():
    assert verdict.judge(run_of(f"cairn-exit 1 {NONCE}\n", status=(1 + verdict.STATUS_OFFSET) << 1 | 1))


def test_a_status_never_wraps_into_success():
    assert verdict.judge(run_of(f"cairn-exit 128 {NONCE}\n"))
    assert verdict.judge(run_of(f"cairn-exit 256 {NONCE}\n"))


def test_bochs_own_status_is_ignored_but_the_log_is_not():
    assert verdict.judge(run_of(EXIT, status=1, emulator="bochs")) == []
    assert verdict.judge(run_of("x\n", status=1, emulator="bochs"))
    assert verdict.judge(run_of(EXIT, status=137, emulator="bochs"))


def test_a_time_out_is_124_even_after_a_success_line():
    run = run_of(EXIT, status=124, timeout="60")
    assert verdict.status_of(run, verdict.judge(run)) == 124


def test_a_log_at_its_limit_is_red():
    assert verdict.judge(run_of(b"\n" * verdict.LOG_BYTES_MAX, status=153))


def test_bytes_that_are_no_text_are_survived():
    assert verdict.judge(run_of(bytes(range(256)) * 100))


def test_commands_are_cut_as_the_kernel_cuts_them():
    assert verdict.split_commands(" mem -j ;check;; test pmm* ; ") == ["mem -j", "check", "test pmm*"]
    assert verdict.split_commands('help "a;b" ; mem;"c') == ['help "a;b"', "mem", '"c']


def test_a_failure_shows_the_end_of_the_log_and_how_to_debug_it(tmp_path):
    log = tmp_path / "log"
    log.write_text("first line\n" + "middle\n" * 100 + "the last words\n")
    script = Path(verdict.__file__)
    done = subprocess.run(
        [
            sys.executable,
            script,
            "--log",
            log,
            "--nonce",
            NONCE,
            "--emulator-status",
            "0",
            "--debug",
            "scripts/debug qemu",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "the last words" in done.stderr and "first line" not in done.stderr
    assert "debug it: scripts/debug qemu" in done.stderr


def test_junit_has_each_test_by_its_name():
    log = "KTAP version 1\n1..3\n# b.two: 3 != 4\nnot ok 1 b.two\nok 2 c.three\n"
    text = verdict.xml.tostring(
        verdict.junit(verdict.plans_of(verdict.lines_of(log.encode())), "kernel").getroot(), encoding="unicode"
    )
    assert 'tests="3"' in text and 'failures="1"' in text and 'errors="1"' in text
    assert 'name="b.two"' in text and "3 != 4" in text and 'name="c.three"' in text

#!/usr/bin/env python3
"""Did a run succeed? The one place that decides, from the serial log and the emulator's status.

A run is a success only when all of this holds; everything else is a failure that says why:
  1. the log's last line is `cairn-exit STATUS NONCE`, complete, the only such line, with this run's nonce and STATUS 0
     (nobody but this run's kernel knows the nonce, so text printed by a test, or an old log, cannot succeed);
  2. the emulator ended by itself, and its debug-exit status says the same: the device gets v = STATUS + 16 and QEMU
     ends with (v << 1) | 1, so 0 and 1, which QEMU uses itself, never mean success. Bochs's status says nothing, but
     its log must not tell of a triple fault, a reset or a panic of its own;
  3. with --exec, exactly one line `result COMMAND: ok` for each command, in order;
  4. every KTAP plan in the log is complete: version line, 1..N with N >= 1, each number once, all ok, not all skipped;
     between the result before and its own, a `test` command has exactly one.
"""
import argparse
import re
import sys
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field
from pathlib import Path

SUCCESS, FAILURE, WRONG_USE, TIMEOUT = 0, 1, 2, 124
STATUS_OFFSET = 16  # what the kernel adds to its status for the debug-exit device
LAST_LINES = 20
LINE_SHOWN_BYTES = 400
CPU_STATE_LINES = 24  # without the vector registers that follow
EMULATOR_LOG_BYTES = 1 << 20  # its end is all that is read
LOG_BYTES_MAX = 64 << 20  # scripts/run lets the emulator write no more than that

EXIT_LINE = re.compile(r"cairn-exit (\d{1,3}) (\S+)")
RESULT_LINE = re.compile(r"result (.*): (ok|failed)")
ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|[()][A-Za-z0-9]|[@-Z\\-_])")
TEST_LINE = re.compile(r"(ok|not ok) (\d+)(?:\s+(?:- )?(.*))?")
PLAN_LINE = re.compile(r"1\.\.(\d+)(?:\s.*)?")

BOCHS_RESET = re.compile(r"Reset\((?:HARDWARE|SOFTWARE)\) called")
BOCHS_PANIC = re.compile(r">>PANIC<< (.*)")


@dataclass
class Test:
    number: int
    name: str
    ok: bool
    skipped: bool
    notes: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """One KTAP document: what it promised, what came, and what is wrong with it."""

    first_line: int
    size: int | None = None
    tests: list[Test] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def judge(self) -> list[str]:
        faults = list(self.faults)
        if self.size is None:
            faults.append("a KTAP output without a plan")
        elif self.size < 1:
            faults.append("a KTAP plan without tests")
        numbers = [test.number for test in self.tests]
        for number in sorted({n for n in numbers if numbers.count(n) > 1} if len(numbers) != len(set(numbers)) else []):
            faults.append(f"test number {number} came more than once")
        if self.size is not None:
            missing = sorted(set(range(1, self.size + 1)) - set(numbers))
            if missing:
                faults.append(
                    f"the plan of {self.size} tests was cut short: {len(missing)} missing, the first is {missing[0]}"
                )
            strangers = sorted(n for n in set(numbers) if not 1 <= n <= self.size)
            if strangers:
                faults.append(f"test number {strangers[0]} is outside the plan 1..{self.size}")
        faults += [f"test failed: {test.name}" for test in self.tests if not test.ok]
        if self.tests and all(test.skipped for test in self.tests):
            faults.append("all tests were skipped")
        return faults


@dataclass
class Run:
    """What is known of a run that has ended."""

    log: bytes
    nonce: str
    emulator: str = "qemu"
    emulator_status: int = 0
    commands: list[str] | None = None  # of --exec; None: an interactive session
    expect_plan: bool = False  # the kernel option `test` was given
    timeout: str = ""  # the seconds that ran out, if they did
    emulator_log: str = ""  # what the emulator itself wrote down, its end at least


def split_commands(text: str) -> list[str]:
    """--exec's commands as the kernel cuts them: between ';' outside double quotes, without the blanks around."""
    commands = re.findall(r'(?:[^;"]|"[^"]*"?)+', text)
    return [command.strip(" \t") for command in commands if command.strip(" \t")]


def lines_of(log: bytes) -> list[str]:
    """The log's lines, without what terminals eat (escape sequences, carriage returns); the last has no newline."""
    text = log.decode("utf-8", errors="replace")
    return [ESCAPES.sub("", line).strip("\r") for line in text.split("\n")]


def plans_of(lines: list[str]) -> list[Plan]:
    plans: list[Plan] = []
    notes: list[str] = []
    for number, line in enumerate(lines):
        if line == "KTAP version 1":
            plans.append(Plan(number))
            notes = []
            continue
        if not plans:
            continue
        plan = plans[-1]
        if match := PLAN_LINE.fullmatch(line):
            if plan.size is not None:
                plan.faults.append("a KTAP output with two plans")
            plan.size = int(match[1])
        elif match := TEST_LINE.fullmatch(line):
            name, _, directive = (match[3] or "").partition(" # ")
            skipped = directive.upper().startswith("SKIP")
            plan.tests.append(Test(int(match[2]), name.strip() or f"test {match[2]}", match[1] == "ok", skipped, notes))
            notes = []
        elif line.startswith("Bail out!"):
            plan.faults.append(line)
        elif line.startswith("#"):
            notes.append(line)
    return plans


def judge_results(lines: list[str], commands: list[str], plans: list[Plan]) -> list[str]:
    """One `result` line for each command, in order, all ok; a plan for each `test`."""
    found = [
        (number, match[1], match[2]) for number, line in enumerate(lines) if (match := RESULT_LINE.fullmatch(line))
    ]
    faults = [f"the command failed: {command}" for _, command, result in found if result != "ok"]
    names = [command for _, command, _ in found]
    if names != commands:
        absent = [command for command in commands if command not in names]
        if absent:
            faults.append(f"no result of the command: {absent[0]}")
        else:
            faults.append(f"results of {names} where {commands} were asked for")
        return faults
    start = 0
    for number, command, _ in found:
        if command.split()[0] == "test":
            count = sum(start <= plan.first_line < number for plan in plans)
            if count != 1:
                faults.append(f"{count} KTAP outputs for the command: {command}")
        start = number
    return faults


def judge_exit(run: Run, lines: list[str]) -> list[str]:
    exits = [match for line in lines if (match := EXIT_LINE.fullmatch(line))]
    shown = [line for line in lines if line.startswith("cairn-exit")]
    if not shown:
        return ["the kernel never said that it was done (no cairn-exit line)"]
    if len(shown) > 1 or len(exits) != 1:
        return ["cairn-exit lines that are malformed or more than one"]
    status, nonce = int(exits[0][1]), exits[0][2]
    if nonce != run.nonce:
        return ["a cairn-exit line with another run's nonce"]
    if lines[-1] != "" or not EXIT_LINE.fullmatch(lines[-2]):
        return ["output after the cairn-exit line"]
    faults = [] if status == 0 else [f"the kernel ended with status {status}"]
    if run.emulator == "qemu" and run.emulator_status != ((status + STATUS_OFFSET) << 1 | 1) & 0xFF:
        faults.append(f"the debug-exit device does not agree: the emulator's status is {run.emulator_status}")
    return faults


def judge_emulator(run: Run) -> list[str]:
    if run.timeout:
        return [f"time-out after {run.timeout} s"]
    if run.emulator_status > 128:
        return [f"the emulator was killed by signal {run.emulator_status - 128}"]
    if is_triple_fault(run):
        return ["the machine reset itself: a triple fault"]
    if run.emulator == "bochs":
        if len(BOCHS_RESET.findall(run.emulator_log)) > 1:
            return ["the machine reset itself"]
        return [f"Bochs gave up: {panic[1]}" for panic in BOCHS_PANIC.finditer(run.emulator_log)]
    if run.emulator_status == 0:
        return ["the machine reset itself or the emulator was closed (status 0 without the debug-exit device)"]
    if run.emulator_status == 1:
        return ["the emulator itself failed (status 1)"]
    return []


def is_triple_fault(run: Run) -> bool:
    """Each emulator's own words for it, in its log."""
    if run.emulator == "bochs":
        return "3rd (13) exception with no resolution" in run.emulator_log
    return run.emulator_status == 0 and re.search("^Triple fault$", run.emulator_log, re.MULTILINE) is not None


def last_cpu_state(run: Run) -> list[str]:
    """The registers before a triple fault: the last record of the emulator's log. Empty where there was none."""
    if not is_triple_fault(run):
        return []
    if run.emulator == "bochs":
        state = run.emulator_log.rpartition(">>PANIC<<")[2].split("\n")
        return [line.partition("] ")[2] for line in state[1:] if "[CPU" in line]
    state = run.emulator_log.rpartition("registers:\n")[2].strip().split("\n")
    return [line for line in state if not line.startswith(("FPR", "XMM", "YMM", "FCW"))][:CPU_STATE_LINES]


def judge(run: Run) -> list[str]:
    """Why the run is a failure; empty: a success."""
    if len(run.log) >= LOG_BYTES_MAX:
        return [f"time-out after {run.timeout} s"] * bool(run.timeout) + [
            f"the kernel wrote {LOG_BYTES_MAX >> 20} MiB or more"
        ]
    lines = lines_of(run.log)
    plans = plans_of(lines)
    faults = judge_emulator(run)
    faults += judge_exit(run, lines)
    if run.commands is not None:
        faults += judge_results(lines, run.commands, plans)
    for plan in plans:
        faults += plan.judge()
    if run.expect_plan and not plans:
        faults.append("the kernel option `test` was given and no KTAP output came")
    return faults


def status_of(run: Run, faults: list[str]) -> int:
    if run.timeout:
        return TIMEOUT
    return FAILURE if faults else SUCCESS


def junit(plans: list[Plan], suite: str) -> xml.ElementTree:
    """The in-kernel tests as JUnit, each by its name; those that never came as errors."""
    root = xml.Element("testsuite", name=suite, tests="0", failures="0", errors="0", skipped="0")
    count = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for plan in plans:
        for test in plan.tests:
            count["tests"] += 1
            case = xml.SubElement(root, "testcase", classname=suite, name=test.name)
            if not test.ok:
                count["failures"] += 1
                xml.SubElement(case, "failure", message="not ok").text = "\n".join(test.notes)
            elif test.skipped:
                count["skipped"] += 1
                xml.SubElement(case, "skipped")
        for fault in plan.judge():
            if not fault.startswith("test failed: "):
                count["tests"] += 1
                count["errors"] += 1
                case = xml.SubElement(root, "testcase", classname=suite, name="the plan is complete")
                xml.SubElement(case, "error", message=fault)
    for key, value in count.items():
        root.set(key, str(value))
    return xml.ElementTree(root)


def show_failure(run: Run, faults: list[str], debug: str) -> None:
    out = sys.stderr
    lines = [line for line in lines_of(run.log[-(1 << 16) :]) if line]
    print("---- the last lines of the serial log ----", file=out)
    for line in lines[-LAST_LINES:]:
        text = "".join(c if c.isprintable() else "." for c in line)
        print(
            text if len(text) <= LINE_SHOWN_BYTES else f"{text[:LINE_SHOWN_BYTES]} ... ({len(text)} characters)",
            file=out,
        )
    print("----", file=out)
    state = last_cpu_state(run)
    if state:
        print("the last state of the CPU:", *state, "----", sep="\n", file=out)
    for fault in faults:
        print(f"FAILED: {fault}", file=out)
    if debug:
        print(f"debug it: {debug}", file=out)


def main() -> int:
    parser = argparse.ArgumentParser(description="Judge a finished run of the kernel.")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--nonce", required=True)
    parser.add_argument("--emulator", choices=["qemu", "bochs"], default="qemu")
    parser.add_argument("--emulator-status", type=int, required=True)
    parser.add_argument("--exec", dest="commands", help="the monitor commands that were to run")
    parser.add_argument("--expect-plan", action="store_true")
    parser.add_argument("--timeout", default="", help="seconds, when they ran out")
    parser.add_argument("--emulator-log", type=Path, help="the emulator's own log")
    parser.add_argument("--debug", default="", help="the command that debugs this run")
    parser.add_argument("--junit", type=Path, help="write the in-kernel tests here")
    arguments = parser.parse_args()
    log = arguments.log.read_bytes() if arguments.log.exists() else b""
    emulator_log = arguments.emulator_log
    said = emulator_log.read_bytes()[-EMULATOR_LOG_BYTES:] if emulator_log and emulator_log.exists() else b""
    commands = None if arguments.commands is None else split_commands(arguments.commands)
    run = Run(
        log[:LOG_BYTES_MAX],
        arguments.nonce,
        arguments.emulator,
        arguments.emulator_status,
        commands,
        arguments.expect_plan,
        arguments.timeout,
        said.decode("utf-8", "replace"),
    )
    if arguments.junit and len(log) < LOG_BYTES_MAX:
        arguments.junit.parent.mkdir(parents=True, exist_ok=True)
        junit(plans_of(lines_of(run.log)), arguments.junit.stem).write(arguments.junit, encoding="utf-8")
    faults = judge(run)
    if faults:
        show_failure(run, faults, arguments.debug)
    return status_of(run, faults)


if __name__ == "__main__":
    sys.exit(main())

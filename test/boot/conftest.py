"""What the boot tests share: running scripts/run, and the list that CTest takes its tests from.

Each test says its labels and its hang budget: @cairn(labels="qemu", seconds=60); without it `host` and 60 seconds for
all cases together. `pytest --cairn-ctest FILE` writes the CTest include file: a test for each pytest case (for each
function, where no machine is booted), all with the label `boot`, and one for each in-kernel test. setup= and needs=
name a fixture that one case prepares (for a preset) and others take.
"""
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "scripts" / "run"
PROMPT = "cairn> "
RESULTS = ROOT / "build" / "test-results"
sys.path.insert(0, str(ROOT / "scripts"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import kernel_tests  # noqa: E402 (after the paths)


PRESETS = ("kernel", "kernel-clang", "kernel-debug")


def pytest_addoption(parser):
    parser.addoption("--cairn-ctest", metavar="FILE", help="write the list of tests for CTest, run nothing")


def pytest_configure(config):
    config.addinivalue_line("markers", "cairn(labels, seconds, setup, needs): CTest labels, hang budget, fixtures")


def pytest_collection_finish(session):
    path = session.config.getoption("--cairn-ctest")
    if path:
        # Cases without a machine are many and small: one test for all cases of a function.
        entries = list(dict.fromkeys(ctest_entry(item) for item in session.items))
        entries += [ktap_entry(preset, name) for preset in PRESETS for name in kernel_tests.names(preset)]
        Path(path).write_text("".join(entries))
        session.items.clear()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    # Nothing run is what was asked for; errors of collection stay errors.
    if session.config.getoption("--cairn-ctest") and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK


def quoted(text):
    """A bracket argument of CMake: nothing in it is expanded."""
    return f"[==[{text}]==]"


def ctest_lines(name, command, labels, seconds, **properties):
    more = " ".join(f"{key} {quoted(value)}" for key, value in properties.items() if value)
    # COST: the long ones are begun first, so that no CPU is idle at the end.
    properties = f"LABELS {quoted(labels)} TIMEOUT {seconds} COST {seconds} {more}"
    return (
        f"add_test({quoted(name)} {' '.join(quoted(word) for word in command)})\n"
        f"set_tests_properties({quoted(name)} PROPERTIES {properties})\n"
    )


def ctest_entry(item):
    mark = item.get_closest_marker("cairn")
    wanted = mark.kwargs if mark else {}
    kind = wanted.get("labels", "host")
    case = item.name if kind != "host" else item.originalname
    preset = item.callspec.params.get("preset") if hasattr(item, "callspec") else None
    file = item.path.stem.removeprefix("test_")
    name = f"boot: {file}: {case.removeprefix('test_').replace('_', ' ')}"
    command = [
        sys.executable,
        "-B",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        Path(__file__).parent,
        f"{Path(__file__).parent / item.path.name}::{case}",
    ]
    return ctest_lines(
        name,
        command,
        f"boot;{kind}",
        wanted.get("seconds", 60),
        FIXTURES_SETUP=f"{wanted['setup']}-{preset}" if "setup" in wanted else "",
        FIXTURES_REQUIRED=f"{wanted['needs']}-{preset}" if "needs" in wanted else "",
    )


def ktap_entry(preset, name):
    command = [Path(__file__).parent / "ktap-result", RESULTS / f"ktap-{preset}.log", name]
    return ctest_lines(f"{preset}: {name}", command, "boot;qemu;ktap", 10, FIXTURES_REQUIRED=f"ktap-{preset}")


@dataclass
class Ended:
    """A run of scripts/run that has ended: everything a test asks about."""

    status: int
    log: str  # the serial log, as lines without escape sequences
    errors: str  # what the runner said
    command: str

    def json_after(self, command):
        """The one line of JSON that `command` printed, found by its `result` line."""
        lines = self.log.splitlines()
        end = lines.index(f"result {command}: ok")
        return json.loads(next(line for line in reversed(lines[:end]) if line.startswith("{")))

    def json_all(self, command):
        """The same for each time that the command ran."""
        lines = self.log.splitlines()
        ends = [n for n, line in enumerate(lines) if line == f"result {command}: ok"]
        return [json.loads(next(line for line in reversed(lines[:end]) if line.startswith("{"))) for end in ends]

    def need_success(self):
        assert (
            self.status == 0
        ), f"status {self.status}; run it: {self.command}\n{self.log[-3000:]}\n{self.errors[-3000:]}"
        return self


def run_cairn(*arguments, timeout=120, script=RUN):
    """scripts/run without a terminal, to its end."""
    command = [str(script), *map(str, arguments)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
    shown = " ".join(re.sub(r"([^\w@%+=:,./-])", r"\\\1", word) for word in command)
    print(shown)
    return Ended(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"), shown)


@pytest.fixture
def cairn():
    return run_cairn


@pytest.fixture(scope="session")
def kernels():
    """Builds what is missing; a path for each preset."""

    def kernel(preset, name="cairn.elf"):
        subprocess.run([str(ROOT / "scripts" / "build"), preset], check=True, stdin=subprocess.DEVNULL)
        return ROOT / "build" / preset / name

    return kernel


@pytest.fixture(scope="session")
def results():
    RESULTS.mkdir(parents=True, exist_ok=True)
    return RESULTS


@pytest.fixture
def environment():
    return dict(os.environ)


def typed_monitor(*options, columns=200, maxread=2000):
    """scripts/run on a terminal, at its first prompt. Who takes it closes it."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    child = pexpect.spawn(
        "/usr/bin/env",
        [str(RUN), *options],  # as a list: its path may have a blank
        encoding="utf-8",
        codec_errors="replace",
        env=environment,
        timeout=60,
        dimensions=(40, columns),
        maxread=maxread,
    )
    child.delaybeforesend = 0.05
    child.expect_exact(PROMPT)
    return child

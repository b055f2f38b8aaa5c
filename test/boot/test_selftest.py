"""The unit tests inside the kernel. Each has a CTest test of its own (conftest.py): `collect` boots once for each build
and keeps the log, the single ones look their line up in it (ktap-result), and `verdict` here judges the whole run."""
import json

import kernel_tests
import pytest
import verdict
from conftest import PRESETS, run_cairn


def paths(results, preset):
    return results / f"ktap-{preset}.log", results / f"ktap-{preset}.json", results / f"kernel-{preset}.xml"


@pytest.mark.cairn(labels="qemu", seconds=480, setup="ktap")
@pytest.mark.parametrize("preset", PRESETS)
def test_collect(kernels, results, preset):
    log, state, junit = paths(results, preset)
    for old in (log, state, junit):
        old.unlink(missing_ok=True)
    ended = run_cairn(
        "--kernel",
        kernels(preset),
        "--memory",
        "64M",
        "--timeout",
        "380",
        "--exec",
        "test",
        "--serial-log",
        log,
        "--junit",
        junit,
        timeout=460,
    )
    state.write_text(json.dumps({"status": ended.status, "errors": ended.errors}))
    assert "KTAP version 1" in log.read_text(errors="replace"), ended.errors


@pytest.mark.cairn(labels="qemu", seconds=30, needs="ktap")
@pytest.mark.parametrize("preset", PRESETS)
def test_verdict(results, preset):
    log, state, _ = paths(results, preset)
    ended = json.loads(state.read_text())
    assert ended["status"] == 0, ended["errors"]
    plans = verdict.plans_of(verdict.lines_of(log.read_bytes()))
    ran = [test.name for plan in plans for test in plan.tests]
    assert sorted(ran) == sorted(kernel_tests.names(preset)), "the kernel runs all tests of the sources, and no others"
    assert len(ran) >= (1000 if preset == "kernel-debug" else 4)


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_a_glob_chooses():
    name = kernel_tests.names("kernel")[0]
    ended = run_cairn("--exec", f"test {name}").need_success()
    assert f"ok 1 {name}" in ended.log and "1..1" in ended.log.splitlines()


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_a_glob_without_a_match_fails():
    ended = run_cairn("--exec", "test no.such*")
    assert ended.status == 1 and "result test no.such*: failed" in ended.log.splitlines()


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_the_kernel_survives_its_tests():
    """After all tests the validators agree and no frame is lost."""
    ended = run_cairn("--memory", "64M", "--exec", "test; mem -j; test; mem -j; check").need_success()
    first, second = ended.json_all("mem -j")
    assert first["free"] == second["free"] and first["used"] == second["used"]

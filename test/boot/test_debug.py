"""scripts/debug: stopped at the first breakpoint, with symbols."""
import re
import subprocess

import pytest
from conftest import ROOT

DEBUG = ROOT / "scripts" / "debug"


def debug(words, *arguments, environment=None):
    done = subprocess.run(
        [DEBUG, *arguments],
        input=words,
        capture_output=True,
        text=True,
        errors="replace",
        env=environment,
        timeout=80,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.cairn(labels="qemu", seconds=90)
@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_gdb_stops_at_kernel_main_with_symbols(firmware, environment, tmp_path):
    port = {"bios": "21234", "uefi": "21235"}[firmware]
    text = debug(
        "info symbol $pc\nprint machine.image_start\nbacktrace\nkill\nquit\n",
        "qemu",
        "--memory",
        "64M",
        "--firmware",
        firmware,
        "--exec",
        "check",
        "--serial-log",
        str(tmp_path / "log"),
        environment=environment | {"CAIRN_GDB_PORT": port},
    )
    assert re.search(r"Breakpoint 1, kernel_main \(\) at .*main\.c:\d+", text), text
    assert "kernel_main in section .text" in text and re.search(r"\$1 = \{v = \d+\}", text), text
    assert "packet reply is too long" not in text


@pytest.mark.cairn(labels="bochs", seconds=90)
def test_bochs_stops_at_the_magic_breakpoint_with_symbols(tmp_path):
    log = str(tmp_path / "log")
    text = debug("u /1\nq\n", "bochs", "--memory", "32M", "--exec", "check", "--serial-log", log)
    assert "(0) Magic breakpoint" in text, text
    assert re.search(r"fffffe8[0-9a-f]+: \( *(magic_breakpoint|kernel_main)\+[0-9a-f]+\)", text), text


@pytest.mark.cairn(labels="host", seconds=30)
def test_wrong_use_is_refused_before_anything_starts():
    for arguments in (["bochs", "--icount"], ["gdb"], ["qemu", "--memory", "1M"]):
        assert subprocess.run([DEBUG, *arguments], capture_output=True, check=False).returncode == 2, arguments

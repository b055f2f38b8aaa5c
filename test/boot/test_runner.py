"""The runner is tested: kernels that panic, hang, reset, cut their plan short or claim success falsely (fake/fake.c),
through scripts/run and QEMU. Each is red, the honest ones are green."""
import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, run_cairn

FAKE = Path(__file__).resolve().parent / "fake"
pytestmark = pytest.mark.cairn(labels="qemu", seconds=60)


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    kernel = tmp_path_factory.mktemp("fake") / "fake.elf"
    subprocess.run(
        [
            "gcc",
            "-m32",
            "-std=gnu2x",
            "-ffreestanding",
            "-fno-pie",
            "-no-pie",
            "-static",
            "-nostdlib",
            "-fno-stack-protector",
            "-mgeneral-regs-only",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            f"-Wl,-T,{FAKE / 'fake.ld'}",
            "-Wl,--build-id=none",
            "-Wl,--no-warn-rwx-segments",
            "-o",
            kernel,
            FAKE / "fake.c",
        ],
        check=True,
    )

    def run(name, *arguments, seconds=20):
        return run_cairn("--kernel", kernel, "--headless", "--timeout", seconds, "--append", f"fake={name}", *arguments)

    return run


# The fake answers no commands; `test` (with the result line that the plans bring along) is the one that can succeed.
RED = {
    "panic": ("a kernel that panics", 1, "status 1"),
    "reset": ("a triple fault", 1, "a triple fault"),
    "reset-after-success": ("a triple fault after the success line", 1, "a triple fault"),
    "early-success": ("success in the middle, then a panic", 1, "after the cairn-exit line"),
    "two-faced": ("the line and the device disagree", 1, "does not agree"),
    "wrong-nonce": ("the success line with another nonce", 1, "another run's nonce"),
    "no-nonce": ("the success line without a nonce", 1, "cairn-exit"),
    "silent": ("the device without the line", 1, "never said"),
    "glued": ("the success line behind other text", 1, "never said"),
    "good": ("an honest end, but no result of the command", 1, "no result"),
    "plan-half": ("half a plan", 1, "cut short"),
    "plan-repeat": ("a repeated test number", 1, "more than once"),
    "plan-empty": ("a plan of zero tests", 1, "without tests"),
    "plan-none": ("a test command without output", 1, "0 KTAP"),
    "plan-failed": ("a failed test", 1, "a.two"),
}


@pytest.mark.parametrize("name", RED)
def test_a_lying_kernel_is_red(fake, name):
    what, status, words = RED[name]
    ended = fake(name, "--exec", "test")
    assert ended.status == status, what
    assert words in ended.errors, what
    assert "debug it: scripts/debug qemu" in ended.errors


def test_a_reset_before_anyone_watches_is_red_at_once(fake, monkeypatch):
    """On a busy machine the watcher may come when the machine stands still already."""
    monkeypatch.setenv("CAIRN_WATCH_LATE", "3")
    ended = fake("reset", "--exec", "test")
    assert ended.status == 1, "no time-out"



@pytest.mark.cairn(labels="bochs", seconds=60)
@pytest.mark.parametrize("name", ["panic", "reset", "reset-after-success", "early-success", "wrong-nonce", "plan-half"])
def test_a_lying_kernel_is_red_under_bochs(fake, name):
    _, status, words = RED[name]
    ended = fake(name, "--emulator", "bochs", "--memory", "32M", "--exec", "test", seconds=50)
    assert ended.status == status and words in ended.errors
    assert "debug it: scripts/debug bochs" in ended.errors


@pytest.mark.cairn(labels="bochs", seconds=60)
def test_an_honest_kernel_is_green_under_bochs(fake):
    assert fake("plan-good", "--emulator", "bochs", "--memory", "32M", "--exec", "test", seconds=50).status == 0


@pytest.mark.cairn(labels="bochs", seconds=60)
def test_a_hang_under_bochs_is_a_time_out_and_bochs_is_gone(fake, tmp_path):
    said = tmp_path / "said"
    ended = fake("hang", "--emulator", "bochs", "--memory", "32M", "--debugger-output", said, seconds=8)
    assert ended.status == 124 and "time-out after 8 s" in ended.errors
    rc = re.search(r"/\S+/bochsrc", said.read_text(errors="replace"))[0]
    assert subprocess.run(["pgrep", "-f", rc], stdout=subprocess.DEVNULL, check=False).returncode == 1


@pytest.mark.parametrize("emulator", [pytest.param("qemu"), pytest.param("bochs")])
def test_a_triple_fault_is_shown_with_the_last_state_of_the_cpu(fake, emulator):
    """Once, and the state in which `ud2` was reached, not that after the reset."""
    ended = fake("reset", "--emulator", emulator, "--memory", "32M", "--exec", "test", seconds=50)
    assert ended.status == 1
    state = ended.errors.split("the last state of the CPU:\n")[1].split("\n----\n")[0]
    address = int(re.search(r"EIP=([0-9a-f]{8})", state)[1], 16)
    assert 1 << 20 <= address < 4 << 20 and state.count("EIP=") == 1 and state.count("CR3=") == 1


def test_an_honest_kernel_is_green(fake):
    ended = fake("plan-good", "--exec", "test")
    assert ended.status == 0 and "FAILED" not in ended.errors


def test_a_hang_is_a_time_out_and_the_emulator_is_gone(fake, tmp_path):
    ended = fake("hang", "--qemu-monitor", tmp_path / "monitor", seconds=3)
    assert ended.status == 124 and "time-out after 3 s" in ended.errors
    assert (
        subprocess.run(["pgrep", "-f", str(tmp_path / "monitor")], stdout=subprocess.DEVNULL, check=False).returncode
        == 1
    )


def test_a_test_that_prints_the_success_line_and_hangs_is_a_time_out(fake):
    assert fake("plan-forged", "--exec", "test", seconds=3).status == 124


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_a_flood_on_one_line_ends_and_is_red(fake, tmp_path):
    log = tmp_path / "serial.log"
    ended = fake("flood", "--serial-log", log, seconds=5)
    assert ended.status in (1, 124)
    assert log.stat().st_size <= 64 << 20
    assert len(ended.errors) < 20000


def test_a_file_that_is_no_kernel_is_refused(tmp_path):
    bad = tmp_path / "bad.elf"
    bad.write_bytes(b"\x7fELF" + bytes(4096))
    ended = run_cairn("--kernel", bad, "--headless")
    assert ended.status == 1 and "Multiboot2" in ended.errors


def test_a_wrong_grub_line_or_an_unbootable_kernel_does_not_wait_for_a_key(fake):
    ended = fake("good", "--grub-line", "no_such_command", "--exec", "test")
    assert "no_such_command" in ended.log
    ended = fake("good", "--grub-line", "unset root", "--exec", "test")
    assert ended.status == 1, "GRUB found no kernel and powered off, which is not a success"


def test_the_command_line_arrives_with_every_odd_character(fake):
    odd = "a 'b' \"c\" \\ $d `e` #f &|<>(){}[]*?~!%^=é"
    quoted = "'" + odd.replace("'", "'\"'\"'") + "'"
    ended = fake("good", "--append", f"odd={quoted}", "--exec", "map 1 0x400000 1")
    line = next(line for line in ended.log.splitlines() if line.startswith("command line: <"))
    expected = "".join("\\" + c if c in "'\"\\" else c for c in odd)
    assert f' "odd={expected}" "exec=map 1 0x400000 1">' in line


def test_modules_arrive_with_their_arguments(fake, tmp_path):
    (tmp_path / "one").write_text("1")
    (tmp_path / "t w o").write_text("2")
    ended = fake("good", "--module", tmp_path / "one", "--module", f"{tmp_path / 't w o'}:a b")
    assert "module: <one>" in ended.log and 'module: <"t w o" a b>' in ended.log


def test_the_serial_log_is_kept_where_asked(fake, tmp_path):
    fake("plan-good", "--exec", "test", "--serial-log", tmp_path / "log")
    assert "cairn-exit 0 " in (tmp_path / "log").read_text()


def test_in_kernel_tests_reach_junit_by_name(fake, tmp_path):
    fake("plan-failed", "--exec", "test", "--junit", tmp_path / "kernel.xml")
    text = (tmp_path / "kernel.xml").read_text()
    assert 'name="a.one"' in text and 'name="a.two"' in text and 'failures="1"' in text


@pytest.mark.parametrize("memory", ["16M", "4T"])
@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_the_smallest_and_the_largest_machine_boot(fake, memory, machine):
    assert fake("plan-good", "--exec", "test", "--memory", memory, "--machine", machine).status == 0


def test_nodes_cpus_and_icount_are_accepted(fake):
    assert fake("plan-good", "--exec", "test", "--cpus", "4", "--nodes", "2", "--icount").status == 0


WRONG = {
    "--memory 15M": "16M",
    "--memory 5T": "4T",
    "--memory 0": "16M",
    "--memory lots": "size",
    "--memory 99999999999999T": "size",
    "--memory 17825793": "whole MiB",
    "--firmware uefi --memory 63M": "64M",
    "--emulator bochs --memory 6G": "5G",
    "--emulator bochs --memory 8M": "16M",
    "--emulator bochs --icount": "Bochs",
    "--emulator bochs --gdb": "Bochs",
    "--emulator bochs --machine q35": "Bochs",
    "--emulator bochs --nodes 2 --cpus 2": "NUMA",
    "--emulator bochs --firmware uefi": "no UEFI",
    "--emulator bochs --memory 1T": "5G",
    "--emulator bochs --cpus 9": "up to 8",
    "--emulator bochs --qemu-monitor x": "Bochs",
    "--emulator bochs --cpu 486": "Bochs",
    "--emulator bochs --no-serial": "serial line",
    "--debugger": "--gdb",
    "--debugger-commands x": "--gdb",
    "--firmware uefi --memory 5T": "4T",
    "--emulator kvm": "qemu bochs",
    "--firmware coreboot": "bios uefi",
    "--machine isapc": "pc q35",
    "--cpus 0": "--cpus",
    "--cpus 256": "--cpus",
    "--nodes 2": "CPU",
    "--timeout soon": "seconds",
    "--module /nonexistent": "no such file",
    "--module build/user/nonexistent": "no such file",
    "--module build/kernel/hello": "no such file",
    "--kernel /nonexistent": "no such file",
    "--append 'a": "quote",
    "--exec ;": "without a command",
    "--memory": "value",
    "--nonsense": "unknown",
    "extra": "unknown",
}


@pytest.mark.cairn(labels="host", seconds=90)
@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_use_is_status_2_with_the_reason(arguments):
    ended = run_cairn("--headless", *arguments.split())
    assert ended.status == 2
    assert WRONG[arguments] in ended.errors


@pytest.mark.cairn(labels="host", seconds=90)
def test_a_program_of_ours_is_named_from_anywhere_and_need_not_be_built_yet(tmp_path):
    for name in ("build/user/hello", "build/user-clang/hello:a b", f"{ROOT}/build/user/pingpong"):
        command = [ROOT / "scripts" / "run", "--headless", "--dry-run", "--module", name]
        assert subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, check=False).returncode == 0


SCRIPTS = sorted(
    p.name for p in (ROOT / "scripts").iterdir() if p.is_file() and p.stat().st_mode & 0o100 and p.suffix == ""
)


@pytest.mark.cairn(labels="host", seconds=90)
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_has_help_and_refuses_nonsense(script, tmp_path):
    path = ROOT / "scripts" / script
    shown = subprocess.run(
        [path, "--help"], capture_output=True, text=True, cwd=tmp_path, stdin=subprocess.DEVNULL, check=False
    )
    assert shown.returncode == 0 and f"scripts/{script}" in shown.stdout
    wrong = subprocess.run(
        [path, "--no-such-option"], capture_output=True, text=True, cwd=tmp_path, stdin=subprocess.DEVNULL, check=False
    )
    assert wrong.returncode == 2

"""Other machines than QEMU with BIOS: UEFI, Bochs, CPUs that will not do, a machine without a serial port."""
import re
import subprocess
import time
from pathlib import Path

import memmap_model
import pytest
from conftest import ROOT, RUN, run_cairn
from test_exercise import ask_qemu, wait_for
from test_memory import PAGE_BYTES

COMMANDS = "exercise; check; mem -j; mmap -j"


def check_machine(ended):
    """Through the exercise, and every byte is accounted for, as an independent reading of the map says."""
    ended.need_success()
    lines = ended.log.splitlines()
    assert "exercise: ok" in lines and "check: ok" in lines
    mem, mmap = ended.json_after("mem -j"), ended.json_after("mmap -j")
    assert mem["ram"] == mem["free"] + mem["used"] + mem["metadata"] + mem["earmarked"] + mem["reserved"]
    # Memory of the firmware's ACPI tables (type 3) is RAM once they have been read.
    acpi = [entry for entry in mmap["map"] if entry["type"] == 3]
    others = [entry for entry in mmap["map"] if entry["type"] != 3]
    runs = memmap_model.ram_runs(others + [entry | {"type": 1} for entry in acpi])
    assert memmap_model.total_bytes(runs) == mem["ram"]
    assert [(run["base"] // PAGE_BYTES, run["frames"]) for run in mmap["runs"]] == runs
    assert 0 <= mem["acpi_reclaimed"] <= sum(entry["length"] for entry in acpi)
    return mem


# ---- UEFI ----


@pytest.mark.cairn(labels="qemu;uefi", seconds=240)
@pytest.mark.parametrize("memory", ["64M", "1G"])
@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_uefi(machine, memory):
    ended = run_cairn(
        "--firmware",
        "uefi",
        "--machine",
        machine,
        "--memory",
        memory,
        "--timeout",
        "200",
        "--exec",
        COMMANDS,
        timeout=230,
    )
    mem = check_machine(ended)
    assert mem["acpi_reclaimed"] > 0, "UEFI's ACPI memory is RAM once it has been read"
    assert re.search(r"acpi: RSDP of version 2", ended.log), "UEFI hands over the newer RSDP"


@pytest.mark.cairn(labels="qemu;uefi", seconds=180)
def test_uefi_with_4_tib():
    mem = check_machine(
        run_cairn(
            "--firmware", "uefi", "--memory", "4T", "--timeout", "160", "--exec", "exercise 1; " + COMMANDS, timeout=170
        )
    )
    assert mem["ram"] > (4 << 40) - (1 << 30)


@pytest.mark.cairn(labels="qemu;uefi", seconds=120)
def test_uefi_from_code_and_variables_in_two_files(environment, tmp_path):
    """As other distributions have it: code in one file, variables in another, of which each run gets a copy."""
    code, variables = tmp_path / "OVMF_CODE_4M.fd", tmp_path / "OVMF_VARS_4M.fd"
    for path in (code, variables):  # both in the package ovmf
        path.write_bytes((Path("/usr/share/OVMF") / path.name).read_bytes())
        path.chmod(0o444)
    before = variables.read_bytes()
    done = subprocess.run(
        [RUN, "--firmware", "uefi", "--memory", "128M", "--timeout", "100", "--exec", "check"],
        env=environment | {"CAIRN_OVMF": str(code)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert variables.read_bytes() == before


@pytest.mark.cairn(labels="host", seconds=60)
@pytest.mark.parametrize("name", ["/nonexistent/OVMF.fd", "OVMF_CODE.fd"])
def test_a_wrong_ovmf_is_missing_and_no_other_is_taken(environment, tmp_path, name):
    """Not there, or code without variables. Without apt-get nothing is installed, so the run fails."""
    path = tmp_path / name
    if path.parent == tmp_path:
        path.write_bytes(b"code")
    probe = 'source "$1/scripts/lib.sh"; has_tool ovmf && echo found; CAIRN_OVMF= has_tool ovmf && echo without'
    done = subprocess.run(
        ["bash", "-c", probe, "probe", ROOT],
        env=environment | {"CAIRN_OVMF": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "without\n"


# ---- Bochs ----


@pytest.mark.cairn(labels="bochs", seconds=120)
def test_bochs_16m():
    mem = check_machine(run_cairn("--emulator", "bochs", "--memory", "16M", "--timeout", "100", "--exec", COMMANDS))
    assert 15 << 20 < mem["ram"] < 16 << 20


@pytest.mark.cairn(labels="bochs", seconds=300)
def test_bochs_1g():
    commands = COMMANDS.replace("exercise", "exercise 1", 1)
    check_machine(
        run_cairn("--emulator", "bochs", "--memory", "1G", "--timeout", "280", "--exec", commands, timeout=290)
    )


@pytest.mark.cairn(labels="bochs", seconds=90)
def test_bochs_5g_starts():
    """More than Bochs takes from the host; its memory below the hole of 1 GiB under 4 GiB is not moved up but lost.
    Filling it all would take minutes."""
    ended = run_cairn(
        "--emulator", "bochs", "--memory", "5G", "--timeout", "80", "--exec", "check; mem -j"
    ).need_success()
    mem = ended.json_after("mem -j")
    assert 0 < (4 << 30) - mem["ram"] < 1 << 20
    assert any(region["base"] >= 4 << 30 for region in mem["regions"])


@pytest.mark.cairn(labels="bochs", seconds=90)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nx", r"panic: page fault"),
        ("stack-overflow", r"stack overflow"),
        ("double-fault", r"panic: double fault"),
        ("double-free", r"misuse"),
    ],
)
def test_bochs_explains_a_fault(name, words):
    ended = run_cairn("--emulator", "bochs", "--memory", "32M", "--timeout", "80", "--exec", f"provoke {name}")
    assert ended.status == 1, ended.errors
    assert re.search(words, ended.log) and re.search(r"^cairn-exit 1 ", ended.log, re.MULTILINE)


@pytest.mark.cairn(labels="bochs", seconds=90)
def test_bochs_shows_each_misuse_of_the_heap():
    """All in one boot, and the one that faults last."""
    names = ("heap-double-free", "heap-foreign", "heap-cache-double-free", "heap-overflow")
    commands = "; ".join(f"provoke {name}" for name in names)
    ended = run_cairn("--emulator", "bochs", "--memory", "32M", "--timeout", "80", "--exec", commands)
    assert ended.status == 1, ended.errors
    for words in (
        r"misuse: heap_free: .*double free",
        r"(?s)a variable:.*misuse.*a user page:.*misuse.*a frame of.*misuse.*a table in.*misuse.*the image:.*misuse",
        r"misuse: heap_cache_free: .*double free",
        r"place: live heap block of 12288 bytes",
    ):
        assert re.search(words, ended.log), f"{words} in\n{ended.log}"
    assert ended.log.count("provoke: nothing changed; the validators find nothing") == 3


@pytest.mark.cairn(labels="bochs", seconds=90)
def test_bochs_with_modules_and_two_cpus(tmp_path):
    (tmp_path / "one").write_bytes(b"1" * 100_000)
    without = (
        run_cairn("--emulator", "bochs", "--memory", "32M", "--exec", "mem -j").need_success().json_after("mem -j")
    )
    ended = run_cairn(
        "--emulator",
        "bochs",
        "--memory",
        "32M",
        "--cpus",
        "2",
        "--module",
        f"{tmp_path / 'one'}:a b",
        "--exec",
        "mem -j; check",
    ).need_success()
    held = ended.json_after("mem -j")["reserved"] - without["reserved"]
    assert 100_000 <= held <= 100_000 + 2 * PAGE_BYTES


@pytest.mark.cairn(labels="bochs", seconds=60)
def test_bochs_reset_is_a_failure_and_told():
    ended = run_cairn("--emulator", "bochs", "--memory", "32M", "--timeout", "50", "--exec", "reboot")
    assert ended.status == 1 and "the machine reset itself" in ended.errors


@pytest.mark.cairn(labels="bochs", seconds=60)
def test_a_magic_breakpoint_nobody_waits_for_is_passed(tmp_path):
    said = tmp_path / "said"
    ended = run_cairn(
        "--emulator",
        "bochs",
        "--memory",
        "32M",
        "--append",
        "debug=magic:prompt",
        "--exec",
        "check",
        "--debugger-output",
        said,
    ).need_success()
    assert "result check: ok" in ended.log.splitlines() and "Magic breakpoint" in said.read_text(errors="replace")


# ---- CPUs that will not do, a machine without a serial port ----


@pytest.mark.cairn(labels="qemu", seconds=60)
@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("486", "cairn: this CPU has no long mode; a 64-bit x86 CPU is needed"),
        ("qemu32", "cairn: this CPU has no long mode; a 64-bit x86 CPU is needed"),
        ("qemu64,-nx", "cairn: this CPU has no NX (execute disable), or the firmware hides it; enable it there"),
    ],
)
def test_a_cpu_that_will_not_do_is_told_what_it_lacks(tmp_path, model, words):
    """On the serial line, and on the screen (white on red, read out of the VGA's memory); then the CPU is halted."""
    log, monitor = tmp_path / "log", tmp_path / "monitor"
    runner = subprocess.Popen(
        [RUN, "--headless", "--memory", "32M", "--cpu", model, "--serial-log", log, "--qemu-monitor", monitor],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        text = wait_for(log, "cairn: ", runner, seconds=40)
        time.sleep(0.5)
        text = log.read_text(errors="replace")
        screen, registers = ask_qemu(monitor, [f"xp /{len(words) * 2}bx 0xb8000", "info registers"])
    finally:
        runner.terminate()
        runner.wait(timeout=20)
    assert words in text.replace("\r", "").split("\n")
    assert "HLT=1" in registers
    cells = [int(byte, 16) for line in re.findall(r": (.*)", screen) for byte in re.findall(r"0x(\w\w)\b", line)]
    assert bytes(cells[0::2]).decode(errors="replace") == words and set(cells[1::2]) == {0x4F}


@pytest.mark.cairn(labels="qemu", seconds=90)
@pytest.mark.parametrize("model", ["max,-pge", "max,-pdpe1gb", "qemu64,-pge,-pdpe1gb"])
def test_a_cpu_without_global_pages_or_pages_of_1_gib_will_do(model):
    ended = run_cairn("--memory", "64M", "--cpu", model, "--exec", "test cpu*; test vmm*; check").need_success()
    assert re.search(r"^# pass:[1-9]\d* fail:0 ", ended.log, re.M)


def vga_text(monitor):
    answer = ask_qemu(monitor, ["xp /4000bx 0xb8000"])[0]
    cells = bytes(int(byte, 16) for line in re.findall(r": (.*)", answer) for byte in re.findall(r"0x(\w\w)\b", line))
    rows = [cells[row * 160 : row * 160 + 160 : 2].decode("ascii", "replace") for row in range(25)]
    return [row.rstrip(" \0") for row in rows]


@pytest.mark.cairn(labels="qemu", seconds=60)
def test_without_a_serial_port_the_screen_tells_it(tmp_path, environment):
    """Nothing to type at, so the kernel halts after boot; its words are on the screen."""
    monitor = tmp_path / "monitor"
    runner = subprocess.Popen(
        [RUN, "--no-serial", "--memory", "32M", "--gdb", "--headless", "--qemu-monitor", monitor, "--timeout", "50"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment | {"CAIRN_GDB_PORT": "0"},  # any free one: nobody connects
    )
    try:
        deadline, rows = time.monotonic() + 40, []
        while True:
            assert time.monotonic() < deadline and runner.poll() is None, runner.poll()
            try:
                ask_qemu(monitor, ["cont"])
                break
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.1)
        while not any("no serial port" in row for row in rows):
            assert time.monotonic() < deadline and runner.poll() is None, (rows, runner.poll())
            time.sleep(0.5)
            rows = vga_text(monitor)
    finally:
        runner.terminate()
        runner.wait(timeout=20)
    assert any(row.endswith("no serial port: no monitor; halting") for row in rows), rows


@pytest.mark.cairn(labels="qemu", seconds=60)
def test_without_a_serial_port_commands_run_and_the_run_is_no_success():
    """The machine ends by itself with the device's success, but nobody can say what it did."""
    ended = run_cairn("--no-serial", "--memory", "32M", "--exec", "check", "--timeout", "40")
    assert ended.status == 1
    assert "no cairn-exit line" in ended.errors and "time-out" not in ended.errors
    assert "status 0 without" not in ended.errors and "reset" not in ended.errors

"""The exercise is believed only because it can fail, and because what it writes is really in the machine's memory."""
import re
import socket
import subprocess
import time

import pytest
from conftest import ROOT, RUN, run_cairn

FRAMES = 10
SEED = 4711


def ask_qemu(path, commands):
    """The answers of QEMU's monitor at this Unix socket, one text for each command."""
    answers = []
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.settimeout(20)
        monitor.connect(str(path))

        def until_prompt():
            text = b""
            while not text.endswith(b"(qemu) "):
                more = monitor.recv(65536)
                assert more, f"QEMU's monitor went away after {text!r}"
                text += more
            return text.decode(errors="replace")

        until_prompt()
        for command in commands:
            monitor.sendall(command.encode() + b"\n")
            answers.append(until_prompt())
    return answers


def wait_for(path, words, runner, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        text = path.read_text(errors="replace") if path.exists() else ""
        if words in text:
            return text
        assert runner.poll() is None, f"the run ended before {words!r}:\n{text[-2000:]}"
        time.sleep(0.1)
    raise AssertionError(f"no {words!r} within {seconds} s:\n{text[-2000:]}")


@pytest.mark.cairn(labels="qemu", seconds=120)
@pytest.mark.parametrize("memory", ["16M", "5G"])
def test_the_emulator_finds_the_pattern_in_ten_claimed_frames(tmp_path, memory):
    log, monitor = tmp_path / "serial.log", tmp_path / "monitor"
    runner = subprocess.Popen(
        [
            RUN,
            "--headless",
            "--memory",
            memory,
            "--append",
            "exercise=pause",
            "--exec",
            "exercise",
            "--serial-log",
            log,
            "--qemu-monitor",
            monitor,
            "--timeout",
            "100",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        text = wait_for(log, "exercise: paused", runner)
        said = [
            (int(a, 16), int(v, 16))
            for a, v in re.findall(r"^pattern (0x[0-9a-f]+) (0x[0-9a-f]+)\r?$", text, re.MULTILINE)
        ]
        found = ask_qemu(monitor, [f"xp /1gx {address:#x}" for address, _ in said])
    finally:
        runner.terminate()
        runner.wait(timeout=20)
    assert len(said) == FRAMES
    assert len({address for address, _ in said}) == FRAMES, "ten different frames"
    assert len({value for _, value in said}) == FRAMES, "each with a pattern of its own"
    for (address, value), answer in zip(said, found, strict=True):
        assert f"{address:016x}: {value:#018x}" in answer


@pytest.mark.cairn(labels="qemu", seconds=400)
@pytest.mark.parametrize("name", ["frame-twice", "foreign-lost", "heap-overwrite"])
def test_a_kernel_with_a_broken_invariant_does_not_print_ok(name):
    subprocess.run([ROOT / "scripts" / "build", "--break", name], check=True, stdin=subprocess.DEVNULL)
    ended = run_cairn("--kernel", ROOT / "build" / "kernel" / f"break-{name}.elf", "--exec", "exercise")
    print(ended.log)
    assert ended.status == 1, "found by the exercise itself, not by a time-out"
    assert "exercise: ok" not in ended.log
    assert "exercise: FAILED" in ended.log or "panic: " in ended.log


@pytest.mark.cairn(labels="qemu", seconds=400)
def test_the_history_of_spaces_finds_a_lost_change_too():
    subprocess.run([ROOT / "scripts" / "build", "--break", "foreign-lost"], check=True, stdin=subprocess.DEVNULL)
    kernel = ROOT / "build" / "kernel" / "break-foreign-lost.elf"
    ended = run_cairn("--kernel", kernel, "--exec", "exercise vmm")
    assert ended.status == 1 and "exercise: FAILED: EX-4: " in ended.log, ended.log


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_a_history_of_spaces_is_the_same_each_time_and_can_be_taken_away():
    """
    Also the words and the JSON; too little memory is refused step by step, and is no failure. Large pages need runs:
    the second history beside the first is the same where memory is plenty.
    """
    commands = f"mem -j; exercise vmm -j {SEED} 20000; check; exercise vmm {SEED} 20000; spaces -j; check"
    ended = run_cairn("--memory", "256M", "--exec", commands).need_success()
    told = ended.json_after(f"exercise vmm -j {SEED} 20000")
    assert told["ok"] and told["failure"] == "" and (told["seed"], told["steps"]) == (SEED, 20000)
    words = re.search(r"(\d+) mappings of (\d+) pages, (\d+) unmaps, (\d+) protects, (\d+) refused", ended.log)
    names = ("mappings", "pages_mapped", "unmaps", "protects", "refused")
    assert [int(number) for number in words.groups()] == [told[name] for name in names] and told["mappings"] > 3000
    left = re.search(r"the foreign slot opened (\d+) times, (\d+) pages left in spaces (\d+), (\d+), (\d+)", ended.log)
    assert int(left[2]) == told["pages_left"] > 5000 and told["foreign_opens"] > 5000
    spaces = {space["id"]: space["pages"] for space in ended.json_after("spaces -j")["spaces"]}
    ids = [*told["spaces"], *map(int, left.groups()[2:])]
    assert sum(spaces[i] for i in ids) == 2 * told["pages_left"] and len(set(ids)) == 6
    frees = "; ".join(f"space free {i}" for i in told["spaces"])
    again = run_cairn(
        "--memory", "256M", "--exec", f"mem -j; exercise vmm -j {SEED} 20000; {frees}; mem -j; spaces -j; check"
    ).need_success()
    assert again.json_after(f"exercise vmm -j {SEED} 20000") == told
    before, after = again.json_all("mem -j")
    # What stays in use is what the kernel keeps for the next time: pages of the heap, of the arena's nodes, tables.
    assert 0 <= after["used"] - before["used"] <= 64 << 10
    assert [space["id"] for space in again.json_after("spaces -j")["spaces"]] == [0]
    small = run_cairn("--memory", "16M", "--exec", f"exercise vmm -j {SEED} 20000; check").need_success()
    assert small.json_after(f"exercise vmm -j {SEED} 20000")["refused"] > told["refused"]


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_the_summary_says_how_much_was_done():
    ended = run_cairn("--exec", f"exercise 2 {SEED}").need_success()
    match = re.search(r"exercise: (\d+) frames touched, (\d+) foreign edits, (\d+) bytes verified", ended.log)
    assert match and all(int(number) > 1000 for number in match.groups()), ended.log


@pytest.mark.cairn(labels="qemu", seconds=240)
def test_all_of_16_mib_are_touched():
    """On a small machine every free frame is taken: those free at the prompt, less what the exercise itself needs."""
    ended = run_cairn("--memory", "16M", "--exec", "mem -j; exercise 1").need_success()
    touched = int(re.search(r"exercise: (\d+) frames touched", ended.log)[1])
    assert touched >= 0.95 * ended.json_after("mem -j")["free"] / 4096


@pytest.mark.cairn(labels="qemu", seconds=300)
@pytest.mark.parametrize("preset", ["kernel-debug", "kernel-clang"])
@pytest.mark.parametrize("memory", ["16M", "256M"])
def test_the_other_builds_do_the_same(kernels, preset, memory):
    ended = run_cairn(
        "--kernel", kernels(preset), "--memory", memory, "--timeout", "240", "--exec", "exercise; check"
    ).need_success()
    assert "exercise: ok" in ended.log.splitlines() and "check: ok" in ended.log.splitlines()


@pytest.mark.cairn(labels="qemu", seconds=120)
@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_an_image_loaded_far_from_where_it_was_linked(kernels, machine):
    """The header prefers the highest address: the image runs far from where it was linked."""
    ended = run_cairn(
        "--kernel", kernels("kernel", "cairn-high.elf"), "--machine", machine, "--exec", "exercise; check; mem -j"
    ).need_success()
    address = int(re.search(r"loaded by .* at (0x[0-9a-f]+)", ended.log)[1], 16)
    assert address >= 128 << 20, "of 256 MiB, the image lies in the upper half"
    assert "exercise: ok" in ended.log.splitlines() and "check: ok" in ended.log.splitlines()


@pytest.mark.cairn(labels="qemu", seconds=90)
def test_without_a_terminal_it_exercises_and_powers_off():
    ended = run_cairn().need_success()
    assert "exercise: ok" in ended.log.splitlines() and "result exercise: ok" in ended.log.splitlines()

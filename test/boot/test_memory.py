"""Every machine: boots, gets through the exercise and the validators, and accounts for each byte of its memory."""
import pytest
from conftest import run_cairn

import memmap_model

MIB, PAGE_BYTES = 1 << 20, 4096
SIZES = {"16M": 16 * MIB, "64M": 64 * MIB, "256M": 256 * MIB, "5G": 5 << 30, "1T": 1 << 40, "4T": 4 << 40}
HOLES = {
    "none": [],
    "one of 1M": [(64 * MIB, 65 * MIB)],
    "two": [(64 * MIB, 65 * MIB), (100 * MIB, 108 * MIB)],
    "small and odd": [(0x4801000, 0x4804000)],
}


def run_memory(size, *arguments):
    ended = run_cairn(
        "--memory", size, "--exec", "exercise; check; mem -j; mmap -j", *arguments, timeout=400
    ).need_success()
    lines = ended.log.splitlines()
    assert "exercise: ok" in lines and "check: ok" in lines
    return ended.json_after("mem -j"), ended.json_after("mmap -j")


def check_sums(mem, mmap):
    """The sum of the parts, the regions, and an independent reading of the firmware's map all agree to the byte."""
    assert mem["ram"] == mem["free"] + mem["used"] + mem["metadata"] + mem["earmarked"] + mem["reserved"]
    assert all(mem[name] > 0 for name in ("ram", "free", "used", "metadata", "reserved"))
    assert sum(region["bytes"] for region in mem["regions"]) <= mem["ram"]
    assert mem["free"] <= sum(region["free"] for region in mem["regions"])
    assert all(region["untouched"] <= region["free"] <= region["bytes"] for region in mem["regions"])
    # Memory of the firmware's ACPI tables (type 3) is RAM once they have been read.
    entries = [entry | {"type": 1 if entry["type"] == 3 else entry["type"]} for entry in mmap["map"]]
    runs = memmap_model.ram_runs(entries)
    assert memmap_model.total_bytes(runs) == mem["ram"]
    assert [(run["base"] // PAGE_BYTES, run["frames"]) for run in mmap["runs"]] == runs


@pytest.mark.cairn(labels="qemu", seconds=420)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_machine(machine, size):
    mem, mmap = run_memory(size, "--machine", machine, "--timeout", "360")
    check_sums(mem, mmap)
    assert 0 <= SIZES[size] - mem["ram"] <= MIB, "the total lies within 1 MiB of --memory"


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_a_hundred_single_frames_far_apart_below_the_rest_do_not_stop_the_boot():
    """Each first frame taken from such a place is a hold of its own, and its block's pages need further frames."""
    words, start = [], 0x180000
    for island in range(8 * MIB, 101 * 8 * MIB, 8 * MIB):
        words += ["--grub-line", f"cutmem {start:#x} {island:#x}"]
        start = island + PAGE_BYTES
    mem, mmap = run_memory("1G", "--timeout", "100", *words)
    check_sums(mem, mmap)
    assert mem["ram"] > 200 * MIB


@pytest.mark.cairn(labels="qemu", seconds=240)
@pytest.mark.parametrize("name", [name for name in HOLES if name != "none"])
def test_a_hole_is_missing_exactly(name):
    whole, _ = run_memory("256M", "--timeout", "100")
    words = [word for start, end in HOLES[name] for word in ("--grub-line", f"cutmem {start:#x} {end:#x}")]
    holed, mmap = run_memory("256M", "--timeout", "100", *words)
    check_sums(holed, mmap)
    assert whole["ram"] - holed["ram"] == sum(end - start for start, end in HOLES[name])
    for start, end in HOLES[name]:
        assert all(run["base"] + run["frames"] * PAGE_BYTES <= start or run["base"] >= end for run in mmap["runs"])


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_memory_above_a_limit_is_left_alone():
    mem, mmap = run_memory("256M", "--append", "mem=128M")
    assert mem["ram"] < 128 * MIB
    assert all(run["base"] + run["frames"] * PAGE_BYTES <= 128 * MIB for run in mmap["runs"])


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_a_module_takes_no_more_than_its_frames(tmp_path):
    (tmp_path / "module").write_bytes(b"m" * 1_000_000)
    mem, mmap = run_memory("64M", "--module", f"{tmp_path / 'module'}:with arguments")
    check_sums(mem, mmap)


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_two_runs_of_the_same_machine_say_the_same_under_icount():
    first, second = (run_memory("64M", "--icount", "--timeout", "100")[0] for _ in range(2))
    assert first == second


@pytest.mark.cairn(labels="qemu", seconds=60)
@pytest.mark.parametrize("limit", ["700k", "1200k"])
def test_an_image_above_mem_is_given_back_as_far_as_it_is_ram(limit):
    """panic=misuse: giving back what mem= left out would be one."""
    log = run_cairn("--exec", "check", "--append", f"mem={limit} panic=misuse", timeout=60).need_success().log
    assert "stay reserved" not in log and "misuse:" not in log


@pytest.mark.cairn(labels="qemu", seconds=60)
def test_a_heap_larger_than_memory_is_refused_at_once():
    log = run_cairn("--exec", "check", "--append", "heap=300M", timeout=40).need_success().log
    assert "more than there is; the heap starts empty" in log

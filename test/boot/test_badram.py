"""Bad memory: the frames that badram= names are never used, are told as bad, and are counted; whatever it says, the
machine lives or says why not."""
import re

import pytest
from conftest import run_cairn
from test_memory import PAGE_BYTES, check_sums

pytestmark = pytest.mark.cairn(labels="qemu", seconds=90)

FRAMES_SAID = re.compile(r"bad memory: (\d+) frames in (\d+) stretches \(badram=\), (\d+) of them in use already")


def run_badram(badram, *arguments, commands="", memory="64M"):
    given = ["--memory", memory, "--append", f"badram={badram}", "--timeout", "60"]
    ended = run_cairn(*given, "--exec", f"exercise; check; mem -j; mmap -j{commands}", *arguments).need_success()
    lines = ended.log.splitlines()
    assert "exercise: ok" in lines and "check: ok" in lines
    return ended


def is_bad(pairs, frame):
    address = frame * PAGE_BYTES
    return any((address & mask & -PAGE_BYTES) == (base & mask & -PAGE_BYTES) for base, mask in pairs)


def bad_frames(pairs, mmap):
    return sum(is_bad(pairs, run["base"] // PAGE_BYTES + n) for run in mmap["runs"] for n in range(run["frames"]))


def state_of(ended, address):
    return re.search(rf"^as a physical address: frame {address // PAGE_BYTES:#x}, byte 0, (.*)$", ended.log, re.M)[1]


@pytest.mark.parametrize(
    "pairs",
    [
        [(0x2000000, 0xFFFFFFFFFFFFF000)],  # one frame
        [(0x2000ABC, 0xFFFFFFFF)],  # the same, bits below the page size
        [(0x3000000, ~0xFFFF & (1 << 64) - 1), (0x8000, 0x3F8000)],  # 16 frames together; 8 frames in each 4 MiB
        [(0, 0x7000)],  # each eighth frame, in the image too
        [(0x300000, 0xF00000), (0x310000, 0xF10000), (0x280000, 0x3C0000)],  # overlapping
    ],
)
def test_bad_frames_are_counted_exactly_and_never_used(pairs):
    badram = ",".join(f"{base:#x},{mask:#x}" for base, mask in pairs)
    plain = run_cairn("--memory", "64M", "--exec", "mem -j").need_success().json_after("mem -j")
    # Above all that the loader placed: there a frame is free, in use by the kernel, or bad.
    probes = [frame * PAGE_BYTES for frame in range(0x400, 0x3F00, 331)]
    probes += [base & mask & -PAGE_BYTES | 0x2000000 for base, mask in pairs]
    ended = run_badram(badram, commands="".join(f"; who {address:#x}" for address in probes))
    mem, mmap = ended.json_after("mem -j"), ended.json_after("mmap -j")
    check_sums(mem, mmap)
    assert mem["ram"] == plain["ram"]
    frames, stretches, in_use = map(int, FRAMES_SAID.search(ended.log).groups())
    assert frames == bad_frames(pairs, mmap) and 0 < stretches <= frames
    # What was in use and is given back after boot is bad from then on; what stays in use is not.
    assert (frames - in_use) * PAGE_BYTES <= mem["bad"] <= frames * PAGE_BYTES and mem["bad"] <= mem["reserved"]
    for address in probes:
        assert state_of(ended, address).startswith("bad") == is_bad(pairs, address // PAGE_BYTES), hex(address)


def test_what_the_loader_put_into_bad_memory_is_named_and_stays(tmp_path):
    (tmp_path / "module").write_bytes(b"m" * 300_000)
    ended = run_badram("0,0x3000", "--module", f"{tmp_path / 'module'}:words")
    for what in ("the kernel image", "the symbol table", "a module"):
        assert re.search(rf"warning: bad memory: {what} at .* cannot be moved and stays in use", ended.log), ended.log


def test_bad_frames_of_what_is_given_back_after_boot_are_bad_and_the_others_are_free():
    """The first pages of the image are thrown away once the kernel runs."""
    addresses = range(0x101000, 0x105000, PAGE_BYTES)
    ended = run_badram("0x103000,0xfffff000", commands="".join(f"; who {address:#x}" for address in addresses))
    assert [state_of(ended, address).split()[0] for address in addresses] == ["free", "free", "bad", "free"]
    assert FRAMES_SAID.search(ended.log).groups() == ("1", "1", "1")
    assert ended.json_after("mem -j")["bad"] == PAGE_BYTES


@pytest.mark.parametrize("memory", ["16M", "256M", "4T"])
def test_each_second_frame_is_more_than_can_be_kept_and_the_machine_lives(memory):
    ended = run_badram("0x1000,0x1000", memory=memory, commands="; who 0x1003000; who 0x1002000")
    mem, mmap = ended.json_after("mem -j"), ended.json_after("mmap -j")
    assert mem["ram"] == mem["free"] + mem["used"] + mem["metadata"] + mem["earmarked"] + mem["reserved"]
    assert sum(run["frames"] for run in mmap["runs"]) * PAGE_BYTES == mem["ram"]
    assert 4 << 20 < mem["free"] < mem["ram"] // 2
    if memory == "16M":
        assert "more stretches" not in ended.log
        return
    assert re.search(r"more stretches than can be kept \(BAD_STRETCHES_MAX = \d+", ended.log)
    end = int(re.search(r"so all memory from 0x([0-9a-f]+) on, \d+ KiB, is left out", ended.log)[1], 16)
    last = mmap["runs"][-1]
    assert last["base"] + last["frames"] * PAGE_BYTES == end
    assert state_of(ended, 0x1003000).startswith("bad") and not state_of(ended, 0x1002000).startswith("bad")


def test_dense_bad_memory_in_a_few_places_takes_these_places_only():
    """Each second frame in one of 16 MiB each: of 4 GiB 1/16 is lost, and the rest is used."""
    ended = run_badram("0,0xf01000", memory="4G")
    mem = ended.json_after("mem -j")
    assert "so groups of 8 KiB are left unused whole where one frame of them is bad" in ended.log
    assert mem["ram"] > 4095 << 20 and abs(mem["bad"] - mem["ram"] // 16) < 2 << 20


@pytest.mark.parametrize("badram", ["0,0", "0x1234,0xfff", "0,0x1000,0x1000,0x1000", "0,1,1,0xffffffffffffffff"])
def test_all_memory_bad_is_a_halt_that_says_why(badram):
    ended = run_cairn("--memory", "64M", "--append", f"badram={badram}", "--exec", "mem", "--timeout", "30")
    assert ended.status == 1
    assert re.search(r"panic: all \d+ KiB of RAM are bad memory, as badram= has it", ended.log), ended.log
    assert re.search(r"^cairn-exit 1 ", ended.log, re.MULTILINE)


def test_too_little_good_memory_is_a_halt_that_says_why():
    """All but a frame in each 16 MiB."""
    pairs = ",".join(f"{1 << bit:#x},{1 << bit:#x}" for bit in range(12, 24))
    ended = run_cairn("--memory", "64M", "--append", f"badram={pairs}", "--exec", "mem", "--timeout", "30")
    assert ended.status == 1
    words = r"panic: no frame for the first tables: .* are in use, or said to be, or bad"
    assert re.search(words, ended.log), ended.log


def test_a_malformed_value_is_named_and_ignored_and_the_sound_ones_count():
    malformed = ["", "0x1000", "0x1000,", "12,zz", "0x1000,0x1000,0x2000", "64M,0x1000", "1,0x1ffffffffffffffff"]
    words = " ".join(f"badram={value}" for value in malformed) + " badram=0x2000000,0xfffff000"
    ended = run_cairn("--memory", "64M", "--append", words, "--exec", "mem -j; who 0x2000000; check").need_success()
    for value in malformed:
        assert f'option badram: malformed value "{value}", ignored' in ended.log
    assert FRAMES_SAID.search(ended.log).groups() == ("1", "1", "0")
    assert ended.json_after("mem -j")["bad"] == PAGE_BYTES and state_of(ended, 0x2000000).startswith("bad")


def test_a_pattern_outside_memory_changes_nothing():
    ended = run_badram("0x4000000000,0xfffffffffffff000")
    assert FRAMES_SAID.search(ended.log).groups() == ("0", "0", "0") and ended.json_after("mem -j")["bad"] == 0


@pytest.mark.cairn(labels="qemu;uefi", seconds=180)
def test_bad_memory_under_uefi():
    """There the loader uses high memory, and ACPI tables lie in memory that is given back."""
    ended = run_badram("0,0x7000", "--firmware", "uefi", "--timeout", "160", memory="128M")
    check_sums(ended.json_after("mem -j"), ended.json_after("mmap -j"))

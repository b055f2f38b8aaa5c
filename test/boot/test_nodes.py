"""NUMA nodes from ACPI: the boot report and the PMM agree with how QEMU was started, and tables that lie cost the nodes
only."""
import os
import re
import shutil
import struct
import subprocess

import pytest
from conftest import RUN, Ended, run_cairn

MIB, GIB = 1 << 20, 1 << 30
NODE = re.compile(r"memory: node (\d+) of (\d+): (\d+) KiB, ACPI domain (\d+)(?:, distances ([\d ]+))?$", re.MULTILINE)
ENABLED = 1


def nodes_of(ended):
    """KiB, domain and distances of each node, as the boot report has them."""
    found = [match.groups() for match in NODE.finditer(ended.log)]
    assert [(int(node), int(count)) for node, count, *_ in found] == [(i, len(found)) for i in range(len(found))]
    return [
        (int(kib), int(domain), [int(word) for word in distances.split()] if distances else None)
        for _, _, kib, domain, distances in found
    ]


def node_of_address(ended, address):
    """What `who` says of it."""
    lines = ended.log.splitlines()
    end = lines.index(f"result who {address:#x}: ok")
    line = next(line for line in reversed(lines[:end]) if line.startswith("  region "))
    return int(line.rsplit(" ", 1)[1])


def place(machine, memory, offset):
    """The address of a byte of QEMU's RAM: what does not fit below the hole under 4 GiB is above it."""
    low, most = (2 * GIB, 2816 * MIB) if machine == "q35" else (3 * GIB, 3584 * MIB)
    return offset if memory < most or offset < low else offset - low + 4 * GIB


@pytest.mark.cairn(labels="qemu;uefi", seconds=150)
@pytest.mark.parametrize(
    ("firmware", "machine", "mib", "count"),
    [
        ("bios", "pc", 512, 2),
        ("bios", "q35", 8192, 4),
        ("bios", "pc", 8192, 8),
        ("bios", "q35", 600 << 10, 3),  # from 1 TiB on QEMU has a second hole
        ("uefi", "q35", 1024, 2),
        ("uefi", "pc", 6144, 4),
    ],
)
def test_each_node_has_its_memory(firmware, machine, mib, count):
    memory, share = mib * MIB, mib * MIB // count
    middles = [place(machine, memory, node * share + share // 2) for node in range(count)]
    asked = "; ".join(f"who {address:#x}" for address in middles)
    options = ["--firmware", firmware, "--machine", machine, "--memory", f"{mib}M", "--cpus", count, "--nodes", count]
    ended = run_cairn(*options, "--timeout", "140", "--exec", f"exercise 1; check; mem -j; {asked}", timeout=150)
    ended.need_success()
    nodes, mem = nodes_of(ended), ended.json_after("mem -j")
    assert [domain for _, domain, _ in nodes] == list(range(count))
    assert sum(kib for kib, *_ in nodes) << 10 == mem["ram"]
    most = 16 * MIB if firmware == "uefi" else MIB  # that the firmware and the PC's hole take of one
    assert all(0 <= share - (kib << 10) <= most for kib, *_ in nodes)
    assert [node_of_address(ended, address) for address in middles] == list(range(count))
    assert "no distances of nodes from ACPI" in ended.log and "firmware: ACPI" not in ended.log


@pytest.mark.cairn(labels="qemu", seconds=60)
def test_without_nodes_nothing_is_said_of_them():
    ended = run_cairn("--memory", "64M", "--cpus", "2", "--exec", "mem -j").need_success()
    assert nodes_of(ended) == [] and "ACPI:" not in ended.log
    assert all(region["node"] == 0 for region in ended.json_after("mem -j")["regions"])


@pytest.mark.cairn(labels="qemu", seconds=60)
def test_memory_that_is_left_out_is_missing_in_its_node():
    words = ["--memory", "512M", "--cpus", "2", "--nodes", "2", "--append", "mem=384M", "--exec", "check"]
    (_, first, _), (kib, second, _) = nodes_of(run_cairn(*words).need_success())
    assert (first, second, kib << 10) == (0, 1, 128 * MIB)


@pytest.mark.cairn(labels="qemu", seconds=60)
def test_more_nodes_than_the_pmm_has_are_counted_to_node_0():
    ended = run_cairn("--memory", "5G", "--cpus", "10", "--nodes", "10", "--exec", "check; mem -j").need_success()
    assert "firmware: ACPI: SRAT: domain 8 is one more than ACPI_NODES_MAX = 8" in ended.log
    nodes = nodes_of(ended)
    assert [domain for _, domain, _ in nodes] == list(range(8))
    assert sum(kib for kib, *_ in nodes) << 10 == ended.json_after("mem -j")["ram"]
    shares = [3 * 512 * MIB] + 7 * [512 * MIB]
    assert all(0 <= share - (kib << 10) <= MIB for share, (kib, *_) in zip(shares, nodes, strict=True))


# ---- QEMU with more words on its command line than scripts/run gives it ----


@pytest.fixture
def qemu_with(environment, tmp_path):
    def run(more, *arguments):
        real = shutil.which("qemu-system-x86_64")
        wrapper = tmp_path / "bin" / "qemu-system-x86_64"
        wrapper.parent.mkdir()
        words = " ".join(f"'{word}'" for word in more)
        # Only where a machine is started: the runner also asks what QEMU can do.
        wrapper.write_text(f'#!/bin/sh\n[ "$1" = -accel ] || exec {real} "$@"\nexec {real} "$@" {words}\n')
        wrapper.chmod(0o755)
        done = subprocess.run(
            [RUN, *map(str, arguments)],
            env=environment | {"PATH": f"{wrapper.parent}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr, " ".join(map(str, arguments)))

    return run


@pytest.mark.cairn(labels="qemu;uefi", seconds=90)
@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_distances_are_those_of_the_machine(qemu_with, firmware):
    far = {(0, 1): 21, (0, 2): 31, (1, 0): 12, (1, 2): 22, (2, 0): 13, (2, 1): 255}
    more = [word for (a, b), value in far.items() for word in ("-numa", f"dist,src={a},dst={b},val={value}")]
    options = ["--firmware", firmware, "--memory", "192M", "--cpus", "3", "--nodes", "3", "--timeout", "80"]
    ended = qemu_with(more, *options, "--exec", "check").need_success()
    assert [distances for *_, distances in nodes_of(ended)] == [[10, 21, 31], [12, 10, 22], [13, 255, 10]]
    assert "no distances" not in ended.log


def cpu(domain, apic_id=0):
    return struct.pack("<BBBBIB3xI", 0, 16, domain, apic_id, ENABLED, 0, 0)


def memory_of(domain, base, size, flags=ENABLED, length=40):
    return struct.pack("<BBIHQQII8x", 1, length, domain, 0, base, size, 0, flags)


@pytest.fixture
def with_srat(qemu_with, tmp_path):
    """A machine of 128 MiB with these entries in its SRAT."""

    def run(entries, commands):
        (tmp_path / "srat").write_bytes(struct.pack("<IQ", 1, 0) + entries)
        words = ["-acpitable", f"sig=SRAT,rev=3,data={tmp_path / 'srat'}"]
        return qemu_with(words, "--memory", "128M", "--timeout", "50", "--exec", commands)

    return run


LIES = {
    "an entry of no bytes": (memory_of(1, 0, GIB) + bytes([1, 0]), r"entry of type 1 at 88 has 0 bytes"),
    "an entry longer than the table": (memory_of(1, 0, GIB, length=41), r"entry of type 1 at 48 has 41 bytes"),
    "a frame in two domains": (
        memory_of(1, 0, 65 * MIB) + memory_of(2, 64 * MIB, 64 * MIB),
        r"frames 0x4000-0x8000 of domain 2, and 0-0x4100 of domain 1: one node",
    ),
    "a range that wraps": (memory_of(1, MIB, (1 << 64) - MIB), r"are more than there can be: one node"),
    "a CPU in two domains": (cpu(1) + cpu(2) + memory_of(1, 0, GIB), r"APIC id 0 is in domain 1 and in 2: one node"),
}


@pytest.mark.cairn(labels="qemu", seconds=60)
@pytest.mark.parametrize("lie", LIES)
def test_a_srat_that_lies_is_told_and_all_is_one_node(with_srat, lie):
    entries, words = LIES[lie]
    ended = with_srat(entries, "exercise 1; check; mem -j").need_success()
    assert re.search(rf"firmware: ACPI: SRAT: .*{words}", ended.log), ended.log
    assert nodes_of(ended) == []
    assert all(region["node"] == 0 for region in ended.json_after("mem -j")["regions"])


@pytest.mark.cairn(labels="qemu", seconds=60)
def test_the_boot_cpus_domain_is_node_0_and_its_number_does_not_matter(with_srat):
    entries = memory_of(40, 0, 32 * MIB) + memory_of(30, 32 * MIB, 32 * MIB) + cpu(7) + memory_of(7, 64 * MIB, 8 * GIB)
    places = [16 * MIB, 48 * MIB, 96 * MIB]
    ended = with_srat(entries, "check; " + "; ".join(f"who {address:#x}" for address in places)).need_success()
    nodes = nodes_of(ended)
    assert [domain for _, domain, _ in nodes] == [7, 40, 30] and nodes[2][0] << 10 == 32 * MIB
    assert [node_of_address(ended, address) for address in places] == [1, 2, 0]

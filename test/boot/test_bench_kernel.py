"""What calls cost inside the kernel, in instructions: the monitor's `bench` under the instruction clock."""
import json

import pytest
from conftest import run_cairn

PAIR_MAX = 80
BATCH_MAX = 3000  # refill or flush of 64; claim, mark bad within a block
RUN_MAX = 6000  # no worse than it was: found among eight blocks, and freed
LONGEST_MAX = 600  # of one call that does neither
INIT_DIFFERS_MAX = 0.02
ARENA_PAIR_MAX = 120  # addresses handed out and taken back
ARENA_CUT_MAX = 700  # the same without the cache
ARENA_FIND_MAX = 200
ARENA_LEVELS, ARENA_LEVEL_MAX = 2, 8  # levels that the index may have more of, instructions of each


def lines_of(ended):
    found = [json.loads(line) for line in ended.log.splitlines() if line.startswith('{"name":')]
    return {line["name"]: line for line in found}


def cost(line):
    assert line["ops"] > 0 and line["instructions"] > 0, "a benchmark that measured nothing is no result"
    return line["instructions"] / line["ops"]


@pytest.mark.cairn(labels="qemu", seconds=240)
@pytest.mark.parametrize("memory", ["256M", "8G"])
def test_calls_of_the_pmm_cost_what_they_may_and_bring_up_the_same_at_any_size(memory):
    commands = "mem -j; bench pmm -j; check; mem -j"
    ended = run_cairn("--icount", "--memory", memory, "--timeout", "100", "--exec", commands).need_success()
    before, after = ended.json_all("mem -j")
    assert before["free"] == after["free"] and before["used"] == after["used"], "bench leaves all as it was"
    pmm = {name: cost(line) for name, line in lines_of(ended).items()}
    print(memory, pmm)
    assert pmm["pmm_pair"] <= PAIR_MAX and pmm["pmm_pair_user"] <= PAIR_MAX
    for name in ("pmm_refill", "pmm_flush", "pmm_claim", "pmm_mark_bad"):
        assert pmm[name] <= BATCH_MAX, name
    assert pmm["pmm_run_64"] <= RUN_MAX, "found within a block, and freed"
    for name in ("pmm_alloc_free_blocks", "pmm_retain_release", "pmm_pair_2m"):
        assert pmm[name] <= 2 * LONGEST_MAX, name
    assert pmm["pmm_refill"] > pmm["pmm_pair"], "the refill was really there"
    small, large = pmm["pmm_init_64m"], pmm["pmm_init_16t"]
    assert abs(large - small) <= INIT_DIFFERS_MAX * small


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_without_an_instruction_clock_it_says_ticks():
    ended = run_cairn("--exec", "bench pmm_pair; bench pmm_pair -j").need_success()
    assert "ticks of the TSC, not instructions" in ended.log
    line = lines_of(ended)["pmm_pair"]
    assert line["ticks"] > 0 and "instructions" not in line


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_an_unknown_name_is_said_and_the_known_ones_listed():
    ended = run_cairn("--exec", "bench nonsense")
    assert ended.status == 1
    assert "no benchmark is named 'nonsense'" in ended.log and "pmm_pair_2m" in ended.log


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_addresses_cost_the_same_among_ten_ranges_and_among_a_hundred_thousand():
    ended = run_cairn("--icount", "--timeout", "90", "--exec", "mem -j; bench arena -j; check; mem -j").need_success()
    before, after = ended.json_all("mem -j")
    assert before["free"] == after["free"] and before["used"] == after["used"], "bench leaves all as it was"
    arena = {name: cost(line) for name, line in lines_of(ended).items()}
    print(arena)
    for few, many in (("arena_pair_10", "arena_pair_100k"), ("arena_mix_10", "arena_mix_100k"),
                      ("arena_find_10", "arena_find_100k")):
        assert abs(arena[many] - arena[few]) <= ARENA_LEVELS * ARENA_LEVEL_MAX, f"{many}: levels of the index, no more"
    assert arena["arena_pair_10"] <= ARENA_PAIR_MAX and arena["arena_pair_100k"] <= ARENA_PAIR_MAX
    assert arena["arena_pair_1m_100k"] <= ARENA_PAIR_MAX and arena["arena_pair_2m_100k"] <= ARENA_PAIR_MAX
    assert arena["arena_pair_2g_100k"] <= ARENA_CUT_MAX and arena["arena_find_100k"] <= ARENA_FIND_MAX
    assert arena["arena_pair_2g_100k"] > 2 * arena["arena_pair_100k"], "the largest ranges were really cut and merged"


# What the VMM's calls may cost, in instructions: a call for one page, and a page of a batch of 512.
VMM_MAX = {
    "vmm_map_1": 250,
    "vmm_map_1_foreign": 400,
    "vmm_map_1_open": 400,
    "vmm_unmap_1": 400,
    "vmm_protect_1": 450,
    "vmm_unmap_1_foreign": 450,
    "vmm_protect_1_foreign": 500,
    "vmm_map_2m": 300,
    "vmm_map_2m_foreign": 400,
    "vmm_unmap_2m": 1500,
    "vmm_demote_2m": 8000,
    "vmm_map_512": 12,
    "vmm_map_512_table": 12,
    "vmm_map_512_foreign": 12,
    "vmm_map_512_partly": 16,
    "vmm_unmap_512": 12,
    "vmm_unmap_512_table": 12,
    "vmm_unmap_512_foreign": 12,
    "vmm_unmap_512_partly": 20,
    "vmm_protect_512": 20,
    "vmm_protect_512_partly": 32,  # of which a test for leaves of copies is one
    "vmm_page_map": 320,  # what page faults ask for
    "vmm_page_map_foreign": 420,
    "vmm_page_unmap": 720,
    "vmm_page_leaf": 80,
    "vmm_page_leaf_foreign": 140,
    "vmm_page_zero": 520,
    "vmm_page_own": 850,
}


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_calls_of_the_vmm_cost_what_they_may():
    ended = run_cairn("--icount", "--timeout", "100", "--exec", "mem -j; bench vmm -j; check; mem -j").need_success()
    before, after = ended.json_all("mem -j")
    assert before["free"] == after["free"] and before["used"] == after["used"], "bench leaves all as it was"
    costs = {name: cost(line) for name, line in lines_of(ended).items()}
    print(costs)
    assert [name for name, most in VMM_MAX.items() if costs[name] > most] == []
    assert costs["vmm_map_1_foreign"] > costs["vmm_map_1_open"], "the slot was really switched"
    assert costs["vmm_map_512_table"] > costs["vmm_map_512"], "a table was really made"
    assert costs["vmm_map_512_fresh"] > 512, "a page takes 512 words to zero"


HEAP_PAIR_MAX, HEAP_LONGEST_MAX = 90, 900


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_the_heap_costs_what_it_may():
    ended = run_cairn("--icount", "--exec", "heap -j; bench heap -j; check; heap -j").need_success()
    before, after = ended.json_all("heap -j")
    assert before["used"] == after["used"] and before["blocks"] == after["blocks"]
    lines = lines_of(ended)
    costs = {name: cost(line) for name, line in lines.items()}
    print(costs, lines["heap_longest"])
    assert costs["heap_pair"] <= HEAP_PAIR_MAX
    assert lines["heap_longest"]["most"] <= HEAP_LONGEST_MAX and lines["heap_longest"]["ops"] > 1000
    # Of these a page is a good deal more than nothing: that it was measured shows.
    assert HEAP_PAIR_MAX < costs["heap_pair_mixed"] <= 320 and HEAP_PAIR_MAX < costs["heap_pair_page"] <= 320


# Of tasks, user mode's own instructions between the calls included.
TASKS_MAX = {"tasks_call": 150, "tasks_words": 1200, "tasks_page": 3000, "tasks_start": 60000, "tasks_exit": 30000}


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_tasks_pay_for_calls_messages_and_lives_what_they_may():
    ended = run_cairn("--icount", "--exec", "bench tasks -j; mem -j; bench tasks -j; check; mem -j").need_success()
    before, after = ended.json_all("mem -j")
    assert before["free"] == after["free"] and before["used"] == after["used"], "bench leaves all as it was"
    costs = {name: cost(line) for name, line in lines_of(ended).items()}
    print(costs)
    assert [name for name, most in TASKS_MAX.items() if costs[name] > most] == []
    assert 2 * costs["tasks_call"] < costs["tasks_words"] < costs["tasks_page"], "messages were really passed"
    assert costs["tasks_exit"] > 1000 and costs["tasks_start"] > 1000

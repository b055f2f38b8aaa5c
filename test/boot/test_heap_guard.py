"""The heap in guard mode (debug=heap): the kernel does all its work in it, and each misuse is named with its sites."""
import re

import pytest
from conftest import run_cairn

pytestmark = pytest.mark.cairn(labels="qemu", seconds=90)

SITE = r"[a-z_]+\+0x[0-9a-f]+"
WAYS = {
    "heap": "heap: guard mode$",
    "heap:edge": "heap: guard mode, each block at a page's edge$",
    "heap:sample=50": "heap: guard mode for one block of 50$",
}


@pytest.mark.parametrize("way", WAYS)
def test_the_exercise_runs_and_leaves_no_block_behind(way):
    ended = run_cairn("--append", f"debug={way}", "--exec", "heap -j; exercise 1; check; heap -j; heap leaks")
    ended.need_success()
    assert re.search(WAYS[way], ended.log, re.MULTILINE), ended.log
    before, after = ended.json_all("heap -j")
    assert after["allocs"] > before["allocs"] + 1000, "it went through the heap"
    assert after["blocks"] == before["blocks"] and after["used"] == before["used"] and after["misuses"] == 0


@pytest.mark.parametrize("way", ["heap", "heap:edge"])
def test_a_double_free_names_both_sites(way):
    ended = run_cairn("--append", f"debug={way}", "--exec", "provoke heap-double-free; check")
    assert ended.status == 1
    report = (
        r"misuse: heap_free: block 0x[0-9a-f]+ of 100 bytes \((class \d+|large)\): not allocated \(double free\); "
        rf"allocated at provoke_heap_double_free\+0x[0-9a-f]+, freed at provoke_heap_double_free\+0x[0-9a-f]+, "
        rf"now at {SITE}$"
    )
    assert re.search(report, ended.log, re.MULTILINE), ended.log
    assert "provoke: nothing changed; the validators find nothing" in ended.log
    assert "check: ok" in ended.log.splitlines()


@pytest.mark.parametrize("options", [[], ["--append", "debug=heap"], ["--append", "debug=heap:edge"]])
def test_addresses_of_everybody_else_are_foreign(options, tmp_path):
    module = tmp_path / "module"
    module.write_bytes(b"not of the heap")
    ended = run_cairn(*options, "--module", f"{module}:m", "--exec", "provoke heap-foreign; check")
    assert ended.status == 1
    for what in ("a variable", "a user page", "a frame of the PMM", "a table in its window", "a module"):
        told = rf"provoke: {what}:\n.*misuse: heap_free: 0x[0-9a-f]+ is not this heap's.*\n"
        answered = told + "provoke: heap_free answered: misuse$"
        assert re.search(answered, ended.log, re.MULTILINE), f"{what} in\n{ended.log}"
    assert "provoke: nothing changed; the validators find nothing" in ended.log
    assert "check: ok" in ended.log.splitlines()


@pytest.mark.parametrize("way", ["heap", "heap:edge"])
def test_an_overrun_of_a_large_block_faults_and_the_block_is_named(way):
    ended = run_cairn("--append", f"debug={way}", "--exec", "provoke heap-overflow")
    assert ended.status == 1 and "panic: page fault" in ended.log
    for words in (
        r"place: guard page above heap .*: an overrun",
        r"place: live guarded block of 12288 bytes at 0x[0-9a-f]+, 0 bytes behind its end",
        r"place: allocated at provoke_heap_overflow\+0x",
    ):
        assert re.search(words, ended.log), f"{words} in\n{ended.log}"


def test_a_write_after_free_is_seen_by_the_validator_and_reported_once():
    ended = run_cairn("--append", "debug=heap", "--exec", "provoke heap-write-after-free; check")
    assert ended.status == 1
    site = r"provoke_heap_write_after_free\+0x[0-9a-f]+"
    sites = rf"allocated at {site}, freed at {site}"
    assert re.search(rf"^GUARD-I3: write after free: byte 42 has become 0x7 .*{sites}\)$", ended.log, re.MULTILINE)
    assert "provoke: heap_check answered: corrupt" in ended.log.splitlines()
    report = rf"misuse: .* of 100 bytes .*: write after free: byte 42 of it has become 0x7; {sites}"
    reports = re.findall(report, ended.log)
    assert len(reports) == 1, ended.log
    assert "check: ok" in ended.log.splitlines(), "the block is out of the way, and the heap sound"


def test_a_write_after_free_at_a_pages_edge_faults():
    ended = run_cairn("--append", "debug=heap:edge", "--exec", "provoke heap-write-after-free")
    assert ended.status == 1 and "panic: page fault" in ended.log
    for words in (
        r"place: freed guarded block of 100 bytes at 0x[0-9a-f]+, byte 42 of it",
        r"place: allocated at provoke_heap_write_after_free\+0x",
        r"place: freed at provoke_heap_write_after_free\+0x",
    ):
        assert re.search(words, ended.log), f"{words} in\n{ended.log}"


# ---- Object caches ----

# What of debug= guards the objects of the cache that is provoked, and whether they lie at a page's edge.
CACHE_WAYS = {
    "heap": False,
    "heap:edge": True,
    "heap:cache=provoked": False,
    "heap:cache=pro*:edge": True,
}
OBJECT = r"block 0x[0-9a-f]+ of 100 bytes \((class \d+|large), cache 'provoked'\)"


@pytest.mark.parametrize("way", [way for way, at_edge in CACHE_WAYS.items() if at_edge])
def test_an_overrun_of_a_cache_object_faults_at_the_pages_edge_and_block_and_cache_are_named(way):
    ended = run_cairn("--append", f"debug={way}", "--exec", "provoke heap-cache-overflow")
    assert ended.status == 1 and "panic: page fault" in ended.log
    place = r"live guarded block of 100 bytes at 0x[0-9a-f]+f9c, of the cache 'provoked', 0 bytes behind its end"
    for words in (
        r"cannot write 0x[0-9a-f]+000: nothing is mapped there",
        r"place: guard page above heap .*: an overrun",
        rf"place: {place}\nplace: allocated at {SITE}$",
    ):
        assert re.search(words, ended.log, re.MULTILINE), f"{words} in\n{ended.log}"


@pytest.mark.parametrize("way", [way for way, at_edge in CACHE_WAYS.items() if not at_edge])
def test_an_overrun_of_a_cache_object_between_zones_is_reported_at_the_free(way):
    ended = run_cairn("--append", f"debug={way}", "--exec", "provoke heap-cache-overflow; check")
    assert ended.status == 1
    told = rf"misuse: heap_cache_free: {OBJECT}: overflow: byte 0 behind its end has become 0; allocated at {SITE}"
    assert re.search(told, ended.log), ended.log
    assert "provoke: heap_cache_free answered: misuse" in ended.log.splitlines()
    assert "provoke: nothing changed; the validators find nothing" in ended.log
    assert "check: ok" in ended.log.splitlines()


@pytest.mark.parametrize("way", [way for way in CACHE_WAYS if "cache" in way])
def test_a_double_free_of_a_cache_object_names_the_cache_and_both_sites(way):
    ended = run_cairn("--append", f"debug={way}", "--exec", "provoke heap-cache-double-free; check")
    sites = rf"allocated at {SITE}, freed at {SITE}, now at {SITE}$"
    told = re.compile(rf"misuse: heap_cache_free: {OBJECT}: not allocated \(double free\); {sites}", re.MULTILINE)
    assert ended.status == 1 and told.search(ended.log), ended.log
    assert "check: ok" in ended.log.splitlines()


def test_guard_mode_for_one_cache_guards_its_objects_and_nothing_else():
    commands = "space new; space new tables; caches -j; heap leaks -j; heap -j; exercise 1; check; heap leaks -j"
    ended = run_cairn("--append", "debug=heap:cache=spaces", "--exec", commands).need_success()
    assert "heap: guard mode for objects of the caches 'spaces'" in ended.log
    (caches,) = ended.json_all("caches -j")
    guarded = {cache["name"]: cache["guarded"] for cache in caches["caches"]}
    assert guarded == {"spaces": 1, "tables": 0, "tasks": 0, "messages": 0}
    for leaks in ended.json_all("heap leaks -j"):
        assert [site["blocks"] for site in leaks["sites"]] == [1], "the space, and none of the blocks"
    (heap,) = ended.json_all("heap -j")
    assert heap["blocks"] > 2 and heap["misuses"] == 0


def test_a_cache_that_no_pattern_names_is_not_guarded():
    ended = run_cairn("--append", "debug=heap:cache=spaces", "--exec", "provoke heap-cache-overflow; check")
    assert ended.status == 1, "the provocation counts as a failure"
    assert "provoke: heap_cache_free answered: ok  (not guarded: nobody can know)" in ended.log.splitlines()
    assert "provoke: nothing changed; the validators find nothing" in ended.log


def test_without_guard_mode_a_write_after_free_is_survived():
    ended = run_cairn("--exec", "provoke heap-write-after-free; exercise 1; check")
    assert ended.status == 1, "the provocation counts as a failure"
    assert "provoke: heap_check answered: ok  (not guarded: nobody can know)" in ended.log.splitlines()
    assert "result exercise 1: ok" in ended.log.splitlines() and "check: ok" in ended.log.splitlines()


def test_blocks_in_use_are_listed_by_who_allocated_them():
    ended = run_cairn("--append", "debug=heap", "--exec", "heap leaks; heap leaks -j; heap -j").need_success()
    (leaks,) = ended.json_all("heap leaks -j")
    (heap,) = ended.json_all("heap -j")
    assert leaks["sample_every"] == 1
    assert sum(site["blocks"] for site in leaks["sites"]) == heap["blocks"]
    assert sum(site["bytes"] for site in leaks["sites"]) == heap["used"]
    names = {site["site"].split("+")[0] for site in leaks["sites"]}
    assert {"copy_text", "init_copy_info"} <= names, names
    for site in leaks["sites"]:
        row = rf"^ +{site['blocks']} +{site['bytes']}  {re.escape(site['site'])}$"
        assert re.search(row, ended.log, re.MULTILINE), f"{row} in\n{ended.log}"


def test_without_guard_mode_leaks_says_that_nobody_was_recorded():
    ended = run_cairn("--exec", "heap leaks")
    assert ended.status == 1 and "result heap leaks: failed" in ended.log.splitlines()
    assert "guard mode is off: callers are not recorded" in ended.log


@pytest.mark.parametrize(
    "value", ["heap:corner", "heap:sample=0", "heap:sample=", "heap:sample=5x", "heap:cache=", "heap:cache=a:sample=5"]
)
def test_a_malformed_way_is_named_and_ignored(value):
    ended = run_cairn("--append", f"debug={value}", "--exec", "help").need_success()
    assert f'option debug: malformed value "{value}", ignored' in ended.log
    assert "heap: guard mode" not in ended.log

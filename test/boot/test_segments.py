"""Segments: a program that shares one, what the monitor shows of it, and what calls about segments cost."""
import json
import re

import pytest
from conftest import ROOT, run_cairn
from test_tasks import RUNS, needs_nothing_more, thrice_and_again

PROGRAM, JOURNAL = (ROOT / "build" / "user" / name for name in ("segments", "journal"))
pytestmark = pytest.mark.cairn(labels="qemu", seconds=120)


def run(*commands, options=(), program=PROGRAM):
    return run_cairn("--module", program, *options, "--timeout", "90", "--exec", "; ".join(commands))


@pytest.mark.parametrize("options", [(), ("--firmware", "uefi", "--memory", "256M")])
def test_tasks_share_a_segment_and_leave_nothing_behind(options):
    ended = run(*thrice_and_again("segments"), "segments -j", options=options)
    needs_nothing_more(ended, "segments")
    assert ended.json_after("segments -j") == {"segments": []}
    assert len(re.findall(r"12 workers, 20 rounds in one segment at 0x[0-9a-f]+", ended.log)) == RUNS
    assert len(re.findall(r"narrowed, revoked, given up: nobody has it any more", ended.log)) == RUNS
    # The one worker that is to die does, of its write, and is named with the segment.
    assert len(re.findall(r"cannot write 0x[0-9a-f]+: the range is read-only", ended.log)) == RUNS
    assert "'task segment', 1024 pages at 0x" in ended.log


@pytest.mark.parametrize("options", [(), ("--firmware", "uefi", "--memory", "256M")])
def test_two_read_a_file_in_a_segment_while_a_third_writes_and_grows_it(options):
    ended = run(*thrice_and_again("journal"), "segments -j", options=options, program=JOURNAL)
    needs_nothing_more(ended, "journal")
    assert ended.json_after("segments -j") == {"segments": []}
    told = re.findall(r"journal: (\d+) bytes, then 400 records; grown (\d+) times, each word read by 2 tasks; sum "
                      r"(0x[0-9a-f]+)", ended.log)
    assert len(told) == RUNS and len(set(told)) == 1
    begins, grown, _ = told[0]
    pages = -(-JOURNAL.stat().st_size // 4096)
    assert int(begins) == 4096 * pages and int(grown) == -(-(8 + 400 * 1000) // 4096) - 1, "the head's page was there"
    # The one that reads behind the end dies of it, and is told where the end was.
    assert len(re.findall(r"cannot read 0x[0-9a-f]+: it is behind the end of the object", ended.log)) == RUNS
    assert f"place: 0 bytes behind the end of 'task file', {pages + 1 + int(grown)} pages at 0x" in ended.log
    assert "still alive" not in ended.log


def test_the_monitor_shows_owner_permissions_and_pages():
    ended = run("run segments stay", "wait", "segments", "segments -j", "spaces", "spaces -j", "space 1", "check",
                "kill 1", "segments -j", "check")
    assert ended.status == 1, "they wait for ever"
    assert ended.log.splitlines().count("check: ok") == 2
    before, after = ended.json_all("segments -j")
    assert after == {"segments": []}, "its owner's end is the segment's"
    (segment,) = before["segments"]
    assert segment["base"] % (1 << 30) == 0 and segment["pages"] == 1024 and segment["resident"] == 1
    assert segment["owner"] == 1 and segment["tag"] == "task segment"
    rights = {entry["space"]: entry["rights"] for entry in segment["permissions"]}
    assert len(rights) == 13 and list(rights.values()).count("r--u") == 1 and rights[1] == "rw-u"
    assert re.search(r"^  [0-9a-f]{16} +1024 +4 MiB +1  space 1, task 1 \(segments\): task segment: space \d+ rw-u,",
                     ended.log, re.MULTILINE)
    spaces = ended.json_after("spaces -j")["spaces"]
    assert [space.get("segments") for space in spaces].count(1) == 13
    assert "the tables of all segments" in ended.log


# Instructions: what a fault asks, whatever the number of those who may; sharing, whatever is in it.
CHECK_MAX = 60
SHARE_DIFFERS_MAX = 0.2


@pytest.mark.cairn(labels="qemu", seconds=240)
def test_a_gib_is_shared_as_a_page_is_and_a_check_costs_what_it_may():
    ended = run_cairn("--icount", "--memory", "2G", "--timeout", "200", "--exec",
                      "bench segments -j; mem -j; bench segments_check_many; mem -j; check").need_success()
    lines = [json.loads(line) for line in ended.log.splitlines() if line.startswith('{"name":"segments_')]
    costs = {line["name"]: line["instructions"] / line["ops"] for line in lines}
    print(costs)
    assert costs["segments_check"] <= CHECK_MAX and costs["segments_check_many"] <= CHECK_MAX
    page = costs["segments_grant_1"]
    for name in ("segments_grant_1g", "segments_grant_1g_read"):
        assert abs(costs[name] - page) <= SHARE_DIFFERS_MAX * page, name
    assert abs(costs["segments_revoke_1g"] - costs["segments_revoke_1"]) <= SHARE_DIFFERS_MAX * page
    before, after = ended.json_all("mem -j")
    assert before["used"] == after["used"], "what the first run has needed, the second needs, and no more"

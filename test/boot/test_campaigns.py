"""The long campaigns, played shortly: that their scripts still work, and find nothing."""
import re
import subprocess

import pytest
from conftest import ROOT


def campaign(name, *arguments):
    return subprocess.run(
        [ROOT / "scripts" / name, *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.cairn(labels="host", seconds=300)
def test_a_short_campaign_of_spaces_finds_nothing():
    done = campaign("spaces", "--operations", "10000", "--seeds", "1", "--seed", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"10000 operations of spaces: nothing found, \d+ s \(seed 2\)$", done.stdout + done.stderr, re.M)


@pytest.mark.cairn(labels="host", seconds=60)
def test_a_campaign_refuses_what_is_no_number():
    for name, number in (("spaces", "--operations"), ("storm", "--seconds")):
        for wrong in ([number, "many"], ["--seeds"], ["--seed", "-1"], ["more"]):
            done = campaign(name, *wrong)
            assert done.returncode == 2 and f"scripts/{name}" in done.stderr, (wrong, done.stdout, done.stderr)


@pytest.mark.cairn(labels="qemu", seconds=240)
def test_a_short_storm_of_calls_is_over_in_time_and_says_what_was_not_seen():
    done = campaign("storm", "--seconds", "0", "--seeds", "1", "--seed", "3")
    assert done.returncode == 1 and "storm: found (seed 3)" in done.stderr, "nothing was called, so nothing was seen"
    assert "never seen" in done.stdout and "result check: ok" in done.stdout

"""The long campaigns, played shortly: that their scripts still work, and find nothing."""
import re
import subprocess

import pytest
from conftest import ROOT


def spaces(*arguments):
    return subprocess.run(
        [ROOT / "scripts" / "spaces", *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.cairn(labels="host", seconds=300)
def test_a_short_campaign_of_spaces_finds_nothing():
    done = spaces("--operations", "10000", "--seeds", "1", "--seed", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"10000 operations of spaces: nothing found, \d+ s \(seed 2\)$", done.stdout + done.stderr, re.M)


@pytest.mark.cairn(labels="host", seconds=60)
def test_a_campaign_of_spaces_refuses_what_is_no_number():
    for wrong in (["--operations", "many"], ["--seeds"], ["--seed", "-1"], ["more"]):
        done = spaces(*wrong)
        assert done.returncode == 2 and "scripts/spaces" in done.stderr, (wrong, done.stdout, done.stderr)

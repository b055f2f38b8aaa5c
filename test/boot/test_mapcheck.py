"""scripts/mapcheck on every real machine's map, against the independent normaliser."""
import subprocess
import sys

import pytest
from conftest import ROOT

MAPS = sorted((ROOT / "test" / "data" / "memory-maps").glob("*.map"))


def lines_of(command):
    done = subprocess.run([*command, *MAPS], capture_output=True, text=True, check=False)
    words = [line.partition(":")[0] if line.startswith("unusable") else line for line in done.stdout.splitlines()]
    return done.returncode, words


@pytest.mark.cairn(labels="host", seconds=120)
def test_every_map_is_read_as_the_model_reads_it():
    model = lines_of([sys.executable, ROOT / "test" / "boot" / "memmap_model.py"])
    assert len(MAPS) >= 110 and sum(line.startswith("map ") for line in model[1]) > 100
    assert lines_of([ROOT / "scripts" / "mapcheck"]) == model


@pytest.mark.cairn(labels="host", seconds=60)
def test_what_is_no_map_is_unusable_and_no_file_is_wrong_use(tmp_path):
    odd = tmp_path / "odd.map"
    odd.write_text("0 1000 1\nzero length type\n")
    done = subprocess.run([ROOT / "scripts" / "mapcheck", odd], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout.startswith(f"unusable {odd}: ")
    assert subprocess.run([ROOT / "scripts" / "mapcheck"], capture_output=True, check=False).returncode == 2

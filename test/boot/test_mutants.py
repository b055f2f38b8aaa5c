"""Each rule of page tables has mutations of the VMM that the model, or a test, catches: scripts/mutants."""
import os
import re
import subprocess

import pytest
from conftest import ROOT

MUTATIONS = ROOT / "test" / "mutations" / "paging"
PAGE = ROOT / "docs" / "paging-mutations.md"
RULES = [f"R{n}" for n in (*range(1, 4), *range(5, 11), *range(13, 20), 23)]
SEVERAL = ["R7", "R8", "R13", "R14", "R15", "R16"]


def mutants(*arguments, folder=MUTATIONS):
    return subprocess.run(
        [ROOT / "scripts" / "mutants", *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "CAIRN_MUTATIONS": str(folder)},
    )


def rules_of_mutations():
    return [re.search(r"^Rule: (R\d+)$", path.read_text(), re.MULTILINE)[1] for path in MUTATIONS.glob("*.patch")]


# All of them take minutes: `scripts/mutants --check` plays them, and compares the page.
@pytest.mark.cairn(labels="host", seconds=900)
def test_each_fourth_mutation_is_caught():
    names = sorted(path.stem for path in MUTATIONS.glob("*.patch"))[::4]
    done = mutants(*names)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(f" {name}: caught: " in done.stdout for name in names) and len(names) > 40


@pytest.mark.cairn(labels="host", seconds=300)
def test_three_mutations_are_caught():
    done = mutants("r07-last-page", "r15-came-later", "r23-overflow")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": caught: ") == 3


def test_each_rule_has_a_mutation_and_some_have_several():
    rules = rules_of_mutations()
    assert [rule for rule in RULES if rule not in rules] == []
    assert [rule for rule in SEVERAL if rules.count(rule) < 3] == []


def test_the_page_has_each_mutation():
    rows = re.findall(r"^\| R\d+ \| `([\w-]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(path.stem for path in MUTATIONS.glob("*.patch"))


HARMLESS = """Rule: R8
What: nothing
Caught-by: stale access

--- a/src/vmm/window.c
+++ b/src/vmm/window.c
@@ -1 +1,2 @@
+/* Nothing is broken. */
 /*
"""


@pytest.mark.cairn(labels="host", seconds=300)
def test_what_survives_or_is_caught_by_something_else_is_a_failure(tmp_path):
    (tmp_path / "elsewhere.txt").write_text("")
    (tmp_path / "harmless.patch").write_text(HARMLESS)
    original = (MUTATIONS / "r07-last-page.patch").read_text()
    (tmp_path / "misnamed.patch").write_text(re.sub("Caught-by: .*", "Caught-by: no such violation", original))
    (tmp_path / "old.patch").write_text(original.replace("-    for (uint64_t i = 0;", "-    for (int gone = 0;"))
    done = mutants(folder=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "harmless: NOT CAUGHT by stale access: nothing" in done.stdout
    assert re.search("misnamed: NOT CAUGHT by no such violation: (page freed before|stale access)", done.stdout)
    assert "old: NOT CAUGHT by page freed before the flush: it does not apply or build" in done.stdout


def test_a_test_that_does_not_exist_is_a_failure(tmp_path):
    (tmp_path / "elsewhere.txt").write_text("R21: somehow\n  test_slots.py: test_nothing\n")
    done = mutants(folder=tmp_path)
    assert done.returncode == 1 and "elsewhere.txt names test_slots.py: test_nothing" in done.stderr


def test_wrong_use_is_status_2(tmp_path):
    assert mutants("--tabel").returncode == 2
    assert mutants("r99-no-such").returncode == 2
    assert mutants("r07-last-page", "--table").returncode == 2
    lines = "".join(f"+/* {n} */\n" for n in range(6))
    (tmp_path / "long.patch").write_text(HARMLESS.replace("+/* Nothing is broken. */\n", lines))
    done = mutants("--list", folder=tmp_path)
    assert done.returncode == 2 and "more than 5 lines" in done.stderr

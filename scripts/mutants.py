"""What scripts/mutants does: each mutation is built and played. It builds on build/host, which scripts/mutants made: of
the unit tests only what a mutation changes is compiled anew, and linked with the rest.
"""
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "host"
WORK = ROOT / "build" / "mutants" / str(os.getpid())  # several may run at once
MUTATIONS = Path(os.environ.get("CAIRN_MUTATIONS", ROOT / "test" / "mutations" / "paging"))  # others: for its own tests
TABLE = ROOT / "docs" / "paging-mutations.md"
LIBRARY = "cairn_vmm_judged"  # the VMM that the model overhears
LINES_MAX = 5
PLAYS = {
    "own": "model_play.random_operations_with_a_second_cpu_break_no_rule",
    "shared": "model_play.random_operations_with_a_second_cpu_and_shared_tables_break_no_rule",
}
HISTORIES = [f"{kind} {seed}" for seed in (1, 2, 3) for kind in PLAYS]  # a mutation names another than the first
EFFORT = 4
SECONDS = 120  # a mutant that hangs
WORKERS = 2
SHRUNK = re.compile(r"^# operation \d+: (.*?)\s*# static const [^\n]*\n((?:#     \{[^\n]*\n)*)", re.M | re.S)


@dataclass
class Mutation:
    name: str
    rule: str
    what: str
    caught_by: str  # a violation of the model, or what a wrong answer says
    test: str  # the unit test that sees it; empty: the random histories
    history: str  # of HISTORIES, the first that catches it
    patch: str


@dataclass
class Result:
    mutation: Mutation
    caught: bool
    found: str  # what was seen instead
    operations: int  # of the shrunk history; 0: a test's own
    history: str = ""  # which it was


def wrong_use(text):
    print(f"scripts/mutants: {text}", file=sys.stderr)
    sys.exit(2)


def read_mutation(path):
    text = path.read_text()
    head, _, patch = text.partition("\n\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    changed = [line for line in patch.splitlines() if not line.startswith(("+++", "---"))]
    for sign in "+-":
        if sum(line.startswith(sign) for line in changed) > LINES_MAX:
            wrong_use(f"{path.name}: more than {LINES_MAX} lines are changed")
    test, history = fields.get("In", ""), fields.get("History", HISTORIES[0])
    if history not in HISTORIES:
        wrong_use(f"{path.name}: no history is called {history}")
    return Mutation(path.stem, fields["Rule"], fields["What"], fields["Caught-by"], test, history, patch)


def rule_key(mutation):
    return int(mutation.rule[1:]), mutation.name


def read_all():
    return sorted((read_mutation(path) for path in MUTATIONS.glob("*.patch")), key=rule_key)


# ---- Building ----


class Toolchain:
    """How build/host compiles the judged VMM and links the unit tests."""

    def __init__(self):
        self.compile = {}
        for entry in json.loads((BUILD / "compile_commands.json").read_text()):
            command = shlex.split(entry["command"])
            output = command[command.index("-o") + 1]
            if f"{LIBRARY}.dir" in output:
                self.compile[Path(entry["file"]).name] = command
        listed = subprocess.run(
            ["ninja", "-C", BUILD, "-t", "commands", "unit_tests"], capture_output=True, text=True, check=True
        )
        words = shlex.split(listed.stdout.splitlines()[-1])
        words = words[words.index("&&") + 1 :]
        self.link = words[: words.index("&&")]

    def compile_one(self, tree, source, output):
        command = list(self.compile[source])
        at = command.index("-c")
        command[at + 1] = str(tree / "src" / "vmm" / source)
        command[command.index("-o") + 1] = str(output)
        command.append("-g0")
        for option in ("-MF", "-MT"):
            if option in command:
                command[command.index(option) + 1] = f"{output}.d"
        first = next(i for i, word in enumerate(command) if word.startswith("-I"))
        command[first:first] = [f"-I{tree / 'src'}"]
        subprocess.run(command, cwd=BUILD, check=True, capture_output=True, text=True)

    def link_all(self, objects, library, program):
        command = list(self.link)
        command[command.index("-o") + 1] = str(program)
        archive = next(i for i, word in enumerate(command) if f"lib{LIBRARY}.a" in word)
        shutil.copy(BUILD / command[archive], library)
        subprocess.run(["ar", "r", library, *objects], check=True, capture_output=True)
        command[archive] = str(library)
        command.append("-Wl,--strip-debug")
        subprocess.run(command, cwd=BUILD, check=True, capture_output=True, text=True)


def including(tree, changed):
    """Sources of the VMM that are one of the changed files, or include one, through others or not."""
    files = {path.name: path.read_text() for path in (tree / "src" / "vmm").iterdir()}
    affected = set(changed)
    while True:
        more = {
            name
            for name, text in files.items()
            if name not in affected and set(re.findall(r'#include "vmm/([\w.]+)"', text)) & affected
        }
        if not more:
            return sorted(name for name in affected if name.endswith(".c"))
        affected |= more


def build_mutant(tools, mutation):
    """The unit tests over the mutated VMM. => the program."""
    tree = WORK / mutation.name
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(ROOT / "src" / "vmm", tree / "src" / "vmm")
    # Not the repository around it: a patch is applied in this folder.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(WORK)}
    apply = ["git", "apply", "-C1", "--whitespace=nowarn", "-"]
    subprocess.run(
        apply, cwd=tree, input=mutation.patch, env=environment, check=True, capture_output=True, text=True
    )
    changed = [Path(name).name for name in re.findall(r"^\+\+\+ b/(\S+)", mutation.patch, re.MULTILINE)]
    objects = []
    for source in including(tree, changed):
        objects.append(tree / f"{source}.o")
        tools.compile_one(tree, source, objects[-1])
    tools.link_all(objects, tree / f"lib{LIBRARY}.a", tree / "unit_tests")
    return tree / "unit_tests"


# ---- Running ----


def run(program, *arguments):
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False, errors="replace"
        )
        return done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        return 124, f"no end after {SECONDS} s"


def play(program, mutation):
    """=> caught as it should be; what the shrunk history breaks, its length, and which it is."""
    found = "nothing"
    for history in sorted(HISTORIES, key=lambda history: history != mutation.history):
        kind, seed = history.split()
        status, output = run(program, "--seed", seed, "--effort", str(EFFORT), PLAYS[kind])
        shrunk = SHRUNK.search(output)
        if shrunk:
            found = shrunk[1]
            if found.startswith(mutation.caught_by):
                return True, found, shrunk[2].count("\n"), history
        elif status != 0:
            found = f"status {status}: {output.strip().splitlines()[-1] if output.strip() else 'silent'}"
    return False, found, 0, ""


def try_one(tools, mutation):
    try:
        program = build_mutant(tools, mutation)
    except subprocess.CalledProcessError as error:
        return Result(mutation, False, f"it does not apply or build: {error.stderr}", 0)
    if mutation.test:
        status, output = run(program, mutation.test)
        is_red = status == 1 and f"not ok 1 {mutation.test}" in output
        lines = [line for line in output.splitlines() if ": expected " in line]
        found = lines[0] if is_red and lines else f"status {status}"
        result = Result(mutation, is_red and mutation.caught_by in output, found, 0)
    else:
        result = Result(mutation, *play(program, mutation))
    shutil.rmtree(WORK / mutation.name)  # some MiB each
    return result


# ---- The table ----

HEAD = """# Mutations of the page-table rules, and what catches them

Each row is a change of at most five lines of `src/vmm/` ([test/mutations/paging](../test/mutations/paging)) that breaks
one rule, and what catches it: a violation that the adversarial MMU ([design/0011](design/0011-the-adversarial-mmu.md))
reports in seeded random histories of the VMM with two CPUs, or a wrong answer, with the number of operations that are
left when the history is shrunk (0: it fails before the first); or a unit test, and what it says. `scripts/mutants`
builds and runs all of them and demands just that; `scripts/mutants --table` writes this page, `--check`
compares it; a run of CI plays a fourth.

| rule | mutation | what is broken | caught by | operations |
|---|---|---|---|---|
"""


def read_elsewhere():
    """Rules that no mutation of the VMM can break: rule, how it is kept, the tests."""
    rows = []
    for line in (MUTATIONS / "elsewhere.txt").read_text().splitlines():
        if line.startswith("  "):
            rows[-1][2].append(line.strip())
        elif line and not line.startswith("#"):
            rows.append((*line.split(": ", 1), []))
    return rows


def missing_tests(rows):
    """Tests that elsewhere.txt names and that do not exist."""
    listed = subprocess.run([BUILD / "unit_tests", "--list"], capture_output=True, text=True, check=True)
    names = set(listed.stdout.split())
    for path in sorted((ROOT / "test" / "boot").glob("test_*.py")):
        names |= {f"{path.name}: {name}" for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)}
    return [test for _, _, tests in rows for test in tests if test not in names]


def table(results, elsewhere):
    text = HEAD
    for r in results:
        m = r.mutation
        by = f"{m.caught_by} (`{m.test}`)" if m.test else m.caught_by
        text += f"| {m.rule} | `{m.name}` | {m.what} | {by} | {'' if m.test else r.operations} |\n"
    text += "\nRules that are kept in another way:\n\n| rule | how | tests |\n|---|---|---|\n"
    for rule, how, tests in elsewhere:
        text += f"| {rule} | {how} | {', '.join(f'`{test}`' for test in tests)} |\n"
    return text


def line_of(result):
    m = result.mutation
    operations = f"{result.operations} operation{'' if result.operations == 1 else 's'}"
    place = m.test if m.test else f"{operations} of {result.history}"
    verdict = f"caught: {m.caught_by}; {place}" if result.caught else f"NOT CAUGHT by {m.caught_by}: {result.found}"
    return f"{m.rule:<4} {m.name}: {verdict}"


def selected(mutations, names):
    if not names:
        return mutations
    for name in names:
        if not any(m.name.startswith(name) for m in mutations):
            wrong_use(f"no mutation is called or begins {name}")
    return [m for m in mutations if any(m.name.startswith(name) for name in names)]


def main():
    options = {argument for argument in sys.argv[1:] if argument.startswith("-")}
    names = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if names and options & {"--table", "--check"}:
        wrong_use("the page has all mutations: no NAME with --table or --check")
    mutations = selected(read_all(), names)
    if "--list" in options:
        for m in mutations:
            print(f"{m.rule:<4} {m.name}: {m.what}")
        return 0
    WORK.mkdir(parents=True, exist_ok=True)
    tools = Toolchain()
    results = []
    try:
        with ThreadPoolExecutor(WORKERS) as pool:
            for result in pool.map(lambda m: try_one(tools, m), mutations):
                results.append(result)
                print(line_of(result), file=sys.stderr if "--table" in options else sys.stdout, flush=True)
    finally:
        shutil.rmtree(WORK)
    failed = [result.mutation.name for result in results if not result.caught]
    print(f"scripts/mutants: {len(results) - len(failed)} of {len(results)} caught", file=sys.stderr)
    elsewhere = read_elsewhere() if not names else []
    for test in missing_tests(elsewhere):
        failed.append(f"elsewhere.txt: no test {test}")
        print(f"scripts/mutants: elsewhere.txt names {test}, which does not exist", file=sys.stderr)
    if "--table" in options and not failed:
        print(table(results, elsewhere), end="")
    if "--check" in options and not failed and TABLE.read_text() != table(results, elsewhere):
        print(f"scripts/mutants: {TABLE.relative_to(ROOT)} is old: scripts/mutants --table writes it", file=sys.stderr)
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Set-up by itself: what is missing is named and installed with apt as root or through sudo; elsewhere it is only
named. The tools are hidden by a PATH of our own; apt-get and sudo are stand-ins that log how they were called."""
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT

BASICS = [
    "bash",
    "cat",
    "sed",
    "awk",
    "grep",
    "sort",
    "dirname",
    "realpath",
    "basename",
    "head",
    "cut",
    "find",
    "env",
    "mktemp",
    "rm",
    "mkdir",
    "uname",
    "id",
    "tr",
    "od",
    "true",
    "chmod",
    "ln",
    "pwd",
]
PROBE = 'source "$1/scripts/lib.sh"; shift; need "$@"; echo needed'


class Place:
    """A PATH with the basic tools, and whatever a test puts there."""

    def __init__(self, root):
        self.bin, self.log = root / "bin", root / "calls"
        self.bin.mkdir()
        for tool in BASICS:
            for folder in ("/bin", "/usr/bin"):
                if os.path.exists(f"{folder}/{tool}"):
                    (self.bin / tool).symlink_to(f"{folder}/{tool}")
                    break

    def tool(self, name, script="exit 0"):
        path = self.bin / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    def calls(self):
        return self.log.read_text().splitlines() if self.log.exists() else []

    def apt(self, brings=(), status=0):
        """apt-get that, when asked to install, brings these tools; `apt-get update` always works."""
        makes = "".join(
            f'printf "#!/bin/bash\\n" >"{self.bin}/{tool}"; chmod +x "{self.bin}/{tool}";' for tool in brings
        )
        self.tool(
            "apt-get", f'echo "apt-get $*" >>"{self.log}"\ncase " $* " in *" install "*) {makes} exit {status};; esac'
        )

    def need(self, *tools, user=None):
        command = ["bash", "-c", PROBE, "probe", str(ROOT), *tools]
        if user is not None:
            command = ["setpriv", f"--reuid={user}", "--clear-groups", *command]
        return subprocess.run(
            command,
            env={"PATH": str(self.bin), "LC_ALL": "C"},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            executable="/usr/bin/setpriv" if user is not None else "/bin/bash",
        )


@pytest.fixture
def place():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
        Path(folder).chmod(0o755)
        yield Place(Path(folder))


def test_nothing_missing_calls_nothing(place):
    place.apt()
    place.tool("cmake")
    done = place.need("cmake")
    assert done.returncode == 0 and done.stdout == "needed\n" and done.stderr == "" and place.calls() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="root installs without sudo")
def test_root_installs_with_apt(place):
    place.apt(brings=["nasm", "qemu-system-x86_64"])
    done = place.need("nasm", "qemu-system-x86_64")
    assert done.returncode == 0 and "missing: nasm qemu-system-x86_64" in done.stderr
    install = [call for call in place.calls() if " install " in call]
    assert len(install) == 1 and install[0].endswith(" nasm qemu-system-x86") and " -y " in install[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="root installs without sudo")
def test_a_failing_apt_is_a_failure_after_fresh_lists(place):
    place.apt(status=100)
    done = place.need("nasm")
    assert done.returncode == 1 and "could not install: nasm" in done.stderr and "needed" not in done.stdout
    assert [call.split()[-1] for call in place.calls()][-2:] == ["update", "nasm"]


@pytest.mark.skipif(os.geteuid() != 0, reason="root installs without sudo")
def test_an_install_that_brings_nothing_is_a_failure(place):
    place.apt()
    done = place.need("nasm")
    assert done.returncode == 1 and "nasm is still missing" in done.stderr and "needed" not in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="changes the user")
def test_another_user_goes_through_sudo(place):
    place.log.touch()
    place.log.chmod(0o666)
    place.bin.chmod(0o777)
    place.apt(brings=["nasm"])
    place.tool("sudo", f'echo "sudo $*" >>"{place.log}"; [[ $1 == -n ]] && shift; exec "$@"')
    done = place.need("nasm", user=65534)
    assert done.returncode == 0, done.stderr
    assert any(call.startswith("sudo -n env DEBIAN_FRONTEND=noninteractive apt-get ") for call in place.calls())


@pytest.mark.skipif(os.geteuid() != 0, reason="changes the user")
def test_a_sudo_that_wants_a_password_without_a_terminal_is_said(place):
    place.apt()
    place.tool("sudo", "exit 1")
    done = place.need("nasm", user=65534)
    assert done.returncode == 1 and "sudo apt-get install nasm" in done.stderr and place.calls() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="changes the user")
def test_without_sudo_the_command_is_said(place):
    place.apt()
    done = place.need("nasm", user=65534)
    assert done.returncode == 1 and "apt-get install nasm" in done.stderr and place.calls() == []


def test_elsewhere_nothing_is_attempted(place):
    place.tool("sudo", f'echo "sudo $*" >>"{place.log}"')
    done = place.need("nasm", "xorriso", "cmake")
    assert done.returncode == 1 and "needed" not in done.stdout
    assert "missing: nasm xorriso cmake" in done.stderr and "apt-get install cmake nasm xorriso" in done.stderr
    assert place.calls() == []


def test_a_run_with_a_missing_tool_fails(place):
    """A missing emulator never becomes a passing test."""
    done = subprocess.run(
        [ROOT / "scripts" / "run", "--headless"],
        env={"PATH": str(place.bin)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 1 and "qemu-system-x86_64" in done.stderr


TOOLS = (
    "cmake ninja gcc clang nasm ld objcopy nm grub-mkrescue grub-file xorriso mformat qemu-system-x86_64 bochs gdb"
    " python3 flock timeout git"
).split()
# What is found by a place: the name in CAIRN_HIDE, or another variable.
PLACES = {
    "grub-i386-pc": {"CAIRN_HIDE": "i386-pc"},
    "grub-x86_64-efi": {"CAIRN_HIDE": "x86_64-efi"},
    "bochs-bios": {"CAIRN_HIDE": "BIOS-bochs-latest"},
    "bochs-vgabios": {"CAIRN_HIDE": "VGABIOS-lgpl-latest"},
    "ovmf": {"CAIRN_OVMF": "/nonexistent"},
}


def doctor(place, **variables):
    """Its table as {tool: line}, what it printed, what it said at the end, its status."""
    done = subprocess.run(
        [ROOT / "scripts" / "doctor"],
        env={"PATH": str(place.bin), "CAIRN_PYTHON": "python3"} | variables,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return {line.split()[0]: line for line in done.stdout.splitlines()}, done.stdout, done.stderr, done.returncode


def fill(place, *hidden):
    for tool in TOOLS:
        if tool not in hidden:
            place.tool(tool, "echo version 1")


@pytest.mark.parametrize("hidden", [*TOOLS, *PLACES])
def test_doctor_names_the_package_of_each_hidden_tool(place, hidden):
    fill(place, hidden)
    lines, _, said, status = doctor(place, **PLACES.get(hidden, {}))
    assert status == 1
    assert lines[hidden].endswith("MISSING")
    assert lines[hidden].split()[1] in said.split("apt-get install")[1].split()
    assert all(not lines[tool].endswith("MISSING") for tool in [*TOOLS, *PLACES] if tool != hidden)


def test_doctor_finds_grub_by_its_other_name(place):
    fill(place, "grub-mkrescue", "grub-file")
    place.tool("grub2-mkrescue", "echo version 2")
    place.tool("grub2-file", "echo version 2")
    lines, *_ = doctor(place)
    assert lines["grub-mkrescue"].endswith("version 2, grub2-mkrescue") and not lines["grub-file"].endswith("MISSING")


def test_doctor_explains_what_half_a_grub_means(place):
    fill(place, "mformat")
    _, shown, _, _ = doctor(place, CAIRN_HIDE="i386-pc")
    assert "note: GRUB is here without its BIOS half" in shown and "mformat invocation failed" in shown
    _, shown, _, _ = doctor(place, CAIRN_HIDE="x86_64-efi")
    assert "note: GRUB is here without its UEFI half" in shown and "BIOS half" not in shown


def test_doctor_notes_a_missing_display_and_a_kvm_that_is_not_used(place):
    fill(place)
    kvm = place.bin / "kvm"
    _, shown, _, _ = doctor(place, CAIRN_KVM=str(kvm))
    assert "note: no display" in shown and "kvm" not in shown
    kvm.touch()
    _, shown, _, _ = doctor(place, CAIRN_KVM=str(kvm), DISPLAY=":0")
    assert "no display" not in shown and "/dev/kvm is there and is never used" in shown


@pytest.mark.parametrize(
    ("arguments", "hidden"),
    [
        (["--firmware", "uefi"], "ovmf"),
        (["--firmware", "uefi"], "grub-x86_64-efi"),
        (["--emulator", "bochs"], "bochs-bios"),
        (["--emulator", "bochs"], "bochs-vgabios"),
        ([], "grub-i386-pc"),
    ],
)
def test_a_run_without_what_its_machine_needs_fails_and_names_it(place, arguments, hidden):
    fill(place)
    done = subprocess.run(
        [ROOT / "scripts" / "run", "--headless", *arguments],
        env={"PATH": str(place.bin)} | PLACES[hidden],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 1 and f"missing: {hidden}" in done.stderr

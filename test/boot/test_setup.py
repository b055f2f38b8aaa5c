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


TOOLS = [
    "cmake",
    "ninja",
    "gcc",
    "clang",
    "nasm",
    "ld",
    "objcopy",
    "nm",
    "xorriso",
    "mformat",
    "qemu-system-x86_64",
    "gdb",
    "python3",
    "flock",
    "timeout",
]


@pytest.mark.cairn(labels="host", seconds=60)
@pytest.mark.parametrize("hidden", TOOLS)
def test_doctor_names_the_package_of_each_hidden_tool(place, hidden):
    for tool in TOOLS + ["grub-mkrescue", "grub-file", "git"]:
        if tool != hidden:
            place.tool(tool, "echo version 1")
    done = subprocess.run(
        [ROOT / "scripts" / "doctor"],
        env={"PATH": str(place.bin), "CAIRN_PYTHON": "python3"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert done.returncode == 1, "some tool is missing"
    assert lines[hidden].endswith("MISSING")
    package = lines[hidden].split()[1]
    assert package in done.stderr.split("apt-get install")[1].split()
    assert all(not lines[tool].endswith("MISSING") for tool in TOOLS if tool != hidden)

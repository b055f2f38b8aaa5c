"""What a person sees: screenshots under BIOS and UEFI, read back as text, must show what the serial line says."""
import re
import subprocess
import sys

import pytest
from conftest import ROOT, RUN
from test_exercise import ask_qemu, wait_for

COLUMNS, ROWS = 8, 16  # of a glyph, in pixels


def font(tmp_path):
    """Each glyph of the kernel's font as a tuple of rows, by its pixels."""
    table = tmp_path / "font.inc"
    lib = f'source "{ROOT}/scripts/lib.sh"; grub_font'
    source = subprocess.run(["bash", "-c", lib], capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run([sys.executable, ROOT / "cmake" / "font.py", source, table], check=True)
    rows = re.findall(r"^    \{(.*)\},$", table.read_text(), re.MULTILINE)
    return {tuple(int(word, 16) for word in row.split(", ")): chr(ord(" ") + i) for i, row in enumerate(rows)}


def read_ppm(path):
    kind, size, _, pixels = path.read_bytes().split(b"\n", 3)
    assert kind == b"P6"
    width, height = map(int, size.split())
    return width, height, pixels


def text_of(path, glyphs):
    """The screen's lines, an unknown cell as a bullet."""
    width, height, pixels = read_ppm(path)
    lit = bytes(1 if pixels[i] else 0 for i in range(0, len(pixels), 3))
    lines = []
    for top in range(0, height - ROWS + 1, ROWS):
        line = ""
        for left in range(0, width - COLUMNS + 1, COLUMNS):
            cell = []
            for y in range(top, top + ROWS):
                bits = lit[y * width + left : y * width + left + COLUMNS]
                cell.append(sum(bit << (COLUMNS - 1 - i) for i, bit in enumerate(bits)))
            line += glyphs.get(tuple(cell), "\N{BULLET}")
        lines.append(line.rstrip())
    return lines


def boot_to_prompt(tmp_path, *options):
    log, monitor = tmp_path / "serial.log", tmp_path / "monitor"
    runner = subprocess.Popen(
        [RUN, "--headless", "--timeout", "100", "--serial-log", log, "--qemu-monitor", monitor, *options]
        + ["--append", "exercise=pause", "--exec", "exercise"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        said = wait_for(log, "exercise: paused", runner, 90)
        shot = tmp_path / "shot.ppm"
        cells = ask_qemu(monitor, [f"screendump {shot}", "xp /4000bx 0xb8000"])[1]
    finally:
        runner.kill()
        runner.wait()
    return said, shot, cells


def kernel_lines(said):
    return [line.rstrip() for line in re.findall(r"^(?:\[ *\d+\] .*|exercise: .*|pattern .*)$", said, re.MULTILINE)]


@pytest.mark.cairn(labels="qemu;uefi", seconds=150)
def test_the_framebuffer_shows_what_the_serial_line_says(tmp_path):
    said, shot, _ = boot_to_prompt(tmp_path, "--firmware", "uefi", "--memory", "128M")
    shown = text_of(shot, font(tmp_path))
    expected = kernel_lines(said)
    assert len(expected) > 15 and any(line.startswith("[") and "cairn" in line for line in expected)
    for line in expected:
        assert line[:160] in shown, f"{line!r} is not on the screen:\n" + "\n".join(shown)
    assert "\N{BULLET}" not in "".join(shown), "a cell that is no glyph"


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_vga_text_shows_what_the_serial_line_says(tmp_path):
    said, shot, cells = boot_to_prompt(tmp_path, "--memory", "32M")
    cells = cells.partition("\n")[2]  # without the echo of the command
    characters = [int(byte, 16) for byte in re.findall(r"0x([0-9a-f]{2})\b", cells)][::2]
    assert len(characters) == 80 * 25
    text = "".join(map(chr, characters))
    shown = [text[i : i + 80].rstrip() for i in range(0, len(text), 80)]
    for line in kernel_lines(said)[-12:]:
        assert line[:80].rstrip() in shown, f"{line!r} is not on the screen:\n" + "\n".join(shown)
    width, height, pixels = read_ppm(shot)
    assert (width, height) == (720, 400) and len(set(pixels)) > 1, "text mode, and something is lit"

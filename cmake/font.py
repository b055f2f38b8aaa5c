#!/usr/bin/env python3
"""font.py FONT.pf2 OUT.inc: the printable ASCII glyphs of a GRUB font (PF2) as a C table of 8 x 16 pixels.

The format: sections of a four-letter name, a big-endian length and data; CHIX is an index of (code,
flags, offset), offsets are from the file's start; a glyph is width, height, x and y offset, device
width (16 bits each), then packed bits.
"""

import struct
import sys

FIRST, LAST = 0x20, 0x7E
COLUMNS, ROWS = 8, 16


def sections(data):
    at = 0
    while at + 8 <= len(data):
        name, length = data[at : at + 4], struct.unpack_from(">I", data, at + 4)[0]
        if name == b"DATA":
            return
        yield name, data[at + 8 : at + 8 + length]
        at += 8 + length


def glyph_rows(data, offset, ascent):
    width, height, x, y, _ = struct.unpack_from(">HHhhH", data, offset)
    bits = data[offset + 10 : offset + 10 + (width * height + 7) // 8]
    rows = [0] * ROWS
    for i in range(width * height):
        if bits[i // 8] >> (7 - i % 8) & 1:
            row, column = ascent - y - height + i // width, x + i % width
            if 0 <= row < ROWS and 0 <= column < COLUMNS:
                rows[row] |= 0x80 >> column
    return rows


def main(source, target):
    data = open(source, "rb").read()
    parts = dict(sections(data))
    if parts.get(b"FILE") != b"PFF2":
        sys.exit(f"{source}: not a PF2 font")
    ascent = struct.unpack(">H", parts[b"ASCE"])[0]
    index = dict(
        (code, offset)
        for code, _, offset in struct.iter_unpack(">IBI", parts[b"CHIX"])
        if FIRST <= code <= LAST
    )
    if len(index) != LAST - FIRST + 1:
        sys.exit(f"{source}: only {len(index)} of the printable ASCII characters")
    glyphs = [glyph_rows(data, index[code], ascent) for code in range(FIRST, LAST + 1)]
    inked = [row for row in range(ROWS) if any(glyph[row] for glyph in glyphs)]
    with open(target, "w") as out:
        out.write("/* Made by cmake/font.py. */\n")
        out.write(f"enum {{ FONT_TOP = {inked[0]}, FONT_END = {inked[-1] + 1} }};\n")
        out.write(f"static const unsigned char font[{LAST - FIRST + 1}][{ROWS}] = {{\n")
        for rows in glyphs:
            out.write("    {" + ", ".join(f"0x{row:02x}" for row in rows) + "},\n")
        out.write("};\n")


main(*sys.argv[1:])

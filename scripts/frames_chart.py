#!/usr/bin/env python3
"""scripts/frames_chart.py JSON SVG: speed against whole blocks against metadata, of all ways to keep account of frames.

JSON is what `scripts/bench frames --json` wrote; `scripts/bench frames --chart SVG` does both.

From left to right: cycles of a call, as a ratio to a stack without any check: the geometric mean of a pair, bulk
allocation, bulk free in random order, and a free and an alloc at half full. Upwards: whole blocks in percent of as many
as there could be, after processes came and went (W2-50). Areas: bytes of memory a frame.
"""
import json
import math
import sys
from collections import defaultdict
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 560, 70, 150, 50, 60
TIMES = ("pair", "bulk_alloc", "bulk_free", "churn")
WHOLE = "W2-50"
RATIO_MOST, STEP, LETTER = 32, 13, 7  # the right end of the axis; pixels from one label to the next, and of a letter
COLOURS = {"cairn": "#b03a2e", "cairn-no-owners": "#b03a2e"}
OTHERS = "#34699a"


def points(rows):
    """{subject: (ratio, percent, bytes a frame)}, of those that have all three"""
    figures = defaultdict(dict)
    for row in rows:
        figures[row["subject"]][row["workload"], row["unit"]] = row["value"]
    figures["cairn"]["metadata", "bytes/frame"] = figures["cairn"].get(("metadata_all_used", "bytes/frame"))
    # Owners or not, a call takes as long.
    for key, value in figures["cairn"].items():
        if key[1] in ("ratio", "bytes/frame"):
            figures["cairn-no-owners"][key] = value
    table = {}
    for subject, row in figures.items():
        ratios = [row.get((name, "ratio")) for name in TIMES]
        whole, memory = row.get((WHOLE, "%")), row.get(("metadata", "bytes/frame"))
        if None not in (*ratios, whole, memory):
            table[subject] = (math.prod(ratios) ** (1 / len(ratios)), whole, memory)
    return table


def x_of(ratio):
    return LEFT + (WIDTH - LEFT - RIGHT) * math.log(max(ratio, 1)) / math.log(RATIO_MOST)


def y_of(percent):
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * percent / 100


def radius(bytes_a_frame):
    return 3 + 4.5 * math.sqrt(bytes_a_frame)


def text(x, y, words, anchor="start", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def axes():
    yield f'<path d="M{LEFT},{TOP} V{HEIGHT - BOTTOM} H{WIDTH - RIGHT}" fill="none" stroke="#333"/>'
    for percent in range(0, 101, 20):
        yield f'<path d="M{LEFT},{y_of(percent):.1f} H{WIDTH - RIGHT}" stroke="#ddd"/>'
        yield text(LEFT - 8, y_of(percent) + 4, f"{percent}", "end")
    for ratio in (1, 2, 4, 8, 16, 32):
        yield f'<path d="M{x_of(ratio):.1f},{TOP} V{HEIGHT - BOTTOM}" stroke="#ddd"/>'
        yield text(x_of(ratio), HEIGHT - BOTTOM + 18, f"{ratio}", "middle")
    x, y = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    yield text(x, HEIGHT - 16, "cycles of a call, as a ratio to a stack without checks", "middle")
    yield text(20, y, f"whole blocks after {WHOLE}, %", "middle", f' transform="rotate(-90 20 {y:.1f})"')
    title = "Frames: speed, whole blocks after long use, and metadata (area: bytes a frame)"
    yield text(LEFT, 24, title, more=' font-size="15"')
    x = WIDTH - RIGHT + 40
    for i, size in enumerate((0.13, 2, 4, 9)):
        y = TOP + 30 + 34 * i
        yield f'<circle cx="{x}" cy="{y}" r="{radius(size):.1f}" fill="{OTHERS}" fill-opacity="0.35"/>'
        yield text(x + 24, y + 4, f"{size:g} bytes")


def labels(table):
    """Where the names go: to the right of their circles, above what is there already."""
    circles = ((x_of(ratio), y_of(whole), radius(memory)) for ratio, whole, memory in table.values())
    taken = [(x - r, x + r, y + 4, r + STEP / 3) for x, y, r in circles]
    for name, (ratio, whole, memory) in sorted(table.items(), key=lambda item: (item[1][1], -item[1][0])):
        x, y = x_of(ratio) + radius(memory) + 10, y_of(whole) + 4
        end = x + LETTER * len(name)
        while any(abs(y - at) < room and x < right and left < end for left, right, at, room in taken):
            y -= STEP
        taken.append((x, end, y, STEP))
        yield name, x, y


def chart(table):
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    yield from axes()
    for name, (ratio, whole, memory) in sorted(table.items(), key=lambda item: -item[1][2]):
        colour = COLOURS.get(name, OTHERS)
        yield (
            f'<circle cx="{x_of(ratio):.1f}" cy="{y_of(whole):.1f}" r="{radius(memory):.1f}" fill="{colour}" '
            f'fill-opacity="0.35" stroke="{colour}"><title>{escape(name)}: {ratio:.1f}, {whole:.0f} %, '
            f"{memory:.2f} bytes a frame</title></circle>"
        )
    for name, x, y in labels(table):
        ratio, whole, memory = table[name]
        colour = COLOURS.get(name, OTHERS)
        line = f"M{x_of(ratio):.1f},{y_of(whole):.1f} L{x - 2:.1f},{y - 4:.1f}"
        yield f'<path d="{line}" stroke="{colour}" stroke-width="0.5"/>'
        yield text(x, y, name, more=f' fill="{colour}"')
    yield "</svg>"


def main():
    if len(sys.argv) != 3:
        print(__doc__.split("\n", 1)[0], file=sys.stderr)
        return 2
    with open(sys.argv[1], encoding="utf-8") as file:
        table = points(json.load(file))
    if "cairn" not in table or len(table) < 3:
        print(f"frames_chart.py: {sys.argv[1]} has no figures of both pmm and fragmentation", file=sys.stderr)
        return 1
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write("\n".join(chart(table)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

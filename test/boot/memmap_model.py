#!/usr/bin/env python3
"""An independent reading of memory maps: what boot/memmap.c must find, found another way.

The kernel sorts edges and sweeps over them once. Here sets of byte intervals are subtracted: the union of the usable
entries, less each other entry in turn. What is left is cut to whole frames at the very end, with exact fractions of
a page. Nothing is shared with the kernel but the definition: a frame is RAM if all its bytes are usable and none
belongs to an entry of another type.

As a module (boot tests give it the entries of `mmap -j`):

    runs = ram_runs([{"base": 0, "length": 0x9FC00, "type": 1}, ...])    # or (base, length, type)
    total_bytes(runs)

As a program it prints what scripts/mapcheck prints, for each file in the format of test/data/memory-maps.
"""

import math
import sys
from fractions import Fraction

PAGE_BYTES = 4096
PAGES_PER_BLOCK = 512
ADDRESS_SPACE_BYTES = 1 << 64
PMM_REACH_BYTES = 1 << 50  # LAYOUT_PMM_REACH_BYTES
USABLE = 1


def as_triple(entry):
    """(base, length, type) of an entry given as such or as an object of `mmap -j`; hexadecimal text is understood."""
    values = [entry[key] for key in ("base", "length", "type")] if isinstance(entry, dict) else entry
    base, length, kind = (int(v, 0) if isinstance(v, str) else int(v) for v in values)
    return base, length, kind


def interval(base, length):
    """Bytes of an entry, [start, end); one that wraps is cut at 2^64."""
    return base, min(base + length, ADDRESS_SPACE_BYTES)


def union(intervals):
    """The same bytes as disjoint intervals that do not touch, ascending."""
    merged = []
    for start, end in sorted(i for i in intervals if i[0] < i[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def subtract(intervals, start, end):
    """What remains of `intervals` without the bytes of [start, end)."""
    rest = []
    for low, high in intervals:
        rest += [part for part in ((low, min(high, start)), (max(low, end), high)) if part[0] < part[1]]
    return rest


def ram_runs(entries, limit_bytes=PMM_REACH_BYTES):
    """Runs of RAM as a list of (first frame, frames), ascending. None reaches beyond `limit_bytes`."""
    triples = [as_triple(entry) for entry in entries]
    memory = union(interval(base, length) for base, length, kind in triples if kind == USABLE)
    for base, length, kind in triples:
        if kind != USABLE and length > 0:
            memory = subtract(memory, *interval(base, length))
    memory = subtract(memory, limit_bytes // PAGE_BYTES * PAGE_BYTES, ADDRESS_SPACE_BYTES)
    runs = []
    for start, end in memory:
        first, last = math.ceil(Fraction(start, PAGE_BYTES)), math.floor(Fraction(end, PAGE_BYTES))
        if first < last:
            runs.append((first, last - first))
    return runs


def total_frames(runs):
    return sum(frames for _, frames in runs)


def total_bytes(runs):
    return total_frames(runs) * PAGE_BYTES


def count_regions(runs):
    """Runs that touch the same block of 2 MiB belong to one region."""
    regions, last_block = 0, -1
    for first, frames in runs:
        regions += first // PAGES_PER_BLOCK > last_block
        last_block = (first + frames - 1) // PAGES_PER_BLOCK
    return regions


def read_map(path):
    """The entries of a map file; lines of memory affinity are none."""
    entries = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            fields = line.split("#")[0].split()
            if fields and fields[0] != "node":
                base, length, kind = fields
                entries.append((int(base, 16), int(length, 16), int(kind)))
    return entries


def main(paths):
    status = 0
    for path in paths:
        runs = ram_runs(read_map(path), ADDRESS_SPACE_BYTES)
        if not runs:
            print(f"unusable {path}: no RAM")
            status = 1
            continue
        print(f"map {path} runs {len(runs)} frames {total_frames(runs)} regions {count_regions(runs)}")
        for first, frames in runs:
            print(f"run {first * PAGE_BYTES:#x} {frames}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

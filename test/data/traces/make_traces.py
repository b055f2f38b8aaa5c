"""Allocation traces: make_traces.py DIR writes two families, always the same: eight kernel-like ones, k-*, on which a
heap may be tuned, and six h-* (held_out.py), on which it may not.

Each is a file of the malloc lab's form: four header lines (of which the second is the number of blocks and the third the
number of operations), then `a ID BYTES` allocate, `m ID ALIGN BYTES` allocate aligned, `r ID BYTES` reallocate, `f ID`
free. Every block is freed at the end.
"""
import sys
from pathlib import Path
from random import Random

import held_out

PAGE = 4096
# Sizes of a kernel's small objects, and how often each is asked for.
OBJECTS = {
    32: 8, 40: 4, 48: 6, 56: 3, 64: 10, 72: 4, 80: 2, 96: 8, 104: 3, 112: 2, 128: 8, 144: 2, 152: 2, 168: 3, 176: 2,
    192: 6, 208: 2, 232: 6, 256: 5, 320: 2, 392: 1, 512: 2, 600: 2, 704: 1, 1024: 1, 2048: 0.5,
}  # fmt: skip


class Trace:
    def __init__(self, seed):
        self.random = Random(seed)
        self.lines = []
        self.blocks = 0

    def alloc(self, size, align=0):
        block = self.blocks
        self.blocks += 1
        self.lines.append(f"m {block} {align} {size}" if align > 16 else f"a {block} {size}")
        return block

    def resize(self, block, size):
        self.lines.append(f"r {block} {size}")

    def free(self, block):
        self.lines.append(f"f {block}")

    def free_all(self, blocks):
        for block in blocks:
            self.free(block)

    def object(self):
        return self.alloc(self.random.choices(list(OBJECTS), list(OBJECTS.values()))[0])

    def text(self):
        return f"0\n{self.blocks}\n{len(self.lines)}\n1\n" + "\n".join(self.lines) + "\n"


def churn(t):
    """A boot up to 6000 objects, then some replaced at random, mostly young ones; few are large or aligned."""

    def one():
        kind = t.random.random()
        if kind < 0.93:
            return t.object()
        if kind < 0.96:
            return t.alloc(t.random.choice([64, 128, 192, 320, 576]), 64)
        if kind < 0.98:
            return t.alloc(t.random.choice([PAGE, 2 * PAGE, 4 * PAGE]), PAGE)
        return t.alloc(t.random.choice([PAGE, 5000, 2 * PAGE, 12000, 4 * PAGE, 8 * PAGE, 16 * PAGE]))

    live = [one() for _ in range(6000)]
    for _ in range(60000):
        if t.random.random() < 0.5:
            at = t.random.randrange(len(live))
        else:
            at = len(live) - 1 - int(t.random.expovariate(1 / 60)) % len(live)
        t.free(live[at])
        live[at] = one()
    t.random.shuffle(live)
    t.free_all(live)


def fork(t):
    """Processes come and go: for each a stack, structures, page tables, ranges."""

    def process():
        blocks = [t.alloc(1536, 64), t.alloc(904), t.alloc(4 * PAGE, PAGE), t.alloc(704), t.alloc(256), t.alloc(192)]
        blocks.append(t.alloc(128))
        for _ in range(t.random.randint(12, 40)):
            blocks += [t.alloc(168), t.alloc(64)]
        blocks += [t.alloc(232) for _ in range(t.random.randint(3, 20))]
        blocks += [t.alloc(PAGE, PAGE) for _ in range(t.random.randint(4, 16))]
        for _ in range(t.random.randint(1, 6)):
            blocks.append(t.alloc(t.random.randint(16, 300)))
        return blocks

    running = []
    for _ in range(700):
        if len(running) > 48 + t.random.randint(0, 60):
            gone = running.pop(t.random.randrange(len(running)))
            t.random.shuffle(gone)
            t.free_all(gone)
        running.append(process())
    for blocks in running:
        t.free_all(blocks)


def net(t):
    """Queues of packets, first in first out, in bursts: a header and its data."""
    queue, others = [], [t.object() for _ in range(1500)]
    for _ in range(1200):
        for _ in range(int(t.random.expovariate(1 / 40))):
            header = t.alloc(232)
            queue.append((header, t.alloc(t.random.choices([256, 512, 704, 1792, 2048, PAGE], [3, 1, 5, 4, 2, 1])[0])))
        done = min(len(queue), int(t.random.expovariate(1 / 40))) if len(queue) < 2500 else len(queue)
        for header, data in queue[:done]:
            t.free_all((data, header))
        queue = queue[done:]
    for header, data in queue:
        t.free_all((data, header))
    t.free_all(others)


def dcache(t):
    """Caches grow to 24,000 objects, three quarters of them go at random, and others grow in the holes."""
    cached, others = [], [t.object() for _ in range(3000)]

    def free_entries(entries):
        for entry in entries:
            t.free_all(block for block in entry if block is not None)

    for entry_size, inode_size in zip([192, 208, 176, 224], [600, 632, 1000, 560], strict=True):
        for _ in range(8000):
            entry = t.alloc(entry_size)
            inode = t.alloc(inode_size) if t.random.random() < 0.6 else None
            cached.append((entry, inode, t.alloc(t.random.randint(20, 120)) if t.random.random() < 0.15 else None))
        t.random.shuffle(cached)
        gone = len(cached) * 3 // 4
        free_entries(cached[:gone])
        cached = cached[gone:]
    free_entries(cached)
    t.free_all(others)


def page(t):
    """Page-aligned blocks of one, two, four pages among small objects, replaced at random."""
    sizes, page_sizes = [24, 40, 64, 100, 140, 200], [PAGE, PAGE, PAGE, 2 * PAGE, 4 * PAGE]
    small, pages = [], []
    for _ in range(1500):
        small += [t.alloc(t.random.choice(sizes)) for _ in range(3)]
        pages.append(t.alloc(t.random.choice(page_sizes), PAGE))
    for _ in range(12000):
        are_pages = t.random.random() < 0.5
        blocks = pages if are_pages else small
        at = t.random.randrange(len(blocks))
        t.free(blocks[at])
        blocks[at] = t.alloc(t.random.choice(page_sizes), PAGE) if are_pages else t.alloc(t.random.choice(sizes))
    t.free_all(pages + small)


def replace(t, live, one):
    at = t.random.randrange(len(live))
    t.free(live[at])
    live[at] = one()


def tiny(t):
    """A tiny kernel just booted, 120 KiB in use: what an empty heap costs shows."""
    live = [t.object() for _ in range(500)]
    stacks = [t.alloc(4 * PAGE, PAGE) for _ in range(2)]
    for _ in range(4000):
        replace(t, live, t.object)
    t.free_all(live + stacks)


def vectors(t):
    """Arrays that grow by reallocation, mostly twofold, among objects that come and go."""
    sizes, live = {}, [t.object() for _ in range(800)]
    for _ in range(30000):
        if t.random.random() >= 0.35:
            replace(t, live, t.object)
        elif len(sizes) < 150:
            sizes[t.alloc(32)] = 32
        else:
            block = t.random.choice(list(sizes))
            size = sizes[block]
            if size >= 32768 or t.random.random() < 0.25:
                t.free(block)
                del sizes[block]
            else:
                sizes[block] = size * 2 if t.random.random() < 0.7 else size + 64
                t.resize(block, sizes[block])
    t.free_all(list(sizes) + live)


def uniform(t):
    """Sizes of 1 to 4096 bytes alike, the worst for size classes."""

    def one():
        return t.alloc(t.random.randint(1, 4096))

    live = [one() for _ in range(2000)]
    for _ in range(20000):
        replace(t, live, one)
    t.free_all(live)


KINDS = {
    "k-churn": churn, "k-fork": fork, "k-net": net, "k-dcache": dcache, "k-page": page, "k-tiny": tiny, "k-vec": vectors,
    "k-uniform": uniform,
}  # fmt: skip


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for kinds, first_seed in ((KINDS, 1), (held_out.KINDS, held_out.FIRST_SEED)):
        for seed, (name, fill) in enumerate(kinds.items(), start=first_seed):
            trace = Trace(seed)
            fill(trace)
            (folder / f"{name}.rep").write_text(trace.text())


if __name__ == "__main__":
    main()

"""The second family of allocation traces: other programs, other mixtures of sizes and lifetimes than make_traces.py's.

A heap is tuned on the first family and judged on this one: nothing may be chosen by looking at it.
"""

PAGE = 4096


def size(t, median, spread, least, most):
    """Sizes of strings, bodies, arrays: most are near the median, a few are far longer."""
    return max(least, min(most, int(median * t.random.lognormvariate(0, spread))))


def web(t):
    """Requests to a server: strings and buffers of one request go together, sessions and cached answers stay."""
    sessions, cache = [], []

    def request():
        blocks = [t.alloc(8 * 1024), t.alloc(440)]
        headers = t.alloc(16 * 8)
        for i in range(t.random.randint(6, 24)):
            blocks.append(t.alloc(size(t, 18, 0.6, 4, 256)))
            blocks.append(t.alloc(size(t, 30, 0.9, 1, 2000)))
            if i in (8, 16):
                t.resize(headers, i * 16)
        body = t.alloc(256)
        target, length = size(t, 3000, 1.1, 300, 60000), 256
        while length < target:
            length = min(target, length * 2)
            t.resize(body, length)
        return [*blocks, headers], body

    for _ in range(900):
        blocks, body = request()
        if t.random.random() < 0.3:
            sessions.append([t.alloc(312), t.alloc(size(t, 90, 0.7, 16, 900))])
        if t.random.random() < 0.2:
            cache.append(body)
        else:
            blocks.append(body)
        t.random.shuffle(blocks)
        t.free_all(blocks)
        if len(sessions) > 150:
            t.free_all(sessions.pop(int(t.random.expovariate(1 / 30)) % len(sessions)))
        if len(cache) > 60:
            t.free(cache.pop(t.random.randrange(len(cache))))
    for session in sessions:
        t.free_all(session)
    t.free_all(cache)


def compiler(t):
    """Phases: names and types stay, each function's tree is built, worked on by passes that add to it, and dropped."""
    names = [t.alloc(size(t, 22, 0.5, 5, 120)) for _ in range(2500)]
    types = [t.alloc(t.random.choice([72, 88, 120, 136, 200])) for _ in range(900)]
    code = []
    for _ in range(90):
        nodes = size(t, 160, 0.8, 20, 1500)
        tree = [t.alloc(t.random.choice([24, 40, 40, 56, 56, 56, 72, 104, 160])) for _ in range(nodes)]
        operands, length = t.alloc(4 * 8), 4 * 8
        for _ in range(t.random.randint(2, 6)):
            graph = [t.alloc(t.random.choice([32, 48, 96])) for _ in range(len(tree) // 3)]
            length = length * 3 // 2 + 8
            t.resize(operands, length)
            sets = [t.alloc(len(tree) // 8 + 16) for _ in range(len(tree) // 40)]
            keep = t.random.randrange(len(graph) // 4 + 1)
            tree += graph[:keep]
            t.free_all(graph[keep:] + sets)
        code.append(t.alloc(size(t, 1200, 0.9, 64, 30000)))
        t.free_all(reversed(tree))
        t.free(operands)
        types += [t.alloc(t.random.choice([72, 88, 120])) for _ in range(6)]
    output = t.alloc(200 * 1024)
    t.free_all(code + types + names + [output])


def interpreter(t):
    """Tiny objects, most of which die at once; tables and arrays that grow twofold; the old ones go in sweeps."""
    young, old, tables = [], [], {}
    for turn in range(24000):
        young.append(t.alloc(t.random.choices([16, 24, 32, 40, 48, 56, 64], [6, 9, 10, 4, 6, 3, 3])[0]))
        if t.random.random() < 0.05:
            young.append(t.alloc(size(t, 40, 0.8, 10, 3000)))
        if t.random.random() < 0.015:
            tables[t.alloc(8 * 24)] = 8 * 24
        if tables and t.random.random() < 0.03:
            table = t.random.choice(list(tables))
            if tables[table] > 24 * 1024 or t.random.random() < 0.3:
                t.free(table)
                del tables[table]
            else:
                tables[table] *= 2
                t.resize(table, tables[table])
        if turn % 400 == 399:
            t.random.shuffle(young)
            survivors = len(young) // 12
            old += young[:survivors]
            t.free_all(young[survivors:])
            young = []
        if turn % 6000 == 5999:
            t.random.shuffle(old)
            half = len(old) // 2
            t.free_all(old[:half])
            old = old[half:]
    t.free_all(young + old + list(tables))


def database(t):
    """A pool of pages, nodes of trees, rows of all lengths; transactions add, sorts want long buffers."""
    pool = [t.alloc(2 * PAGE, PAGE) for _ in range(120)]
    locks = [t.alloc(56) for _ in range(400)]
    rows = [t.alloc(size(t, 140, 0.7, 24, 1800)) for _ in range(3000)]
    for _ in range(700):
        work = [t.alloc(t.random.choice([104, 136, 248])) for _ in range(t.random.randint(3, 12))]
        for _ in range(t.random.randint(4, 30)):
            at = t.random.randrange(len(rows))
            t.free(rows[at])
            rows[at] = t.alloc(size(t, 140, 0.7, 24, 1800))
            work.append(t.alloc(72))
        if t.random.random() < 0.08:
            work.append(t.alloc(t.random.choice([16, 32, 64, 128]) * 1024 + 48))
            work += [t.alloc(520) for _ in range(t.random.randint(10, 60))]
        if t.random.random() < 0.3:
            at = t.random.randrange(len(pool))
            t.free(pool[at])
            pool[at] = t.alloc(2 * PAGE, PAGE)
        if t.random.random() < 0.4:
            at = t.random.randrange(len(locks))
            t.free(locks[at])
            locks[at] = t.alloc(56)
        t.free_all(work)
    t.free_all(pool + rows + locks)


def guests(t):
    """Virtual machines come and go: structures of some KiB, bitmaps, aligned tables, and requests in flight."""

    def guest():
        blocks = [t.alloc(5600, 64), t.alloc(1336), t.alloc(PAGE, PAGE), t.alloc(2 * PAGE, PAGE)]
        for _ in range(t.random.randint(1, 8)):
            blocks += [t.alloc(6208, 64), t.alloc(PAGE, PAGE), t.alloc(PAGE, PAGE), t.alloc(832), t.alloc(576, 64)]
        for _ in range(t.random.randint(2, 6)):
            blocks += [t.alloc(size(t, 3000, 0.8, 64, 40000)), t.alloc(200), t.alloc(160)]
        blocks += [t.alloc(PAGE, PAGE) for _ in range(t.random.randint(10, 60))]
        blocks += [t.alloc(96) for _ in range(t.random.randint(20, 80))]
        return blocks

    running, flying = [], []
    for _ in range(160):
        if len(running) > 14 + t.random.randint(0, 14):
            gone = running.pop(t.random.randrange(len(running)))
            t.random.shuffle(gone)
            t.free_all(gone)
        running.append(guest())
        for _ in range(t.random.randint(20, 200)):
            flying.append((t.alloc(280), t.alloc(t.random.choice([16, 32, 64, 272, 1040]))))
            if len(flying) > 90:
                t.free_all(flying.pop(t.random.randrange(len(flying))))
    for blocks in running + flying:
        t.free_all(blocks)


def files(t):
    """A file system: inodes, names and extents are cached and dropped by age, transactions hold many small records."""
    cached, buffers = [], []
    for _ in range(500):
        for _ in range(t.random.randint(4, 40)):
            inode = [t.alloc(992), t.alloc(size(t, 20, 0.7, 3, 255))]
            inode += [t.alloc(40) for _ in range(int(t.random.expovariate(1 / 3)))]
            cached.append(inode)
        log = [t.alloc(t.random.choice([48, 112, 112, 184])) for _ in range(t.random.randint(10, 120))]
        for _ in range(t.random.randint(2, 10)):
            buffers.append(t.alloc(t.random.choice([512, 512, 1024, 2048, PAGE])))
        t.free_all(log)
        while len(cached) > 2000:
            drop = t.random.randrange(len(cached)) if t.random.random() < 0.3 else int(t.random.expovariate(1 / 200))
            t.free_all(cached.pop(drop % len(cached)))
        while len(buffers) > 400:
            t.free(buffers.pop(t.random.randrange(len(buffers))))
    for inode in cached:
        t.free_all(inode)
    t.free_all(buffers)


KINDS = {
    "h-web": web, "h-compile": compiler, "h-interp": interpreter, "h-data": database, "h-guests": guests,
    "h-files": files,
}  # fmt: skip
FIRST_SEED = 1001

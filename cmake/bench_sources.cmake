# The rest of the list of sources (sources.cmake): what is measured, and what it is compared with. Host only.

# Other ways to edit page tables, to be compared with the VMM: host only, over the model.
set(CAIRN_RIVAL_SOURCES
    test/rivals/paging/batch.c
    test/rivals/paging/cairn.c
    test/rivals/paging/direct.c
    test/rivals/paging/naive.c
    test/rivals/paging/recursive.c
    test/rivals/paging/spaces.c
    test/rivals/paging/window.c)

# Other ways to hand out addresses, to be compared with the arena: host only.
set(CAIRN_ADDRESSES_SOURCES
    test/rivals/addresses/buddy.c
    test/rivals/addresses/cairn.c
    test/rivals/addresses/chunks.c
    test/rivals/addresses/list.c
    test/rivals/addresses/segments.c
    test/rivals/addresses/tree.c
    test/rivals/addresses/vmem.c)

# Other ways to keep account of frames, to be compared with the PMM: compiled as it is. And what they stand on.
set(CAIRN_FRAMES_SOURCES
    test/rivals/pmm/bitmap.c
    test/rivals/pmm/buddy.c
    test/rivals/pmm/by_region.c
    test/rivals/pmm/extent.c
    test/rivals/pmm/faulted.c
    test/rivals/pmm/flat.c
    test/rivals/pmm/inverted.c
    test/rivals/pmm/lists.c
    test/rivals/pmm/summary.c
    test/rivals/pmm/tree.c
    test/rivals/pmm/zero_pages.c)
set(CAIRN_FRAMES_HOST_SOURCES
    test/rivals/pmm/host_machine.c
    test/rivals/pmm/ways.c)
# The same inside the kernel, and what a kernel has more that is built to measure them (target rivals).
set(CAIRN_FRAMES_KERNEL_SOURCES
    test/rivals/pmm/kernel/machine.c
    test/rivals/pmm/ways.c)
# And what puts one of them behind pmm.h (CAIRN_PMM).
set(CAIRN_FRAMES_PMM_SOURCES
    test/rivals/pmm/kernel/pmm.c
    test/rivals/pmm/kernel/pmm_asked.c
    test/rivals/pmm/kernel/pmm_runs.c
    test/rivals/pmm/kernel/pmm_start.c
    test/rivals/pmm/kernel/without.c)
set(CAIRN_FRAMES_KERNEL_BENCH_SOURCES
    test/rivals/pmm/kernel/bench.c
    test/rivals/pmm/kernel/cairn.c
    test/rivals/pmm/kernel/real_map.c
    test/unit/rivals_kernel_test.c
    test/unit/rivals_pmm_test.c)

# The part of the PMM's benchmark that plays them, and that of fragmentation; not for the PMM's scout.
set(CAIRN_FRAMES_BENCH_SOURCES
    test/bench/frag_books.c
    test/bench/frag_play.c
    test/bench/frag_subjects.c
    test/bench/fragmentation.c
    test/bench/pmm_ways.c)

# Benchmarks, host only. (What stands against the PMM is in cmake/host.cmake: it is compiled as the PMM is.)
set(CAIRN_BENCH_SOURCES
    test/bench/bed.c
    test/bench/main.c
    test/bench/pmm_bench.c
    test/bench/pmm_cycles.c
    test/bench/pmm_longest.c
    test/bench/pmm_machines.c
    test/bench/pmm_mix.c
    test/bench/pmm_steps.c
    test/bench/results.c
    test/bench/steps.c)

# The benchmark of page tables, over the model and the rivals; not for the PMM's scout.
set(CAIRN_PAGING_BENCH_SOURCES
    test/bench/model_port.c
    test/bench/paging_bench.c
    test/bench/paging_cases.c
    test/bench/paging_count.c
    test/bench/paging_model.c)

# The benchmark of addresses; the same.
set(CAIRN_ARENA_BENCH_SOURCES
    test/bench/arena_bench.c
    test/bench/arena_play.c
    test/bench/arena_spaces.c
    test/bench/arena_touched.c
    test/bench/arena_trace.c)

# Other ways to make a heap out of pages, to be compared with ours: compiled as ours is.
set(CAIRN_HEAP_WAY_SOURCES
    test/rivals/heap/buddy.c
    test/rivals/heap/carving.c
    test/rivals/heap/first_fit.c
    test/rivals/heap/one_size.c
    test/rivals/heap/single_pages.c
    test/rivals/heap/tlsf_idea.c)

# The benchmark of heaps, and what brings those together that ours is compared with.
set(CAIRN_HEAP_BENCH_SOURCES
    test/bench/heap_bench.c
    test/bench/heap_frames.c
    test/bench/heap_holes.c
    test/bench/heap_misuse.c
    test/bench/heap_report.c
    test/bench/heap_time.c
    test/bench/heap_trace.c
    test/rivals/heap/cairn.c
    test/rivals/heap/host_pages.c
    test/rivals/heap/libraries.c
    test/rivals/heap/ways.c)

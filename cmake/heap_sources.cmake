# The heap: the part of sources.cmake that is its own.
set(CAIRN_HEAP_SOURCES
    src/heap/buffer.c
    src/heap/cache.c
    src/heap/cache_check.c
    src/heap/cache_guard.c
    src/heap/cache_make.c
    src/heap/cache_slab.c
    src/heap/cache_view.c
    src/heap/guard.c
    src/heap/guard_check.c
    src/heap/guard_quarantine.c
    src/heap/guard_records.c
    src/heap/guard_report.c
    src/heap/heap.c
    src/heap/heap_check.c
    src/heap/heap_dump.c
    src/heap/heap_stats.c
    src/heap/large.c
    src/heap/mixed.c
    src/heap/mixed_rare.c
    src/heap/owner.c
    src/heap/pages.c
    src/heap/raw.c
    src/heap/realloc.c
    src/heap/resize.c
    src/heap/slab.c
    src/heap/tree.c
    src/heap/tree_spare.c
    src/heap/tree_walk.c)

# Of those what seldom runs, and is compiled small in the kernel and where it is measured.
set(CAIRN_HEAP_SMALL
    "^src/heap/(buffer|cache_|guard|heap_stats|large|mixed_rare|owner|pages|raw|realloc|resize|slab|tree)")

# The rest is what each call runs through. Jumps to aligned addresses would make it a twentieth longer, and not faster.
set(CAIRN_HEAP_HOT "^src/heap/(heap|mixed)\\.c$")
set(CAIRN_HEAP_HOT_OPTIONS "$<$<C_COMPILER_ID:GNU>:-fno-align-jumps;-fno-align-labels>")

# Its unit tests: on the host, and in the debug kernel.
set(CAIRN_HEAP_TEST_SOURCES
    test/unit/guard_bed.c
    test/unit/heap_alloc_test.c
    test/unit/heap_attack_test.c
    test/unit/heap_bed.c
    test/unit/heap_buffer_test.c
    test/unit/heap_cache_bed.c
    test/unit/heap_cache_check_test.c
    test/unit/heap_cache_guard_more_test.c
    test/unit/heap_cache_guard_test.c
    test/unit/heap_cache_misuse_test.c
    test/unit/heap_cache_random_test.c
    test/unit/heap_cache_test.c
    test/unit/heap_check_test.c
    test/unit/heap_guard_model_test.c
    test/unit/heap_guard_more_test.c
    test/unit/heap_guard_test.c
    test/unit/heap_mend_test.c
    test/unit/heap_misuse_test.c
    test/unit/heap_model_test.c
    test/unit/heap_ready_test.c
    test/unit/heap_resize_test.c
    test/unit/heap_slab_test.c
    test/unit/heap_survive_test.c)

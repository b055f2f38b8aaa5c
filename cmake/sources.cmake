# The one list of sources: the kernel, the host tests, the tools and those who embed Cairn all take it from here.
# Paths are relative to the project's root. A new file is added to its layer's list.

set(CAIRN_LIB_SOURCES
    src/lib/fmt.c
    src/lib/glob.c
    src/lib/report.c
    src/lib/status.c)

set(CAIRN_BOOT_SOURCES
    boot/early.c
    boot/mb2.c
    boot/mb2_map.c
    boot/memmap.c)

set(CAIRN_PMM_SOURCES
    src/pmm/pmm.c
    src/pmm/alloc.c
    src/pmm/block.c
    src/pmm/pmm_check.c
    src/pmm/claim.c
    src/pmm/pmm_dump.c
    src/pmm/earmark.c
    src/pmm/holds.c
    src/pmm/metadata.c
    src/pmm/query.c
    src/pmm/region.c)

set(CAIRN_VMM_SOURCES
    src/vmm/arena.c
    src/vmm/arena_check.c
    src/vmm/vmm_check.c
    src/vmm/foreign.c
    src/vmm/gather.c
    src/vmm/kmap.c
    src/vmm/kpages.c
    src/vmm/map.c
    src/vmm/request.c
    src/vmm/space.c
    src/vmm/temp.c
    src/vmm/unmap.c
    src/vmm/visit.c
    src/vmm/walk.c
    src/vmm/window.c)

set(CAIRN_HEAP_SOURCES
    src/heap/heap.c
    src/heap/desc.c
    src/heap/heap_check.c
    src/heap/heap_dump.c
    src/heap/large.c
    src/heap/owner.c
    src/heap/pages.c
    src/heap/radix.c
    src/heap/realloc.c
    src/heap/slab.c)

# The hardware port and the kernel itself: never on the host.
set(CAIRN_X86_64_SOURCES
    src/lib/string.c
    src/arch/x86_64/features.c
    src/arch/x86_64/interrupt.c
    src/arch/x86_64/port.c)

set(CAIRN_KERNEL_SOURCES
    src/kernel/init_boot.c
    src/kernel/init_info.c
    src/kernel/init_map.c
    src/kernel/init_tables.c
    src/kernel/init_pmm.c
    src/kernel/main.c
    src/kernel/reclaim.c
    src/kernel/stacks.c
    src/kernel/heap_source.c
    src/kernel/console.c
    src/kernel/serial.c
    src/kernel/display.c
    src/kernel/physical.c
    src/kernel/framebuffer.c
    src/kernel/screen.c
    src/kernel/vga.c
    src/kernel/options.c
    src/kernel/panic.c
    src/kernel/fault.c
    src/kernel/fault_place.c
    src/kernel/fault_walk.c
    src/kernel/fault_why.c
    src/kernel/backtrace.c
    src/kernel/symbols.c
    src/kernel/monitor.c
    src/kernel/line.c
    src/kernel/cmd.c
    src/kernel/cmd_exercise.c
    src/kernel/cmd_later.c
    src/kernel/cmd_memory.c
    src/kernel/cmd_spaces.c
    src/kernel/cmd_system.c
    src/kernel/cmd_tables.c
    src/kernel/cmd_who.c
    src/kernel/json.c
    src/kernel/exercise.c
    src/kernel/exercise_frames.c
    src/kernel/exercise_heap.c
    src/kernel/exercise_record.c
    src/kernel/exercise_spaces.c
    src/kernel/provoke.c
    src/kernel/selftest.c)

# Unit tests: the same sources on the host and in the kernel.
set(CAIRN_TEST_SOURCES
    test/unit/pmm_alloc_test.c
    test/unit/pmm_bed.c
    test/unit/pmm_check_test.c
    test/unit/pmm_metadata_test.c
    test/unit/pmm_misuse_test.c
    test/unit/pmm_model.c
    test/unit/pmm_random_test.c
    test/unit/boot_again_early.c
    test/unit/boot_again_mb2.c
    test/unit/boot_again_mb2_map.c
    test/unit/boot_again_memmap.c
    test/unit/early_alloc_test.c
    test/unit/mb2_bed.c
    test/unit/mb2_map_test.c
    test/unit/mb2_parse_test.c
    test/unit/memmap_bed.c
    test/unit/memmap_map_test.c
    test/unit/heap_alloc_test.c
    test/unit/heap_bed.c
    test/unit/heap_check_test.c
    test/unit/heap_misuse_test.c
    test/unit/heap_model_test.c
    test/unit/heap_slab_test.c
    test/unit/arena_test.c
    test/unit/vmm_args_test.c
    test/unit/vmm_bed.c
    test/unit/vmm_cost_test.c
    test/unit/vmm_foreign_test.c
    test/unit/vmm_kpages_test.c
    test/unit/vmm_limits_test.c
    test/unit/vmm_map_test.c
    test/unit/vmm_nomem_test.c
    test/unit/vmm_random_test.c
    test/unit/fmt_test.c
    test/unit/runner.c)

# Unit tests of the kernel layer, in the kernel only.
set(CAIRN_KERNEL_TEST_SOURCES
    test/unit/fault_test.c
    test/unit/options_test.c
    test/unit/screen_test.c)

# The host's port: the model MMU, and the runner's memory.
set(CAIRN_HOST_SOURCES
    test/model/cache.c
    test/model/env.c
    test/model/machine.c
    test/model/mmu.c
    test/model/port.c
    test/unit/host.c)

# Unit tests that only the host can run: they read files, start threads, reserve terabytes.
set(CAIRN_HOST_TEST_SOURCES
    test/unit/mb2_hostile_test.c
    test/unit/memmap_files_test.c
    test/unit/kmap_test.c
    test/unit/model_test.c
    test/unit/pmm_huge_test.c
    test/unit/vmm_check_test.c)

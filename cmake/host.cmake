# The host build: the layers as they are, the model port beneath them, unit tests and tools.

if(CAIRN_SANITIZE)
    target_compile_options(cairn_options INTERFACE
        -fsanitize=${CAIRN_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(cairn_options INTERFACE -fsanitize=${CAIRN_SANITIZE})
endif()
target_compile_definitions(cairn_options INTERFACE CAIRN_HOST)
if(CAIRN_COVERAGE)
    target_link_options(cairn_options INTERFACE --coverage)
endif()

# One library a layer, each linked with the lower ones only: a layer that reaches upward does not link.
add_library(cairn_lib STATIC ${CAIRN_LIB_SOURCES})
target_link_libraries(cairn_lib PUBLIC cairn_options)
# VMM and spaces are overheard when they free (test/model/overheard.c): the model's MMU judges frames that go back; and
# when they ask for memory, so that a test may have any one request refused.
foreach(library boot pmm vmm_judged aspace_judged heap task)
    string(REPLACE "_judged" "" layer ${library})
    string(TOUPPER ${layer} upper)
    set(sources ${CAIRN_${upper}_SOURCES})
    list(TRANSFORM sources PREPEND ${CMAKE_SOURCE_DIR}/)
    add_library(cairn_${library} STATIC ${sources})
    target_link_libraries(cairn_${library} PUBLIC cairn_lib)
    if(NOT library STREQUAL layer)
        foreach(call alloc alloc_zeroed alloc_many alloc_run alloc_partly alloc_elsewhere promise block_take block_give
                free release free_many free_run)
            target_compile_definitions(cairn_${library} PRIVATE pmm_${call}=model_pmm_${call})
        endforeach()
    endif()
    # Lines are counted of the layers alone: in the tests and the model, most of what runs, nobody would look.
    if(CAIRN_COVERAGE)
        target_compile_options(cairn_${library} PRIVATE --coverage -O0)
    endif()
endforeach()
target_link_libraries(cairn_vmm_judged PUBLIC cairn_pmm)
target_link_libraries(cairn_aspace_judged PUBLIC cairn_vmm_judged)

set(test_sources ${CAIRN_TEST_SOURCES} ${CAIRN_TEST_MORE_SOURCES} ${CAIRN_HOST_TEST_SOURCES} ${CAIRN_HOST_SOURCES}
    ${CAIRN_RIVAL_SOURCES} ${CAIRN_ADDRESSES_SOURCES} ${CAIRN_HEAP_WAY_SOURCES} ${CAIRN_FRAMES_SOURCES}
    ${CAIRN_FRAMES_HOST_SOURCES})
if(CAIRN_COVERAGE)
    # Counters that threads may share cost five times as much, and these tests alone need them.
    list(REMOVE_ITEM test_sources test/unit/pmm_threads_test.c test/unit/rivals_pmm_threads_test.c)
endif()
list(TRANSFORM test_sources PREPEND ${CMAKE_SOURCE_DIR}/)
add_executable(unit_tests ${test_sources})
target_link_libraries(unit_tests PRIVATE cairn_boot cairn_task cairn_heap cairn_aspace_judged cairn_vmm_judged
    cairn_pmm cairn_lib)
target_compile_definitions(unit_tests PRIVATE CAIRN_TEST_DATA="${CMAKE_SOURCE_DIR}/test/data" ADDRESSES_COUNTED)

# Several CPUs at once, for TSan (scripts/check): of the unit tests those that start threads, and what they take.
set(thread_sources test/model/cpu.c test/unit/host.c test/unit/pmm_bed.c test/unit/pmm_cpus_test.c
    test/unit/pmm_model.c test/unit/pmm_model_agrees.c test/unit/pmm_model_calls.c test/unit/pmm_model_runs.c
    test/unit/pmm_steps.c test/unit/pmm_threads_test.c test/unit/rivals_pmm_threads_test.c test/unit/runner.c
    test/rivals/pmm/host_machine.c test/rivals/pmm/tree.c)
list(TRANSFORM thread_sources PREPEND ${CMAKE_SOURCE_DIR}/)
add_executable(thread_tests EXCLUDE_FROM_ALL ${thread_sources})
target_link_libraries(thread_tests PRIVATE cairn_pmm cairn_lib)

# The tools bring a port of their own: reports go to standard error.
foreach(tool mapcheck mb2check)
    add_executable(${tool} ${CMAKE_SOURCE_DIR}/test/tools/${tool}.c ${CMAKE_SOURCE_DIR}/test/tools/port.c
                   ${CMAKE_SOURCE_DIR}/test/model/cpu.c)
    target_link_libraries(${tool} PRIVATE cairn_boot cairn_pmm cairn_lib)
endforeach()

# libFuzzer programs (Clang only; preset host-fuzz, scripts/fuzz).
set(heap_game test/fuzz/heap_fuzz_caches.c test/fuzz/heap_fuzz_model.c test/fuzz/heap_fuzz_pages.c)
list(TRANSFORM heap_game PREPEND ${CMAKE_SOURCE_DIR}/)
set(task_game test/fuzz/expect.c ${CAIRN_HOST_SOURCES} ${CAIRN_TASK_HOST_TEST_SOURCES}
    test/unit/aspace_bed.c test/unit/aspace_touch.c test/unit/heap_pages.c test/unit/task_bed.c test/unit/vmm_bed.c)
list(FILTER task_game EXCLUDE REGEX "_test\\.c$|/(host|malloc_again)\\.c$")
list(TRANSFORM task_game PREPEND ${CMAKE_SOURCE_DIR}/)
if(CAIRN_FUZZ)
    foreach(name mb2 memmap early acpi elf pmm heap task)
        add_executable(${name}_fuzz ${CMAKE_SOURCE_DIR}/test/fuzz/${name}_fuzz.c)
        target_link_libraries(${name}_fuzz PRIVATE cairn_boot cairn_lib)
        target_compile_options(${name}_fuzz PRIVATE -fsanitize=fuzzer)
        target_link_options(${name}_fuzz PRIVATE -fsanitize=fuzzer)
    endforeach()
    target_sources(mb2_fuzz PRIVATE ${CMAKE_SOURCE_DIR}/test/unit/mb2_bed.c)
    target_sources(acpi_fuzz PRIVATE ${CMAKE_SOURCE_DIR}/test/unit/acpi_bed.c)
    target_sources(elf_fuzz PRIVATE ${CMAKE_SOURCE_DIR}/test/unit/elf_bed.c ${CMAKE_SOURCE_DIR}/src/task/elf.c)
    set(pmm_game test/fuzz/expect.c test/model/cpu.c test/unit/pmm_bed.c test/unit/pmm_model.c
        test/unit/pmm_model_agrees.c test/unit/pmm_model_calls.c test/unit/pmm_model_runs.c
        test/unit/pmm_random_change.c test/unit/pmm_random_frames.c test/unit/pmm_random_game.c
        test/unit/pmm_random_ops.c test/unit/pmm_random_owners.c test/unit/pmm_random_pressure.c
        test/unit/pmm_random_runs.c)
    list(TRANSFORM pmm_game PREPEND ${CMAKE_SOURCE_DIR}/)
    # What the model compares is no news, and watching it takes most of the time.
    set_source_files_properties(${pmm_game} PROPERTIES COMPILE_OPTIONS -fno-sanitize=fuzzer,fuzzer-no-link)
    target_sources(pmm_fuzz PRIVATE ${pmm_game})
    target_link_libraries(pmm_fuzz PRIVATE cairn_pmm)
    target_sources(heap_fuzz PRIVATE ${heap_game})
    set(heap_checks src/heap/cache_check.c src/heap/guard_check.c src/heap/heap_check.c src/heap/tree_walk.c
        test/fuzz/heap_fuzz.c)
    list(TRANSFORM heap_checks PREPEND ${CMAKE_SOURCE_DIR}/)
    set_source_files_properties(${heap_game} ${heap_checks} PROPERTIES
        COMPILE_OPTIONS -fno-sanitize=fuzzer,fuzzer-no-link)
    target_link_libraries(heap_fuzz PRIVATE cairn_heap)
    set_source_files_properties(${task_game} PROPERTIES COMPILE_OPTIONS -fno-sanitize=fuzzer,fuzzer-no-link)
    target_sources(task_fuzz PRIVATE ${task_game} ${CMAKE_SOURCE_DIR}/test/fuzz/expect.c)
    target_link_libraries(task_fuzz PRIVATE
        cairn_task cairn_heap cairn_aspace_judged cairn_vmm_judged cairn_pmm cairn_lib)
endif()

# Benchmarks (preset host-bench, scripts/bench): what is measured is compiled as for the kernel, string functions too.
option(CAIRN_BENCH "host build: the benchmarks" OFF)
if(CAIRN_BENCH)
    set(as_in_kernel -mno-red-zone -mgeneral-regs-only -fno-stack-protector -fcf-protection=none
        -fno-omit-frame-pointer -fno-optimize-sibling-calls)
    target_compile_options(cairn_lib PRIVATE ${as_in_kernel})
    target_compile_options(cairn_pmm PRIVATE ${as_in_kernel})
    target_compile_options(cairn_heap PRIVATE ${as_in_kernel})
    foreach(source IN LISTS CAIRN_HEAP_SOURCES)
        if(source MATCHES ${CAIRN_HEAP_SMALL})
            set_source_files_properties(${CMAKE_SOURCE_DIR}/${source} PROPERTIES COMPILE_OPTIONS -Oz)
        elseif(source MATCHES ${CAIRN_HEAP_HOT})
            set_source_files_properties(${CMAKE_SOURCE_DIR}/${source} PROPERTIES
                COMPILE_OPTIONS "${CAIRN_HEAP_HOT_OPTIONS}")
        endif()
    endforeach()
    set(bench_sources ${CAIRN_BENCH_SOURCES})
    list(TRANSFORM bench_sources PREPEND ${CMAKE_SOURCE_DIR}/)
    set(subject_sources test/model/cpu.c test/bench/raw_stack.c src/lib/string.c)
    list(TRANSFORM subject_sources PREPEND ${CMAKE_SOURCE_DIR}/)
    add_library(bench_subjects OBJECT ${subject_sources})
    target_link_libraries(bench_subjects PRIVATE cairn_options)
    target_compile_options(bench_subjects PRIVATE ${as_in_kernel} -fno-builtin -fno-tree-loop-distribute-patterns)
    # The arena beside its rivals: all once to be timed, and once to be counted, under other names. In the second the
    # compiler tells of each access to memory (test/bench/arena_touched.c).
    set(arena_sources ${CAIRN_VMM_SOURCES})
    list(FILTER arena_sources INCLUDE REGEX "/arena")
    list(TRANSFORM arena_sources PREPEND ${CMAKE_SOURCE_DIR}/)
    set(addresses_sources ${CAIRN_ADDRESSES_SOURCES})
    list(TRANSFORM addresses_sources PREPEND ${CMAKE_SOURCE_DIR}/)
    add_library(arena_counted OBJECT ${arena_sources})
    add_library(addresses_counted OBJECT ${addresses_sources})
    target_compile_definitions(addresses_counted PRIVATE ADDRESSES_COUNTED ADDRESSES_TOUCHED)
    foreach(library arena_counted addresses_counted)
        target_link_libraries(${library} PRIVATE cairn_options)
        target_compile_options(${library} PRIVATE -fsanitize=thread)
        foreach(function init init_shared init_spans end reserve_init reserve_for alloc request alloc_at free free_part
                trim find visit check refill choose cut cut_out add_free merge fits insert_between drop unlist node_at
                used_at import retire give_up_kept span_pages index_find_below index_insert index_remove join)
            target_compile_definitions(${library} PRIVATE arena_${function}=counted_arena_${function})
        endforeach()
    endforeach()
    set(arena_bench_sources ${CAIRN_ARENA_BENCH_SOURCES})
    list(TRANSFORM arena_bench_sources PREPEND ${CMAKE_SOURCE_DIR}/)
    # The model machine without the unit tests' runner.
    set(paging_sources ${CAIRN_PAGING_BENCH_SOURCES} ${CAIRN_RIVAL_SOURCES} ${CAIRN_HOST_SOURCES})
    list(FILTER paging_sources EXCLUDE REGEX "test/unit/|test/model/(cpu|env)\\.c")
    list(TRANSFORM paging_sources PREPEND ${CMAKE_SOURCE_DIR}/)
    set(heap_bench_sources ${CAIRN_HEAP_BENCH_SOURCES})
    list(TRANSFORM heap_bench_sources PREPEND ${CMAKE_SOURCE_DIR}/)
    set(heap_way_sources ${CAIRN_HEAP_WAY_SOURCES})
    list(TRANSFORM heap_way_sources PREPEND ${CMAKE_SOURCE_DIR}/)
    add_library(heap_ways OBJECT ${heap_way_sources})
    target_link_libraries(heap_ways PRIVATE cairn_options)
    target_compile_options(heap_ways PRIVATE ${as_in_kernel})
    set(frames_sources ${CAIRN_FRAMES_SOURCES})
    list(TRANSFORM frames_sources PREPEND ${CMAKE_SOURCE_DIR}/)
    add_library(frames_ways OBJECT ${frames_sources})
    target_link_libraries(frames_ways PRIVATE cairn_options)
    target_compile_options(frames_ways PRIVATE ${as_in_kernel} -fno-builtin -fno-tree-loop-distribute-patterns)
    set(frames_bench_sources ${CAIRN_FRAMES_HOST_SOURCES} ${CAIRN_FRAMES_BENCH_SOURCES})
    list(TRANSFORM frames_bench_sources PREPEND ${CMAKE_SOURCE_DIR}/)
    add_executable(bench ${bench_sources} ${frames_bench_sources} $<TARGET_OBJECTS:frames_ways>
        ${paging_sources} ${arena_bench_sources} ${addresses_sources}
        ${heap_bench_sources} $<TARGET_OBJECTS:heap_ways>
        $<TARGET_OBJECTS:arena_counted> $<TARGET_OBJECTS:addresses_counted> $<TARGET_OBJECTS:bench_subjects>)
    target_link_libraries(bench PRIVATE cairn_heap cairn_vmm_judged cairn_pmm cairn_lib m ${CMAKE_DL_LIBS})
    # What an edit of page tables does is counted where it leaves for the machine (test/bench/paging_count.c).
    foreach(function table_load table_store table_replace invlpg root_load page_zero flush_others)
        target_link_options(bench PRIVATE -Wl,--wrap=arch_${function})
    endforeach()
    # No symbol is looked up inside a call that is counted.
    target_link_options(bench PRIVATE -Wl,-z,now)

    # The same over a PMM that tells of each basic block: finds the calls worth counting.
    set(pmm_sources ${CAIRN_PMM_SOURCES})
    list(TRANSFORM pmm_sources PREPEND ${CMAKE_SOURCE_DIR}/)
    add_library(bench_scouted OBJECT ${pmm_sources} ${subject_sources})
    target_link_libraries(bench_scouted PRIVATE cairn_options)
    target_compile_options(bench_scouted PRIVATE -fsanitize-coverage=trace-pc
        -fno-builtin -fno-tree-loop-distribute-patterns)
    add_executable(bench_scout ${bench_sources} $<TARGET_OBJECTS:bench_scouted>)
    target_compile_definitions(bench_scout PRIVATE BENCH_SCOUT)
    target_link_libraries(bench_scout PRIVATE cairn_lib)
endif()

enable_testing()
# The corpus that is kept of the heap, played once by any compiler. No part of the library comes with it.
add_executable(heap_replay ${CMAKE_SOURCE_DIR}/test/fuzz/replay.c ${CMAKE_SOURCE_DIR}/test/fuzz/heap_fuzz.c
    ${heap_game})
target_link_libraries(heap_replay PRIVATE cairn_heap cairn_lib)
file(GLOB heap_corpus CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/test/fuzz/corpus/heap/*)
add_test(NAME fuzz.heap_corpus COMMAND heap_replay ${heap_corpus})
# And that of program files.
add_executable(elf_replay ${CMAKE_SOURCE_DIR}/test/fuzz/replay.c ${CMAKE_SOURCE_DIR}/test/fuzz/elf_fuzz.c
    ${CMAKE_SOURCE_DIR}/test/unit/elf_bed.c ${CMAKE_SOURCE_DIR}/src/task/elf.c)
target_link_libraries(elf_replay PRIVATE cairn_lib)
file(GLOB elf_corpus CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/test/fuzz/corpus/elf/*)
add_test(NAME fuzz.elf_corpus COMMAND elf_replay ${elf_corpus})
# And that of tasks at play.
add_executable(task_replay ${CMAKE_SOURCE_DIR}/test/fuzz/replay.c ${CMAKE_SOURCE_DIR}/test/fuzz/task_fuzz.c
    ${task_game})
target_link_libraries(task_replay PRIVATE
    cairn_boot cairn_task cairn_heap cairn_aspace_judged cairn_vmm_judged cairn_pmm cairn_lib)
file(GLOB task_corpus CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/test/fuzz/corpus/task/*)
add_test(NAME fuzz.task_corpus COMMAND task_replay ${task_corpus})
set_tests_properties(fuzz.heap_corpus fuzz.elf_corpus fuzz.task_corpus PROPERTIES LABELS host)
# Each unit test is a CTest test of its own name, found by running the built program once.
add_custom_command(TARGET unit_tests POST_BUILD
    COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:unit_tests> -DOUT=${CMAKE_BINARY_DIR}/unit_tests.cmake
            -P ${CMAKE_SOURCE_DIR}/cmake/discover_tests.cmake
    BYPRODUCTS ${CMAKE_BINARY_DIR}/unit_tests.cmake)
file(WRITE ${CMAKE_BINARY_DIR}/unit_include.cmake
    "if(EXISTS \"${CMAKE_BINARY_DIR}/unit_tests.cmake\")\n"
    "  include(\"${CMAKE_BINARY_DIR}/unit_tests.cmake\")\n"
    "else()\n"
    "  add_test(unit_tests_NOT_BUILT unit_tests_NOT_BUILT)\n"
    "endif()\n")
set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${CMAKE_BINARY_DIR}/unit_include.cmake)

if(CAIRN_BOOT_TESTS)
    add_subdirectory(test/boot)
endif()

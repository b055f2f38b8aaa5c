# The kernel image: no cross compiler, just the host's with freestanding flags; NASM; one linker script.

find_program(NASM nasm REQUIRED)

target_compile_options(cairn_options INTERFACE
    -ffreestanding -fpie -mcmodel=small -mno-red-zone -mgeneral-regs-only -fno-stack-protector -fcf-protection=none
    -fno-omit-frame-pointer -fno-asynchronous-unwind-tables -fno-optimize-sibling-calls
    -ffunction-sections -fdata-sections -include ${CMAKE_SOURCE_DIR}/src/arch/x86_64/hidden.h
    # Padding in front of functions, loops and jumps is 16 KiB of the image, and half of it is executed; loops that are
    # unrolled are 12 KiB.
    -falign-functions=1 -falign-loops=1 $<$<C_COMPILER_ID:GNU>:-falign-jumps=1>
    $<$<C_COMPILER_ID:Clang>:-fno-unroll-loops>)
target_compile_definitions(cairn_options INTERFACE ARCH_INLINE_HEADER="arch/x86_64/inline.h")

# The console font: printable ASCII of the one that GRUB brings, as a C table.
find_program(PYTHON3 python3 REQUIRED)
find_file(CAIRN_FONT NAMES ascii.pf2 euro.pf2 unicode.pf2 REQUIRED
    PATHS /usr/share/grub /usr/share/grub2 /boot/grub/fonts /boot/grub2/fonts)
set(font_table ${CMAKE_BINARY_DIR}/font.inc)
add_custom_command(OUTPUT ${font_table}
    COMMAND ${PYTHON3} ${CMAKE_SOURCE_DIR}/cmake/font.py ${CAIRN_FONT} ${font_table}
    DEPENDS ${CAIRN_FONT} ${CMAKE_SOURCE_DIR}/cmake/font.py VERBATIM)

# NASM reads the address map as %define lines; what the build sets itself (CAIRN_SLOTS) stays.
set(layout_header ${CMAKE_SOURCE_DIR}/src/arch/layout.h)
set(layout_nasm ${CMAKE_BINARY_DIR}/layout.inc)
add_custom_command(OUTPUT ${layout_nasm}
    COMMAND sed -n "s/^#define \\(LAYOUT_[A-Z0-9_]*\\) \\([0-9A-Fx]*\\)$/%ifndef \\1\\n%define \\1 \\2\\n%endif/p"
            ${layout_header} > ${layout_nasm}
    DEPENDS ${layout_header} VERBATIM)
set(linker_script ${CMAKE_BINARY_DIR}/kernel.ld)
add_custom_command(OUTPUT ${linker_script}
    COMMAND ${CMAKE_C_COMPILER} -E -P -x c -DCAIRN_LINKER_SCRIPT -I ${CMAKE_SOURCE_DIR}/src
            ${CMAKE_SOURCE_DIR}/boot/kernel.ld -o ${linker_script}
    DEPENDS ${layout_header} ${CMAKE_SOURCE_DIR}/boot/kernel.ld VERBATIM)

foreach(definition IN LISTS slot_definitions)
    list(APPEND nasm_slots -D${definition})
endforeach()
function(nasm_object name source)
    set(object ${CMAKE_BINARY_DIR}/${name}.o)
    add_custom_command(OUTPUT ${object}
        COMMAND ${NASM} -f elf64 -g -F dwarf -w+all -Werror ${nasm_slots} ${ARGN} -I ${CMAKE_BINARY_DIR}/
                -I ${CMAKE_SOURCE_DIR}/src/arch/x86_64/ -o ${object} ${source}
        DEPENDS ${source} ${layout_nasm} ${CMAKE_SOURCE_DIR}/src/arch/x86_64/frame.inc VERBATIM)
    set(${name}_object ${object} PARENT_SCOPE)
endfunction()
# Multiboot2 load preference: 1 lowest, 2 highest possible address.
nasm_object(header ${CMAKE_SOURCE_DIR}/boot/header.asm -DLOAD_PREFERENCE=1)
nasm_object(header_high ${CMAKE_SOURCE_DIR}/boot/header.asm -DLOAD_PREFERENCE=2)
nasm_object(trampoline ${CMAKE_SOURCE_DIR}/boot/trampoline.asm)
nasm_object(entry ${CMAKE_SOURCE_DIR}/src/arch/x86_64/entry.asm)
nasm_object(user ${CMAKE_SOURCE_DIR}/src/arch/x86_64/user.asm)
nasm_object(user_copy ${CMAKE_SOURCE_DIR}/src/arch/x86_64/user_copy.asm)

# Another heap than ours, to be compared with it: its own tests are those that any heap must pass.
if(NOT CAIRN_HEAP STREQUAL "cairn")
    string(REPLACE "-" "_" way ${CAIRN_HEAP})
    if(NOT "test/rivals/heap/${way}.c" IN_LIST CAIRN_HEAP_WAY_SOURCES OR way MATCHES "^(one_size|single_pages)$")
        message(FATAL_ERROR "CAIRN_HEAP is cairn, tlsf-idea, first-fit, carving or buddy, not '${CAIRN_HEAP}'")
    endif()
    set(CAIRN_HEAP_SOURCES test/rivals/heap/kernel/heap.c test/rivals/heap/kernel/without.c test/rivals/heap/${way}.c)
    list(FILTER CAIRN_KERNEL_SOURCES EXCLUDE REGEX "src/kernel/(bench_heap|cmd_caches|heap_debug)\\.c$")
    list(FILTER CAIRN_TEST_SOURCES EXCLUDE REGEX "test/unit/heap_")
    list(FILTER CAIRN_TEST_MORE_SOURCES EXCLUDE REGEX "test/unit/heap_")
    list(APPEND CAIRN_TEST_SOURCES test/unit/heap_common_test.c test/unit/heap_pages.c)
    list(REMOVE_DUPLICATES CAIRN_TEST_SOURCES)
    target_compile_definitions(cairn_options INTERFACE CAIRN_HEAP_WAY=${way})
    target_include_directories(cairn_options BEFORE INTERFACE ${CMAKE_SOURCE_DIR}/test/rivals/heap/kernel)
endif()

# Another way to keep account of frames than ours, to be compared with it. The linker puts the machine that it stands on
# in front of the kernel's handler of page faults.
set(frames_link_options -Wl,--wrap=fault_of_user)
if(NOT CAIRN_PMM STREQUAL "cairn")
    file(STRINGS ${CMAKE_SOURCE_DIR}/test/rivals/pmm/ways.c row REGEX "^    {\"${CAIRN_PMM}\", ")
    if(NOT row)
        message(FATAL_ERROR "CAIRN_PMM is cairn or a name of test/rivals/pmm/ways.c, not '${CAIRN_PMM}'")
    endif()
    set(CAIRN_PMM_SOURCES src/pmm/names.c src/pmm/state_counts.c ${CAIRN_FRAMES_PMM_SOURCES})
    list(FILTER CAIRN_KERNEL_SOURCES EXCLUDE REGEX "src/kernel/bench_(own|pmm)\\.c$")
    list(FILTER CAIRN_TEST_MORE_SOURCES EXCLUDE REGEX "test/unit/pmm_")
    list(FILTER CAIRN_KERNEL_TEST_MORE_SOURCES EXCLUDE REGEX "test/unit/pmm_")
    set_source_files_properties(${CMAKE_SOURCE_DIR}/test/rivals/pmm/kernel/pmm_start.c PROPERTIES
        COMPILE_DEFINITIONS CAIRN_PMM_WAY="${CAIRN_PMM}")
    target_include_directories(cairn_options BEFORE INTERFACE ${CMAKE_SOURCE_DIR}/test/rivals/pmm/kernel)
    list(APPEND CAIRN_KERNEL_SOURCES ${CAIRN_FRAMES_SOURCES} ${CAIRN_FRAMES_KERNEL_SOURCES})
endif()

set(sources ${CAIRN_BOOT_SOURCES} ${CAIRN_PMM_SOURCES} ${CAIRN_VMM_SOURCES} ${CAIRN_ASPACE_SOURCES}
    ${CAIRN_HEAP_SOURCES} ${CAIRN_TASK_SOURCES}
    ${CAIRN_X86_64_SOURCES} ${CAIRN_KERNEL_SOURCES} ${CAIRN_TEST_SOURCES}
    ${CAIRN_KERNEL_TEST_SOURCES})
if(CAIRN_DEBUG)
    list(APPEND sources ${CAIRN_TEST_MORE_SOURCES} ${CAIRN_KERNEL_TEST_MORE_SOURCES})
endif()
list(TRANSFORM sources PREPEND ${CMAKE_SOURCE_DIR}/)
add_library(kernel_objects OBJECT ${CAIRN_LIB_SOURCES} ${sources} ${font_table})
target_include_directories(kernel_objects PRIVATE ${CMAKE_BINARY_DIR})
target_link_libraries(kernel_objects PRIVATE cairn_options)
# What nobody waits for is compiled small: the boot, commands, exercises, tests, what a layer does once or when
# something is wrong. What `bench` measures, or lies on the way of a fault, is not. Figures are those of GCC: Clang's
# image, which is larger, leaves more out.
foreach(source IN LISTS CAIRN_LIB_SOURCES sources)
    file(RELATIVE_PATH name ${CMAKE_SOURCE_DIR} ${source})
    if(name MATCHES "^src/kernel/bench_(arena|large|own|page|pmm|segments|spaces|tasks|user|vmm)"
        OR name MATCHES "^src/kernel/(cmd|exercise|fault_place|fault_why|fault_walk)"
        OR name MATCHES "^src/kernel/(json|line|main|monitor|options|program)"
        OR name MATCHES "^src/kernel/(init|provoke|panic|backtrace|framebuffer|screen|console|display|physical|vga)"
        OR name MATCHES "^src/kernel/(low_memory|mover|reclaim|selftest|serial|stacks|symbols|task_port)"
        OR name MATCHES "^src/pmm/(bad|claim|compact|earmark|hotplug|many|metadata|names|near|owner|pmm)\\.c$"
        OR name MATCHES "^src/pmm/(query|region|regions_start|state_counts|stats|trace)\\.c$"
        OR name MATCHES "^src/vmm/(arena_spans|cache_types|copy|kpages|kpages_resize|large|large_fill)\\.c$"
        OR name MATCHES "^src/vmm/(lend|loans|marks|move|own_loan|promote|space)\\.c$"
        OR name MATCHES "^src/vmm/(arena_cut|arena_reserve|clone|kmap|page_pool|walk_corrupt)\\.c$"
        OR (CMAKE_C_COMPILER_ID STREQUAL "Clang" AND
            name MATCHES "^src/(kernel/bench_|pmm/(pressure|run_free|run_search|zero_pool)\\.c$)")
        OR (CMAKE_C_COMPILER_ID STREQUAL "Clang" AND
            name MATCHES "^src/vmm/(gather|map_large|pair|replace|sparse|visit|walk_link)\\.c$")
        OR (CMAKE_C_COMPILER_ID STREQUAL "Clang" AND
            name MATCHES "^src/aspace/(empty_block|map|move_page|object_pages|page_index|query)\\.c$")
        OR (CMAKE_C_COMPILER_ID STREQUAL "Clang" AND name MATCHES "^src/aspace/(reverse|tables|unmap)\\.c$")
        OR name MATCHES "^src/aspace/(adopt|aspace|clone|compact|gifts|gifts_graph|gifts_pass|low|make_run)\\.c$"
        OR name MATCHES "^src/aspace/(loans|object|pool|protect|reserve|share|stack)\\.c$"
        OR name MATCHES "^src/aspace/segment(_end|_list)?\\.c$"
        OR name MATCHES "^src/(lib/(badram|fmt|glob|report|status)|arch/x86_64/(features|timer))\\.c$"
        OR name MATCHES ${CAIRN_HEAP_SMALL}
        OR name MATCHES "^src/kernel/heap_debug"
        OR name MATCHES "^src/task/(call_memory|call_segment|call_share|clone|elf|load|task)\\.c$"
        OR name MATCHES "_(check|dump|check_share)\\.c$" OR name MATCHES "^(boot|test/unit)/")
        set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS -Oz)
    elseif(CMAKE_C_COMPILER_ID STREQUAL "GNU" AND
           name MATCHES "^src/pmm/(alloc|opening|run|run_free|take)\\.c$")
        # What is said to be inline is, but not each static function too: 6 KiB, and no call gets longer.
        set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
            "--param=max-inline-insns-single=30;--param=max-inline-insns-auto=10;--param=early-inlining-insns=4")
    elseif(CMAKE_C_COMPILER_ID STREQUAL "Clang" AND NOT name MATCHES "^src/(lib|pmm/share|vmm/arena|vmm/map|vmm/unmap)")
        set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mllvm;-inline-threshold=100") # of 225
    endif()
endforeach()
# These would be compiled into calls to themselves.
set_source_files_properties(${CMAKE_SOURCE_DIR}/src/lib/string.c PROPERTIES
    COMPILE_OPTIONS "-fno-builtin;$<$<C_COMPILER_ID:GNU>:-fno-tree-loop-distribute-patterns>")

function(kernel_image name header)
    add_executable(${name} ${ARGN})
    set_target_properties(${name} PROPERTIES SUFFIX .elf LINK_DEPENDS ${linker_script})
    target_sources(${name} PRIVATE ${header} ${trampoline_object} ${entry_object} ${user_object}
        ${user_copy_object} ${linker_script})
    # The page size is not one: it only says how the file's segments are aligned (boot/kernel.ld).
    target_link_options(${name} PRIVATE
        -nostdlib -static -no-pie -Wl,-T,${linker_script} -Wl,-z,max-page-size=16 -Wl,-z,common-page-size=16
        -Wl,--build-id=none -Wl,--gc-sections -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments -Wl,--orphan-handling=error)
endfunction()
kernel_image(cairn ${header_object} $<TARGET_OBJECTS:kernel_objects>)
kernel_image(cairn-high ${header_high_object} $<TARGET_OBJECTS:kernel_objects>)

# Kernels that break one promise on purpose between the product and its exercises (src/kernel/exercise_port.h): all but
# these is the kernel's own. Built by name alone (scripts/build --break).
set(exercise_sources ${sources})
list(FILTER exercise_sources INCLUDE REGEX "/src/kernel/exercise[^/]*\\.c$")
foreach(name frame-twice foreign-lost heap-overwrite)
    string(TOUPPER ${name} promise)
    string(REPLACE "-" "_" promise ${promise})
    add_library(exercises-${name} OBJECT EXCLUDE_FROM_ALL ${exercise_sources})
    target_link_libraries(exercises-${name} PRIVATE cairn_options)
    target_compile_definitions(exercises-${name} PRIVATE CAIRN_BREAK_${promise})
    kernel_image(break-${name} ${header_object} $<TARGET_OBJECTS:exercises-${name}>
        $<FILTER:$<TARGET_OBJECTS:kernel_objects>,EXCLUDE,/src/kernel/exercise[^/]*$>)
    set_target_properties(break-${name} PROPERTIES EXCLUDE_FROM_ALL TRUE)
endforeach()

if(NOT CAIRN_PMM STREQUAL "cairn")
    target_link_options(cairn PRIVATE ${frames_link_options})
    target_link_options(cairn-high PRIVATE ${frames_link_options})
else()
    # The kernel with all other ways to keep account of frames in it, tested and measured on frames of the PMM's. Built
    # by name alone (scripts/build --rivals).
    set(rivals_sources ${CAIRN_FRAMES_SOURCES} ${CAIRN_FRAMES_KERNEL_SOURCES} ${CAIRN_FRAMES_KERNEL_BENCH_SOURCES}
        src/kernel/cmd_bench.c)
    list(TRANSFORM rivals_sources PREPEND ${CMAKE_SOURCE_DIR}/)
    add_library(rivals_objects OBJECT EXCLUDE_FROM_ALL ${rivals_sources})
    target_link_libraries(rivals_objects PRIVATE cairn_options)
    target_compile_definitions(rivals_objects PRIVATE CAIRN_BENCH_MORE=bench_rivals)
    kernel_image(rivals ${header_object} $<TARGET_OBJECTS:rivals_objects>
        $<FILTER:$<TARGET_OBJECTS:kernel_objects>,EXCLUDE,/src/kernel/cmd_bench[^/]*$>)
    set_target_properties(rivals PROPERTIES EXCLUDE_FROM_ALL TRUE)
    target_link_options(rivals PRIVATE ${frames_link_options})
endif()

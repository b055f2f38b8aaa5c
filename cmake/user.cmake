# Programs for user mode: no C library, no dynamic linking, at a fixed address; each segment with rights of its own, on
# pages of its own, as the loader (src/task/elf.c) wants them.

target_compile_options(cairn_options INTERFACE
    -ffreestanding -fno-pie -mcmodel=small -fno-stack-protector -fcf-protection=none
    -fno-omit-frame-pointer -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections)

list(TRANSFORM CAIRN_RUNTIME_SOURCES PREPEND ${CMAKE_SOURCE_DIR}/)
add_library(runtime OBJECT ${CAIRN_RUNTIME_SOURCES})
target_link_libraries(runtime PRIVATE cairn_options)
# These would be compiled into calls to themselves.
set_source_files_properties(${CMAKE_SOURCE_DIR}/src/lib/string.c PROPERTIES
    COMPILE_OPTIONS "-fno-builtin;$<$<C_COMPILER_ID:GNU>:-fno-tree-loop-distribute-patterns>")

foreach(name IN LISTS CAIRN_PROGRAMS)
    add_executable(${name} ${CMAKE_SOURCE_DIR}/src/user/${name}.c $<TARGET_OBJECTS:runtime>)
    target_link_libraries(${name} PRIVATE cairn_options)
    target_link_options(${name} PRIVATE
        -nostdlib -static $<$<C_COMPILER_ID:GNU>:-no-pie> -Wl,-Ttext-segment=0x400000 -Wl,-z,max-page-size=4096
        -Wl,-z,separate-code -Wl,-z,noexecstack -Wl,-z,norelro -Wl,--build-id=none -Wl,--gc-sections)
endforeach()

# Tasks: the part of sources.cmake that is theirs.
set(CAIRN_TASK_SOURCES
    src/task/call.c
    src/task/call_memory.c
    src/task/call_segment.c
    src/task/call_share.c
    src/task/clone.c
    src/task/elf.c
    src/task/load.c
    src/task/message.c
    src/task/task.c
    src/task/tasks_check.c
    src/task/turns.c)

# Its unit tests: on the host, and in the debug kernel.
set(CAIRN_TASK_TEST_SOURCES
    test/unit/elf_bed.c
    test/unit/elf_test.c
    test/unit/task_bed.c
    test/unit/task_calls_test.c
    test/unit/task_check_test.c
    test/unit/task_clone_test.c
    test/unit/task_life_test.c
    test/unit/task_load_test.c
    test/unit/task_memory_test.c
    test/unit/task_message_test.c
    test/unit/task_nomem_test.c
    test/unit/task_segment_file_test.c
    test/unit/task_segment_test.c)

# On the host only.
set(CAIRN_TASK_HOST_TEST_SOURCES
    test/unit/malloc_again.c
    test/unit/malloc_test.c
    test/unit/task_play.c
    test/unit/task_play_args.c
    test/unit/task_play_calls.c
    test/unit/task_play_game.c
    test/unit/task_play_messages.c
    test/unit/task_play_segments.c
    test/unit/task_random_test.c)

# Programs for user mode, one file each (src/user/NAME.c), and what all of them are linked with. Built by the presets
# user and user-clang (cmake/user.cmake), never part of the kernel.
set(CAIRN_PROGRAMS cow ends files forkbomb fuzz guard hello journal pingpong segments)
set(CAIRN_RUNTIME_SOURCES
    src/lib/fmt.c
    src/lib/status.c
    src/lib/string.c
    src/user/malloc.c
    src/user/pages.c
    src/user/runtime.c)

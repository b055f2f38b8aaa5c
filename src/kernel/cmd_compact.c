/* compact: scattered free frames become whole blocks. */
#include "kernel/cmd.h"
#include "kernel/json.h"
#include "kernel/mover.h"

static void say_json(const struct aspace_compaction *c, uint64_t whole)
{
    struct json j = json_begin(console);
    json_number(&j, "won", c->won);
    json_number(&j, "moved", c->moved);
    json_number(&j, "tried", c->tried);
    json_number(&j, "whole", whole);
    json_object(&j, "refused");
    for (enum aspace_move i = 0; i < ASPACE_MOVES; i++) {
        json_number(&j, aspace_move_name(i), c->refused[i]);
    }
    json_close(&j);
    json_end(&j);
}

static bool run_compact(const struct command_line *line)
{
    uint64_t blocks = UINT64_MAX;
    struct aspace_compaction c;
    if (!cmd_args(line, 0, 1, "[BLOCKS] [-j]") || (line->argc > 1 && !cmd_number(line->argv[1], "blocks", &blocks)) ||
        !cmd_done("compact", mover_compact(blocks, &c))) {
        return false;
    }
    const struct pmm_stats s = pmm_stats(&machine.pmm);
    const uint64_t whole = (s.whole.v + s.untouched.v) / PMM_BLOCK_FRAMES;
    if (line->json) {
        say_json(&c, whole);
        return true;
    }
    const uint64_t tenths = c.won > 0 ? c.moved * 10 / c.won : 0;
    print("compact: %lu pages moved, %lu blocks won, %lu.%lu pages a block; %lu blocks are whole\n", c.moved, c.won,
          tenths / 10, tenths % 10, whole);
    for (enum aspace_move i = 0; i < ASPACE_MOVES; i++) {
        if (c.refused[i] > 0) {
            print("  %lu blocks given up: %s\n", c.refused[i], aspace_move_name(i));
        }
    }
    return true;
}

const struct command cmd_compact[] = {
    {"compact", "[BLOCKS] [-j]", "move pages until blocks of 2 MiB are whole", run_compact},
    {0},
};

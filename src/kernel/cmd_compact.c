/* compact: scattered free frames become whole blocks. region: memory goes at run time, after its pages, and comes. */
#include "kernel/cmd.h"
#include "kernel/json.h"
#include "kernel/mover.h"
#include "lib/string.h"

static void say_moves_json(struct json *j, const struct aspace_compaction *c)
{
    json_number(j, "won", c->won);
    json_number(j, "moved", c->moved);
    json_number(j, "tried", c->tried);
    json_object(j, "refused");
    for (enum aspace_move i = 0; i < ASPACE_MOVES; i++) {
        json_number(j, aspace_move_name(i), c->refused[i]);
    }
    json_close(j);
}

static void say_refused(const struct aspace_compaction *c)
{
    for (enum aspace_move i = 0; i < ASPACE_MOVES; i++) {
        if (c->refused[i] > 0) {
            print("  %lu blocks given up: %s\n", c->refused[i], aspace_move_name(i));
        }
    }
}

/* ---- compact ---- */

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
        struct json j = json_begin(console);
        say_moves_json(&j, &c);
        json_number(&j, "whole", whole);
        json_end(&j);
        return true;
    }
    const uint64_t tenths = c.won > 0 ? c.moved * 10 / c.won : 0;
    print("compact: %lu pages moved, %lu blocks won, %lu.%lu pages a block; %lu blocks are whole\n", c.moved, c.won,
          tenths / 10, tenths % 10, whole);
    say_refused(&c);
    return true;
}

/* ---- region ---- */

struct removal {
    struct pmm_region_stats region;
    struct pmm_in_the_way way; /* where the status is EXISTS */
    struct aspace_compaction moves;
    enum status status;
};

static void say_removal_json(const struct removal *r)
{
    struct json j = json_begin(console);
    json_text(&j, "status", status_name(r->status));
    json_number(&j, "base", pfn_to_paddr(r->region.base).v);
    json_number(&j, "bytes", pages_to_bytes(r->region.frames));
    say_moves_json(&j, &r->moves);
    if (r->status == STATUS_EXISTS) {
        json_object(&j, "in_the_way");
        json_number(&j, "address", pfn_to_paddr(r->way.first).v);
        json_text(&j, "state", pmm_state_name(r->way.what.state));
        json_number(&j, "used", r->way.used.v);
        json_number(&j, "reserved", r->way.reserved.v);
        json_number(&j, "metadata", r->way.metadata.v);
        json_close(&j);
    }
    json_end(&j);
}

static void say_removal(const struct removal *r)
{
    char size[CMD_SIZE_TEXT];
    const uint64_t base = pfn_to_paddr(r->region.base).v;
    print("region: %#lx, %s: %lu pages moved to others\n", base, cmd_size(size, pages_to_bytes(r->region.frames)),
          r->moves.moved);
    if (r->status == STATUS_EXISTS) {
        say_refused(&r->moves);
        print("  in the way: %lu frames used, %lu reserved, %lu metadata, the first of them\n", r->way.used.v,
              r->way.reserved.v, r->way.metadata.v);
        cmd_tell_physical(pfn_to_paddr(r->way.first));
    } else if (r->status == STATUS_OK && mover_may_come_back(&r->region)) {
        print("  it is gone; 'region add %#lx' brings it back\n", base);
    } else if (r->status == STATUS_OK) {
        print("  it is gone for good: it is not whole blocks\n");
    }
}

static bool remove_region(const struct command_line *line, uint64_t index)
{
    struct removal r = {.way = {.first = pfn(0)}};
    r.status = mover_remove_region(index, &r.region, &r.way, &r.moves);
    if (line->json) {
        say_removal_json(&r);
        return r.status == STATUS_OK;
    }
    if (r.status != STATUS_RANGE) {
        say_removal(&r);
    }
    return cmd_done("region remove", r.status);
}

static bool run_region(const struct command_line *line)
{
    static const char usage[] = "remove NUMBER [-j] | add ADDRESS";
    uint64_t number;
    const bool removes = line->argc > 1 && strcmp(line->argv[1], "remove") == 0;
    if (!cmd_args(line, 2, 2, usage) || !cmd_number(line->argv[2], "region", &number)) {
        return false;
    }
    if (!removes && strcmp(line->argv[1], "add") != 0) {
        print("usage: region %s\n", usage);
        return false;
    }
    return removes ? remove_region(line, number)
                   : cmd_done("region add", mover_add_region(paddr_to_pfn(paddr(number))));
}

const struct command cmd_compact[] = {
    {"compact", "[BLOCKS] [-j]", "move pages until blocks of 2 MiB are whole", run_compact},
    {"region", "remove NUMBER [-j] | add ADDRESS", "a region of RAM goes, as 'mem' counts them; it comes back",
     run_region},
    {0},
};

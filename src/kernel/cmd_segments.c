/* The command about segments: who owns them, what is in them, and who may use them. */
#include "aspace/segment.h"
#include "kernel/cmd.h"
#include "kernel/json.h"

enum { LISTED_MAX = 16 }; /* permissions of one that are printed */

struct segment_listing {
    struct json *json; /* null: in words */
    unsigned listed;
};

static bool list_permission(void *ctx, struct aspace *space, unsigned rights)
{
    struct segment_listing *l = ctx;
    char text[CMD_RIGHTS_TEXT];
    cmd_rights_text(text, rights);
    if (l->json != NULL) {
        json_object(l->json, NULL);
        json_number(l->json, "space", space->tables.id);
        json_text(l->json, "rights", text);
        json_close(l->json);
    } else if (l->listed < LISTED_MAX) {
        print("%s space %u %s", l->listed > 0 ? "," : "", space->tables.id, text);
    }
    l->listed++;
    return true;
}

static bool list_segment(void *ctx, const struct segment_info *s)
{
    struct segment_listing l = {.json = ctx};
    const npages_t resident = object_info(s->object).resident;
    char size[CMD_SIZE_TEXT];
    if (l.json != NULL) {
        json_object(l.json, NULL);
        json_number(l.json, "base", s->base.v);
        json_number(l.json, "pages", s->pages.v);
        json_number(l.json, "resident", resident.v);
        json_number(l.json, "owner", s->owner->tables.id);
        json_text(l.json, "tag", s->tag);
        json_list(l.json, "permissions");
    } else {
        print("  %016lx %10lu %10s %10lu  space %u", s->base.v, s->pages.v, cmd_size(size, pages_to_bytes(s->pages)),
              resident.v, s->owner->tables.id);
        cmd_print_task(s->owner, ", ");
        print(": %s:", s->tag);
    }
    segment_visit(&machine.aspaces, s->base, list_permission, &l);
    if (l.json != NULL) {
        json_close(l.json);
        json_close(l.json);
    } else {
        if (l.listed > LISTED_MAX) {
            print(", and %u more", l.listed - LISTED_MAX);
        }
        print("\n");
    }
    return true;
}

static bool run_segments(const struct command_line *line)
{
    if (!cmd_args(line, 0, 0, "[-j]")) {
        return false;
    }
    if (!line->json) {
        print("  %-16s %10s %10s %10s  owner: what for: who may use it\n", "from", "pages", "size", "resident");
        segments_visit(&machine.aspaces, list_segment, NULL);
        return true;
    }
    struct json j = json_begin(console);
    json_list(&j, "segments");
    segments_visit(&machine.aspaces, list_segment, &j);
    json_close(&j);
    json_end(&j);
    return true;
}

const struct command cmd_segments[] = {
    {"segments", "[-j]", "all segments: owner, pages, and who may use them with what rights", run_segments},
    {0},
};

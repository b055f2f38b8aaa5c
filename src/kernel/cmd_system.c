/* Commands about the heap, the counters, the validators, the tests, and the machine as a whole. */
#include "kernel/cmd.h"
#include "kernel/heap_debug.h"
#include "kernel/json.h"
#include "kernel/mover.h"
#include "kernel/selftest.h"
#include "lib/macros.h"
#include "lib/string.h"

/* ---- heap ---- */

static uint64_t heap_waste(const struct heap_stats *s)
{
    return s->held_bytes - s->metadata_bytes - s->used_bytes;
}

static void heap_json(const struct heap_stats *s)
{
    struct heap_class_stats c;
    struct json j = json_begin(console);
    json_number(&j, "used", s->used_bytes);
    json_number(&j, "held", s->held_bytes);
    json_number(&j, "most_held", s->most_held_bytes);
    json_number(&j, "metadata", s->metadata_bytes);
    json_number(&j, "waste", heap_waste(s));
    json_number(&j, "ready", s->ready_bytes);
    json_number(&j, "blocks", s->blocks);
    json_number(&j, "allocs", s->allocs);
    json_number(&j, "frees", s->frees);
    json_number(&j, "misuses", s->misuses);
    json_list(&j, "classes");
    for (unsigned i = 0; heap_class_stats(&machine.heap, i, &c); i++) {
        json_object(&j, NULL);
        json_number(&j, "bytes", c.object_bytes);
        json_number(&j, "slabs", c.slabs);
        json_number(&j, "most_slabs", c.most_slabs);
        json_number(&j, "objects", c.objects);
        json_number(&j, "used", c.used);
        json_close(&j);
    }
    json_close(&j);
    json_end(&j);
}

static const char heap_usage[] = "[leaks] [-j]";

static bool run_heap(const struct command_line *line)
{
    if (!cmd_args(line, 0, 1, heap_usage)) {
        return false;
    }
    if (line->argc == 2) {
        if (strcmp(line->argv[1], "leaks") == 0) {
            return heap_debug_leaks(line->json);
        }
        print("usage: heap %s\n", heap_usage);
        return false;
    }
    struct heap_stats s = heap_stats(&machine.heap);
    if (line->json) {
        heap_json(&s);
        return true;
    }
    char used[CMD_SIZE_TEXT], held[CMD_SIZE_TEXT], metadata[CMD_SIZE_TEXT], most[CMD_SIZE_TEXT];
    print("  used %s (%lu bytes, %lu blocks), held %s (%lu bytes), of it metadata %s\n", cmd_size(used, s.used_bytes),
          s.used_bytes, s.blocks, cmd_size(held, s.held_bytes), s.held_bytes, cmd_size(metadata, s.metadata_bytes));
    print("  waste %lu bytes, %lu of them in pages held ready; held at most %s\n", heap_waste(&s), s.ready_bytes,
          cmd_size(most, s.most_held_bytes));
    print("  %lu allocations, %lu frees, %lu misuses refused\n", s.allocs, s.frees, s.misuses);
    print("  %8s %8s %10s %10s %10s %12s %8s\n", "class", "slabs", "objects", "used", "free", "free bytes", "at most");
    struct heap_class_stats c;
    for (unsigned i = 0; heap_class_stats(&machine.heap, i, &c); i++) {
        if (c.most_slabs > 0) {
            print("  %8lu %8lu %10lu %10lu %10lu %12lu %8lu\n", c.object_bytes, c.slabs, c.objects, c.used,
                  c.objects - c.used, (c.objects - c.used) * c.object_bytes, c.most_slabs);
        }
    }
    return true;
}

/* ---- counters ---- */

enum { COUNTERS = 19 };

struct counter {
    const char *name;
    uint64_t value;
};

/* What the counters said at the last reset. */
static uint64_t at_reset[COUNTERS];

/* All that count up; nothing of the layers is changed by a reset. */
static size_t read_counters(struct counter out[static COUNTERS])
{
    struct pmm_stats p = pmm_stats(&machine.pmm);
    struct heap_stats h = heap_stats(&machine.heap);
    const struct vmm_counters *v = &machine.vmm.counters;
    const struct counter all[] = {
        {"frames_allocated", p.allocated},
        {"frames_freed", p.freed},
        {"table_loads", v->table_loads},
        {"table_stores", v->table_stores},
        {"invlpg", v->invlpg},
        {"cr3_loads", v->cr3_loads},
        {"global_flushes", v->global_flushes},
        {"ipis", v->ipis},
        {"faults", machine.page_faults},
        {"foreign_opens", v->foreign_opens},
        {"foreign_reopens", v->foreign_reopens},
        {"tables_made", v->tables_made},
        {"tables_freed", v->tables_freed},
        {"zero_hits", p.zero_hits},
        {"zero_misses", p.zero_misses},
        {"heap_allocs", h.allocs},
        {"heap_frees", h.frees},
        {"pages_moved", mover_total.moved},
        {"blocks_won", mover_total.won},
    };
    static_assert(ARRAY_LEN(all) == COUNTERS, "one place at the last reset for each");
    memcpy(out, all, sizeof all);
    return COUNTERS;
}

static bool run_counters(const struct command_line *line)
{
    if (!cmd_args(line, 0, 1, "[-j | reset]")) {
        return false;
    }
    struct counter all[COUNTERS];
    size_t count = read_counters(all);
    if (line->argc == 2) {
        if (strcmp(line->argv[1], "reset") != 0) {
            print("usage: counters [-j | reset]\n");
            return false;
        }
        for (size_t i = 0; i < count; i++) {
            at_reset[i] = all[i].value;
        }
        return true;
    }
    if (line->json) {
        struct json j = json_begin(console);
        json_number(&j, "boot_ticks", machine.boot_ticks);
        for (size_t i = 0; i < count; i++) {
            json_number(&j, all[i].name, all[i].value - at_reset[i]);
        }
        json_end(&j);
        return true;
    }
    print("  %-18s %16lu\n", "boot_ticks", machine.boot_ticks);
    for (size_t i = 0; i < count; i++) {
        print("  %-18s %16lu\n", all[i].name, all[i].value - at_reset[i]);
    }
    return true;
}

/* ---- check, test ---- */

static bool check_layer(const char *name, enum status s)
{
    if (s != STATUS_OK) {
        print("check: %s: %s\n", name, status_name(s));
    }
    return s == STATUS_OK;
}

static bool run_check(const struct command_line *line)
{
    if (!cmd_args(line, 0, 0, "")) {
        return false;
    }
    bool ok = check_layer("pmm", pmm_check(&machine.pmm, console));
    ok &= check_layer("vmm", vmm_check(&machine.vmm, console));
    ok &= check_layer("spaces", aspaces_check(&machine.aspaces, console));
    ok &= check_layer("arena", arena_check(&machine.vmm.arena, console));
    ok &= check_layer("tasks", tasks_check(&machine.tasks, console));
    ok &= check_layer("heap", heap_check(&machine.heap, console));
    if (ok) {
        print("check: ok\n");
    }
    return ok;
}

static bool run_test(const struct command_line *line)
{
    return cmd_args(line, 0, 1, "[GLOB]") && selftest_run(line->argc == 2 ? line->argv[1] : NULL);
}

/* ---- the end ---- */

static bool run_poweroff(const struct command_line *line)
{
    return cmd_args(line, 0, 0, "") && (machine_exit(0), true);
}

static bool run_reboot(const struct command_line *line)
{
    return cmd_args(line, 0, 0, "") && (machine_reboot(), true);
}

static bool run_panic(const struct command_line *line)
{
    return cmd_args(line, 0, 0, "") && (panic("asked for at the monitor"), true);
}

const struct command cmd_system[] = {
    {"heap", heap_usage, "size classes: used, held; what is in use, by who allocated it", run_heap},
    {"counters", "[-j | reset]", "table accesses, flushes, frames, faults since the last reset", run_counters},
    {"check", "", "every validator", run_check},
    {"test", "[GLOB]", "the unit tests inside the kernel, as KTAP", run_test},
    {"poweroff", "", "end with status 0", run_poweroff},
    {"reboot", "", "start again", run_reboot},
    {"panic", "", "stop with a report", run_panic},
    {0},
};

/*
 * Bad memory (badram=): told to the watermark allocator before it serves anything. What the loader put into bad frames
 * is there already: it is named and stays.
 */
#include "boot/bad_holds.h"
#include "kernel/console.h"
#include "kernel/init.h"

static struct bad_plan plan;

static uint64_t kib(npages_t n) { return pages_to_bytes(n) / KIB; }

static npages_t ram(void)
{
    npages_t all = npages(0);
    for (size_t i = 0; i < init.run_count; i++) {
        all.v += init.runs[i].frames.v;
    }
    return all;
}

void init_badram_plan(void)
{
    if (machine.options.badram.count == 0) {
        return;
    }
    plan = bad_holds_plan(&machine.options.badram, init.runs, init.run_count);
    if (plan.good.v == 0) {
        panic("all %lu KiB of RAM are bad memory, as badram= has it: nothing is left to work with", kib(ram()));
    }
    if (plan.group_log2 > 0 || plan.end != UINT64_MAX) {
        log_at(LOG_WARN, "bad memory: more stretches than can be kept (BAD_STRETCHES_MAX = %u, BAD_STEPS_MAX = %u)",
               BAD_STRETCHES_MAX, BAD_STEPS_MAX);
    }
    if (plan.group_log2 > 0) {
        log_at(LOG_WARN, "bad memory: so groups of %lu KiB are left unused whole where one frame of them is bad",
               kib(npages(1ULL << plan.group_log2)));
    }
    if (plan.end != UINT64_MAX) {
        npages_t left_out;
        init.run_count = bad_holds_cut(&plan, init.runs, init.run_count, &left_out);
        machine.above_reach.v += left_out.v;
        log_at(LOG_WARN, "bad memory: so all memory from %#lx on, %lu KiB, is left out", pfn_to_paddr(pfn(plan.end)).v,
               kib(left_out));
    }
}

void init_badram_warn(uint64_t start, uint64_t end, const char *what)
{
    pfn_t first;
    if (bad_holds_find(&machine.options.badram, init.runs, init.run_count, start, end, &first)) {
        log_at(LOG_WARN, "bad memory: %s at %#lx-%#lx lies in it, first at %#lx: it cannot be moved and stays in use",
               what, start, end, pfn_to_paddr(first).v);
    }
}

void init_badram_hold(void)
{
    if (machine.options.badram.count == 0) {
        return;
    }
    enum status s = bad_holds_add(&machine.options.badram, &plan, &init.early);
    if (s != STATUS_OK) {
        panic("%lu stretches of bad memory cannot be kept: %s (EARLY_HOLDS_MAX = %u, %lu in use)", plan.stretches,
              status_name(s), EARLY_HOLDS_MAX, init.early.hold_count);
    }
    uint64_t in_use = plan.bad.v;
    for (size_t i = 0; i < init.early.hold_count; i++) {
        in_use -= init.early.holds[i].kind == HOLD_BAD ? init.early.holds[i].frames : 0;
    }
    log_at(LOG_INFO, "bad memory: %lu frames in %lu stretches (badram=), %lu of them in use already", plan.bad.v,
           plan.stretches, in_use);
}

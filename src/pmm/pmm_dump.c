/*
 * Everything in text, for the fire: no locks, no allocation, every list bounded.
 */
#include "pmm/block.h"
#include "pmm/never.h"

static void dump_block(const struct pmm *pmm, const struct pmm_block *b, struct sink *out)
{
    sink_printf(out, "    block %#lx%s: free %u of %u, carved %u, top %#x, mode %u, stack %u, %s, owner %u\n",
                block_of(block_first(pmm, b)), b == &pmm->low ? " below 1 MiB" : "", b->free, b->usable, b->carved,
                b->top, b->mode, b->stack, class_of(b) == 0 ? "kernel" : "user", b->owner);
}

static void dump_stack(const struct pmm *pmm, const struct pmm_region *r, const char *name, unsigned index,
                       uint32_t head, struct sink *out)
{
    uint64_t count = 0;
    uint32_t at = head;
    while (at != PMM_NO_BLOCK && at >= r->base && at < r->watermark && count <= r->blocks) {
        count++;
        at = pmm->blocks[at].next;
    }
    if (count > 0) {
        sink_printf(out, "    %s %u: %lu blocks, first %#x%s\n", name, index, count, head,
                    at == PMM_NO_BLOCK ? "" : ", BROKEN");
    }
}

static void dump_region(const struct pmm *pmm, const struct pmm_region *r, struct sink *out)
{
    sink_printf(out, "  region %zu: blocks %#x + %u, watermark %#x, absent %u, free %lu, never used %lu%s\n",
                (size_t)(r - pmm->regions), r->base, r->blocks, r->watermark, r->absent, r->free, r->untouched,
                r->left_out ? ", left out" : "");
    for (unsigned i = 0; i < PMM_STACKS; i++) {
        dump_stack(pmm, r, "kernel stack", i, r->stacks[0][i], out);
        dump_stack(pmm, r, "user stack", i, r->stacks[1][i], out);
    }
    dump_stack(pmm, r, "idle with holes", 0, r->holed, out);
    dump_stack(pmm, r, "idle and whole", 0, r->whole, out);
    if (has_few_blocks(r) && has_gaps(r)) {
        sink_printf(out, "    never used, a bit each: %#lx\n", r->never);
    }
    uint64_t left = has_few_blocks(r) ? 0 : r->blocks;
    for (uint32_t d = r->gaps; d != PMM_NO_BLOCK && d < r->watermark && left > 0; d = pmm->blocks[d].gap_next, left--) {
        sink_printf(out, "    gap of %u blocks below %#x\n", pmm->blocks[d].gap_blocks, d);
    }
}

void pmm_dump(const struct pmm *pmm, struct sink *out)
{
    struct pmm_stats s = stats_locked(pmm); /* whoever has the lock may be what died */
    sink_printf(out,
                "pmm: ram %lu, free %lu (promised %lu, emergency %lu, cached %lu), used %lu, metadata %lu, earmarked "
                "%lu, reserved %lu frames%s\n",
                s.ram.v, s.free.v, s.promised.v, s.emergency.v, s.cached.v, s.used.v, s.metadata.v, s.earmarked.v,
                s.reserved.v, pmm->broken ? ", BROKEN" : "");
    sink_printf(out, "  allocated %lu, freed %lu, units %lu, fixed %ld, current:\n", s.allocated, s.freed, pmm->units,
                pmm->metadata_fixed);
    for (unsigned i = 0; i < pmm->node_count * PMM_CLASSES && i < PMM_NODES_MAX * PMM_CLASSES; i++) {
        const struct pmm_block *b = pmm->current[i / PMM_CLASSES][i % PMM_CLASSES];
        if (b != &pmm->none) {
            dump_block(pmm, b, out);
        }
    }
    for (size_t i = 0; i < pmm->cpu_count; i++) {
        const struct pmm_cpu *cpu = &pmm->cpus[i];
        sink_printf(out, "  CPU %zu: kernel %u + %u cached, user %u + %u%s\n", i, magazine_count(&cpu->loaded[0]),
                    magazine_count(&cpu->second[0]), magazine_count(&cpu->loaded[1]), magazine_count(&cpu->second[1]),
                    cpu->inside != 0 ? ", inside" : "");
    }
    if (pmm->low.mode != PMM_BLOCK_NEVER) {
        dump_block(pmm, &pmm->low, out);
    }
    for (size_t place = 0; place < pmm->region_count && place < pmm->region_capacity; place++) {
        dump_region(pmm, region_at(pmm, place), out);
    }
    for (size_t i = 0; i < pmm->hold_count; i++) {
        sink_printf(out, "  hold %#lx + %u, kind %u\n", pmm->holds[i].first.v, pmm->holds[i].frames,
                    pmm->holds[i].kind);
    }
}

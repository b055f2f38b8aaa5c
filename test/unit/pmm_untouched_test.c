/*
 * No frame of the managed memory, but those behind its metadata, is ever read or written by the PMM, nor can it be: no
 * mapping of a free frame exists. In the kernel only, on the machine's own memory: free frames are filled with a
 * pattern, every call of the PMM is made, every byte must be what it was.
 *
 * The frames that become metadata meanwhile are known from the backing, which is listened to. Two frames of the machine
 * stay bad, the first time that the test runs.
 */
#include "kernel/machine.h"
#include "pmm/pmm_pressure.h"
#include "unit/pmm_every_call.h"

enum {
    FILLED_MAX = 65536,       /* frames; of machines with more only the beginning of each free stretch is filled, */
    FILLED_OF_STRETCH = 8192, /* so much of it: the PMM opens blocks from their beginning */
    STRETCHES_MAX = 4000,
    METADATA_MAX = 2048,
    FRAME_WORDS = PAGE_BYTES / sizeof(uint64_t),
};

static struct {
    struct frame_run stretches[STRETCHES_MAX]; /* filled */
    size_t count;
    uint64_t frames; /* in them */
    uint64_t quota;  /* of a stretch */
    uint64_t metadata[METADATA_MAX]; /* frames */
    size_t metadata_count;
    struct every_call all;
} *own; /* pages of the test */

/* ---- The frames behind the metadata ---- */

static struct pmm_backing backing; /* the machine's */

static enum status listening_back(void *ctx, const void *page, const pfn_t *frames, npages_t n)
{
    for (uint64_t i = 0; i < n.v && own->metadata_count < METADATA_MAX; i++) {
        own->metadata[own->metadata_count++] = frames[i].v;
    }
    return backing.back(ctx, page, frames, n);
}

static bool became_metadata(uint64_t frame)
{
    for (size_t i = 0; i < own->metadata_count; i++) {
        if (own->metadata[i] == frame) {
            return true;
        }
    }
    return false;
}

/* ---- The pattern ---- */

static uint64_t word_of(uint64_t frame, uint64_t i)
{
    return (frame ^ 0xCA12) * 0x9E3779B97F4A7C15 + i * 0xD1342543DE82EF95;
}

static bool collect(void *ctx, pfn_t first, npages_t frames, enum pmm_state state)
{
    (void)ctx;
    if (state != PMM_STATE_FREE && state != PMM_STATE_UNTOUCHED) {
        return true;
    }
    uint64_t n = frames.v < own->quota ? frames.v : own->quota;
    n = n < FILLED_MAX - own->frames ? n : FILLED_MAX - own->frames;
    own->stretches[own->count++] = (struct frame_run){first, npages(n)};
    own->frames += n;
    return own->count < STRETCHES_MAX && own->frames < FILLED_MAX;
}

static bool fill(uint64_t frame)
{
    vaddr_t page;
    if (!EXPECT(temp_map(&machine.vmm, pfn(frame), &page) == STATUS_OK)) {
        return false;
    }
    uint64_t *words = vaddr_to_ptr(page);
    for (uint64_t i = 0; i < FRAME_WORDS; i++) {
        words[i] = word_of(frame, i);
    }
    return EXPECT(temp_unmap(&machine.vmm, page) == STATUS_OK);
}

static bool verify(uint64_t frame)
{
    vaddr_t page;
    if (!EXPECT(temp_map(&machine.vmm, pfn(frame), &page) == STATUS_OK)) {
        return false;
    }
    const uint64_t *words = vaddr_to_ptr(page);
    uint64_t wrong = 0;
    while (wrong < FRAME_WORDS && words[wrong] == word_of(frame, wrong)) {
        wrong++;
    }
    uint64_t there = wrong < FRAME_WORDS ? words[wrong] : 0;
    bool unmapped = EXPECT(temp_unmap(&machine.vmm, page) == STATUS_OK);
    if (wrong < FRAME_WORDS && !became_metadata(frame)) {
        test_note("frame %#lx, word %lu: %#lx is there", frame, wrong, there);
        return EXPECT(wrong == FRAME_WORDS);
    }
    return unmapped;
}

static bool for_each_filled(bool (*visit)(uint64_t frame))
{
    for (size_t s = 0; s < own->count; s++) {
        for (uint64_t i = 0; i < own->stretches[s].frames.v; i++) {
            if (!visit(own->stretches[s].first.v + i)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- Mappings ---- */

static bool maps_no_free_frame(void *ctx, const struct vmm_mapping *m)
{
    bool *ok = ctx;
    for (uint64_t i = 0; i < m->pages.v; i++) {
        struct pmm_frame f = pmm_query(&machine.pmm, pfn_add(paddr_to_pfn(m->address), i));
        if (f.state == PMM_STATE_FREE || f.state == PMM_STATE_UNTOUCHED || f.state == PMM_STATE_CACHED) {
            *ok = false;
            test_note("%#lx maps frame %#lx, which is %s", vaddr_add_pages(m->base, i).v,
                      paddr_to_pfn(m->address).v + i, pmm_state_name(f.state));
            return false;
        }
    }
    return true;
}

static bool no_free_frame_is_mapped(void)
{
    bool ok = true;
    for (struct space *s = &machine.vmm.kernel; s != NULL; s = s->next) {
        vmm_visit(&machine.vmm, s, vaddr(0), vaddr(0), maps_no_free_frame, &ok);
    }
    return EXPECT(ok);
}

/* ---- The test ---- */

TEST(pmm_untouched, no_call_reads_or_writes_a_frame_and_no_free_frame_is_mapped)
{
    own = test_pages(bytes_to_pages_up(sizeof *own).v);
    REQUIRE(own != NULL);
    pmm_drain(&machine.pmm);
    struct pmm_stats before = pmm_stats(&machine.pmm);
    own->quota = before.free.v <= FILLED_MAX ? FILLED_MAX : FILLED_OF_STRETCH;
    pmm_walk(&machine.pmm, collect, NULL);
    REQUIRE(own->frames > 0 && no_free_frame_is_mapped() && for_each_filled(fill));

    backing = machine.pmm.backing;
    machine.pmm.backing.back = listening_back;
    own->all.pmm = &machine.pmm;
    own->all.rng = rng_seeded(test_seed());
    own->all.free = own->stretches[own->count - 1];
    own->all.look = no_free_frame_is_mapped;
    bool made = every_call(&own->all);
    machine.pmm.backing = backing;
    pmm_drain(&machine.pmm);
    REQUIRE(made && for_each_filled(verify));

    EXPECT(own->metadata_count < METADATA_MAX);
    struct pmm_stats after = pmm_stats(&machine.pmm);
    EXPECT_EQ(after.free.v + after.bad.v, before.free.v + before.bad.v);
    EXPECT_EQ(after.used.v, before.used.v);
    EXPECT_EQ(pmm_check(&machine.pmm, NULL), STATUS_OK);
    test_note("%lu frames filled (%lu KiB can be handed out), %lu became metadata", own->frames,
              pages_to_bytes(before.free) / KIB, own->metadata_count);
}

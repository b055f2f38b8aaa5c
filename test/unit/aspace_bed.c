/* The bed of tests of spaces. */
#include "unit/aspace_bed.h"

#include "arch/arch.h"
#include "arch/layout.h"
#include "aspace/mapping.h"
#include "pmm/pmm_pressure.h"

static struct aspace *spaces_of(struct aspace_bed *bed, unsigned i)
{
    struct aspace *const all[ASPACE_BED_SPACES] = {&bed->a, &bed->b, &bed->c};
    return all[i];
}

bool aspace_bed_open(struct aspace_bed *bed)
{
    memset(bed, 0, sizeof *bed);
    bed->vmm = test_vmm();
    if (bed->vmm == NULL) {
        return false;
    }
    pmm_drain(bed->vmm->pmm);
    bed->home = bed->vmm->current;
    pfn_t zero;
    if (pmm_zero_frame(bed->vmm->pmm, &zero) == STATUS_ABSENT) { /* it stays for good */
        if (!EXPECT_OK(pmm_alloc(bed->vmm->pmm, PMM_KERNEL, &zero)) || !EXPECT_OK(frame_zero(bed->vmm, zero)) ||
            !EXPECT_OK(pmm_zero_frame_set(bed->vmm->pmm, zero))) {
            return false;
        }
    }
    bed->frames = vmm_bed_frames(bed->vmm);
    bool ok = EXPECT_OK(aspaces_init(&bed->system, bed->vmm));
    for (unsigned i = 0; i < ASPACE_BED_SPACES && ok; i++) {
        ok = EXPECT_OK(aspace_create(&bed->system, spaces_of(bed, i), (struct aspace_limits){0}));
    }
    return ok;
}

bool aspace_bed_check(struct aspace_bed *bed)
{
    static char text[2048];
    struct buffer_sink b;
    buffer_sink_init(&b, text, sizeof text);
    bool ok = aspaces_check(&bed->system, &b.sink) == STATUS_OK;
    if (!ok) {
        test_note("aspaces_check: %s", text);
    }
    return vmm_bed_check(bed->vmm) && ok;
}

uint64_t aspace_bed_frames(const struct aspace_bed *bed)
{
    return vmm_bed_frames(bed->vmm) - bed->system.stock.count - bed->system.stock.drawn;
}

void aspace_bed_close(struct aspace_bed *bed)
{
    EXPECT(aspace_bed_check(bed));
    EXPECT_OK(space_switch(bed->vmm, bed->home));
    for (unsigned i = 0; i < ASPACE_BED_SPACES; i++) {
        if (spaces_of(bed, i)->system != NULL) {
            EXPECT_OK(aspace_destroy(spaces_of(bed, i)));
        }
    }
    EXPECT(aspace_bed_check(bed));
    EXPECT_OK(aspaces_end(&bed->system));
    EXPECT_EQ(vmm_bed_frames(bed->vmm), bed->frames);
}

void aspace_bed_switch(struct aspace_bed *bed, struct aspace *space)
{
    EXPECT_OK(space_switch(bed->vmm, &space->tables));
}

struct aspace_request want(npages_t pages, unsigned rights, unsigned flags)
{
    return (struct aspace_request){.pages = pages, .rights = rights, .flags = flags, .tag = "test"};
}

struct aspace_request want_at(uint64_t va, npages_t pages, unsigned rights, unsigned flags)
{
    struct aspace_request r = want(pages, rights, flags | ASPACE_AT);
    r.va = vaddr(va);
    return r;
}

struct aspace_request want_object(struct object *object, uint64_t first, npages_t pages, unsigned rights,
                                  unsigned flags)
{
    struct aspace_request r = want(pages, rights, flags);
    r.object = object;
    r.first = first;
    return r;
}

vaddr_t map_it(struct aspace *space, struct aspace_request request)
{
    vaddr_t va = vaddr(0);
    EXPECT_OK(aspace_map(space, &request, &va));
    return va;
}

/* ---- All that can be seen ---- */

static void mix(uint64_t *digest, uint64_t word)
{
    *digest = (*digest ^ word) * 0x9E3779B97F4A7C15;
    *digest ^= *digest >> 29;
}

static bool mix_pages(void *ctx, const struct vmm_mapping *m)
{
    mix(ctx, m->base.v);
    mix(ctx, m->address.v);
    mix(ctx, m->pages.v);
    mix(ctx, m->rights);
    return true;
}

static bool mix_mapping(void *ctx, const struct aspace_query *m)
{
    mix(ctx, m->base.v);
    mix(ctx, m->pages.v);
    mix(ctx, m->rights | (uint64_t)m->allowed << 8 | (uint64_t)m->flags << 16);
    mix(ctx, m->sealed);
    mix(ctx, m->giver | (uint64_t)m->room_pages << 32);
    mix(ctx, ptr_to_vaddr(m->tag).v);
    mix(ctx, ptr_to_vaddr(m->object).v);
    mix(ctx, m->page);
    if (m->object != NULL) {
        const struct object_info i = object_info(m->object);
        mix(ctx, i.pages.v);
        mix(ctx, i.holders);
        mix(ctx, i.global.v);
    }
    return true;
}

uint64_t aspace_bed_digest(struct aspace_bed *bed)
{
    uint64_t digest = 1;
    for (struct aspace *space = bed->system.first; space != NULL; space = space->next) {
        mix(&digest, space->tables.id);
        mix(&digest, space->pages.v);
        mix(&digest, space->ranges);
        mix(&digest, space->limits.pages.v);
        mix(&digest, space->limits.ranges);
        aspace_visit(space, mix_mapping, &digest);
        vmm_visit(bed->vmm, &space->tables, vaddr(0), vaddr(LAYOUT_USER_END), mix_pages, &digest);
    }
    mix(&digest, bed->system.objects.used);
    mix(&digest, bed->system.global.used.v);
    return digest;
}

static bool note_mapping(void *ctx, const struct aspace_query *m)
{
    test_note("space %u: %#lx, %lu pages, rights %x of %x, flags %x%s, object %p page %lu", *(unsigned *)ctx,
              m->base.v, m->pages.v, m->rights, m->allowed, m->flags, m->sealed ? ", sealed" : "",
              (void *)m->object, m->page);
    return true;
}

void aspace_bed_note(struct aspace *space) { aspace_visit(space, note_mapping, &space->tables.id); }

/* ---- A pager ---- */

static enum status fill(void *ctx, uint64_t page, pfn_t frame)
{
    struct test_pager *p = ctx;
    if (p->answer != STATUS_OK) {
        return p->answer;
    }
    vaddr_t at;
    enum status s = frame_zero(p->vmm, frame);
    s = s == STATUS_OK ? temp_map(p->vmm, frame, &at) : s;
    if (s != STATUS_OK) {
        return s;
    }
    for (uint64_t i = 0; i < TABLE_ENTRIES; i++) {
        arch_write64(vaddr_add(at, i * sizeof(uint64_t)), p->seed + page);
    }
    p->filled++;
    return temp_unmap(p->vmm, at);
}

static void gone(void *ctx) { ((struct test_pager *)ctx)->gone++; }

struct pager test_pager(struct test_pager *p, struct vmm *vmm, uint64_t seed)
{
    *p = (struct test_pager){.vmm = vmm, .seed = seed};
    return (struct pager){.name = "test", .ctx = p, .fill = fill, .gone = gone};
}

/*
 * Kernel pages whose addresses come from the pool. In the kernel it is the one that the heap uses: others have pieces
 * in it.
 */
#include "arch/arch.h"
#include "lib/glob.h"
#include "unit/vmm_bed.h"

/* What the pool serves. */
static const struct shape {
    uint64_t pages;
    unsigned flags;
} shapes[] = {{1, KPAGES_POOLED}, {1, KPAGES_POOLED | KPAGES_GUARDED}, {4, KPAGES_POOLED}};

static bool is_guarded(const struct shape *shape) { return (shape->flags & KPAGES_GUARDED) != 0; }

static bool is_pooled(const struct vmm_bed *bed, vaddr_t va)
{
    struct page_pool_piece piece;
    return page_pool_find(&bed->vmm->pool, va, &piece);
}

static vaddr_t take(struct vmm_bed *bed, const struct shape *shape, unsigned more_flags)
{
    vaddr_t base = vaddr(0);
    const unsigned flags = shape->flags | more_flags;
    EXPECT_OK(kpages_alloc(bed->vmm, npages(shape->pages), ARENA_ALIGN_PAGE, flags, "pooled", &base));
    return base;
}

/* They are mapped, hold `number` and on, and are found by each of their addresses; guards are found and not mapped. */
static void expect_there(struct vmm_bed *bed, const struct shape *shape, vaddr_t base, uint64_t number)
{
    struct kpages_info info;
    for (uint64_t i = 0; i < shape->pages; i++) {
        const vaddr_t page = vaddr_add_pages(base, i);
        EXPECT_EQ(arch_read64(page), number + i);
        for (uint64_t offset = 0; offset < PAGE_BYTES; offset += PAGE_BYTES - 1) {
            EXPECT(kpages_find(bed->vmm, vaddr_add(page, offset), &info) && info.base.v == base.v &&
                   info.pages.v == shape->pages && !info.in_guard && !info.above);
            EXPECT(strcmp(info.tag, bed->vmm->pool.tag) == 0);
        }
    }
    const vaddr_t end = vaddr_add_pages(base, shape->pages), below = vaddr(base.v - PAGE_BYTES);
    for (uint64_t offset = 0; offset < PAGE_BYTES; offset += PAGE_BYTES - 1) {
        const bool above_found = kpages_find(bed->vmm, vaddr_add(end, offset), &info);
        EXPECT_EQ(above_found && info.base.v == base.v, is_guarded(shape));
        EXPECT(!is_guarded(shape) || (info.in_guard && info.above && info.pages.v == 1));
        const bool below_found = kpages_find(bed->vmm, vaddr_add(below, offset), &info);
        EXPECT_EQ(below_found && info.base.v == base.v, is_guarded(shape));
        EXPECT(!is_guarded(shape) || (info.in_guard && !info.above && info.pages.v == 1));
    }
    EXPECT(!is_guarded(shape) || (!vmm_bed_is_mapped(bed, end) && !vmm_bed_is_mapped(bed, below)));
}

static void number(const struct shape *shape, vaddr_t base, uint64_t from)
{
    for (uint64_t i = 0; i < shape->pages; i++) {
        arch_write64(vaddr_add_pages(base, i), from + i);
    }
}

/* Neither mapped nor anybody's, guards included. */
static void expect_gone(struct vmm_bed *bed, const struct shape *shape, vaddr_t base)
{
    const uint64_t guard = is_guarded(shape) ? 1 : 0;
    for (uint64_t i = 0; i < guard + shape->pages + guard; i++) {
        const vaddr_t page = vaddr_add_pages(base, i - guard);
        struct kpages_info info;
        EXPECT(!kpages_find(bed->vmm, page, &info) && !is_pooled(bed, page) && !vmm_bed_is_mapped(bed, page));
    }
}

TEST(vmm, pooled_kernel_pages_are_mapped_found_and_freed)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        const struct shape *shape = &shapes[i];
        const uint64_t used = bed.vmm->pool.used;
        const vaddr_t base = take(&bed, shape, KPAGES_ZEROED);
        EXPECT(is_pooled(&bed, base) && bed.vmm->pool.used == used + 1);
        for (uint64_t page = 0; page < shape->pages; page++) {
            EXPECT_EQ(arch_read64(vaddr_add_pages(base, page)), 0);
        }
        number(shape, base, 100);
        expect_there(&bed, shape, base, 100);
        struct vmm_walk w;
        EXPECT_OK(vmm_translate(bed.vmm, &bed.b, base, &w));
        EXPECT_EQ(w.rights, VMM_READ | VMM_WRITE);
        const vaddr_t large = take(&bed, shape, KPAGES_LARGE); /* too small for that */
        EXPECT(is_pooled(&bed, large) && vmm_bed_is_mapped(&bed, large));
        EXPECT_OK(kpages_free(bed.vmm, large));
        EXPECT_OK(kpages_free(bed.vmm, base));
        expect_gone(&bed, shape, base);
        EXPECT_EQ(bed.vmm->pool.used, used);
        EXPECT(vmm_bed_check(bed.vmm));
    }
    vmm_bed_close(&bed);
}

TEST(vmm, many_pooled_kernel_pages_keep_what_is_written_to_them)
{
    enum { MANY = 150, STEP = 37 /* prime to it */ };
    static vaddr_t bases[MANY];
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (unsigned i = 0; i < MANY; i++) {
        bases[i] = take(&bed, &shapes[i % 3], 0);
        number(&shapes[i % 3], bases[i], 10ULL * i);
    }
    EXPECT(vmm_bed_check(bed.vmm));
    for (unsigned i = 0; i < MANY; i++) {
        const unsigned k = i * STEP % MANY;
        expect_there(&bed, &shapes[k % 3], bases[k], 10ULL * k);
        EXPECT_OK(kpages_free(bed.vmm, bases[k]));
        expect_gone(&bed, &shapes[k % 3], bases[k]);
    }
    vmm_bed_close(&bed);
}

TEST(vmm, what_the_pool_does_not_serve_comes_from_the_arena)
{
    static const struct {
        uint64_t pages;
        unsigned align_more, flags;
    } others[] = {{2, 0, KPAGES_POOLED},
                  {3, 0, KPAGES_POOLED | KPAGES_GUARDED},
                  {4, 0, KPAGES_POOLED | KPAGES_GUARDED},
                  {5, 0, KPAGES_POOLED},
                  {64, 0, KPAGES_POOLED},
                  {1, 1, KPAGES_POOLED},
                  {1, 1, KPAGES_POOLED | KPAGES_GUARDED},
                  {4, 2, KPAGES_POOLED},
                  {1, 0, 0}, /* who did not ask for it */
                  {1, 0, KPAGES_GUARDED},
                  {4, 0, 0}};
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const uint64_t used = bed.vmm->pool.used;
    for (unsigned i = 0; i < ARRAY_LEN(others); i++) {
        vaddr_t base = vaddr(0);
        struct kpages_info info;
        EXPECT_OK(kpages_alloc(bed.vmm, npages(others[i].pages), ARENA_ALIGN_PAGE + others[i].align_more,
                               others[i].flags, "alone", &base));
        EXPECT(kpages_find(bed.vmm, base, &info) && info.base.v == base.v && info.pages.v == others[i].pages);
        EXPECT(strcmp(info.tag, "alone") == 0 && !is_pooled(&bed, base) && bed.vmm->pool.used == used);
        EXPECT_EQ(vaddr_page_number(base) % (1ULL << others[i].align_more), 0);
        EXPECT_OK(kpages_free(bed.vmm, base));
    }
    vaddr_t base = vaddr(1);
    EXPECT_EQ(kpages_alloc(bed.vmm, npages(0), ARENA_ALIGN_PAGE, KPAGES_POOLED, "t", &base), STATUS_INVALID);
    EXPECT_EQ(kpages_alloc(bed.vmm, npages(1), ARENA_ALIGN_PAGE - 1, KPAGES_POOLED, "t", &base), STATUS_INVALID);
    EXPECT_EQ(kpages_alloc(bed.vmm, npages(1), ARENA_ALIGN_PAGE, KPAGES_POOLED, NULL, &base), STATUS_INVALID);
    EXPECT_EQ(kpages_alloc(bed.vmm, npages(UINT64_MAX), ARENA_ALIGN_PAGE, KPAGES_POOLED, "t", &base), STATUS_NOMEM);
    EXPECT(base.v == 1 && bed.vmm->pool.used == used);
    vmm_bed_close(&bed);
}

/* The pool takes no more: its kinds come from the arena too, under their own tag. */
TEST_HOST(vmm, a_full_pool_leaves_it_to_the_arena)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(kpages_free(bed.vmm, take(&bed, &shapes[0], 0)));
    struct page_pool *pool = &bed.vmm->pool;
    vaddr_t page;
    for (unsigned i = 0; i < PAGE_POOL_FANOUT * PAGE_POOL_SPAN_PAGES / 4; i++) {
        (void)!page_pool_get(pool, PAGE_POOL_FOUR, &page);
    }
    EXPECT_EQ(pool->span_count, PAGE_POOL_FANOUT);
    const uint64_t used = pool->used;
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        vaddr_t base = vaddr(0);
        struct kpages_info info;
        EXPECT_OK(kpages_alloc(bed.vmm, npages(shapes[i].pages), ARENA_ALIGN_PAGE, shapes[i].flags, "late", &base));
        EXPECT(kpages_find(bed.vmm, base, &info) && info.base.v == base.v && info.pages.v == shapes[i].pages);
        EXPECT(strcmp(info.tag, "late") == 0 && !is_pooled(&bed, base) && pool->used == used);
        EXPECT_EQ(kpages_find(bed.vmm, vaddr(base.v - 1), &info) && info.in_guard, is_guarded(&shapes[i]));
        EXPECT_OK(kpages_free(bed.vmm, base));
    }
    test_expect_reports(1);
    EXPECT_EQ(kpages_free(bed.vmm, page), STATUS_MISUSE); /* in use, but nothing is mapped there */
    EXPECT(glob_match("kpages_free: * are not all mapped: *", test_last_report()));
    EXPECT(is_pooled(&bed, page) && pool->used == used);
    vmm_bed_close(&bed);
}

/* ---- More or fewer ---- */

TEST(vmm, pooled_kernel_pages_keep_their_length_where_they_are)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        const struct shape *shape = &shapes[i];
        const vaddr_t base = take(&bed, shape, 0);
        number(shape, base, 7);
        const uint64_t used = bed.vmm->pool.used, arena_used = bed.vmm->arena.used.v;
        const uint64_t held = vmm_bed_frames(bed.vmm);
        for (uint64_t more = 1; more < 100; more *= 3) {
            EXPECT_EQ(kpages_grow(bed.vmm, base, npages(shape->pages + more)), STATUS_EXISTS);
        }
        EXPECT_EQ(kpages_grow(bed.vmm, base, npages(UINT64_MAX)), STATUS_EXISTS);
        for (uint64_t pages = 0; pages <= shape->pages; pages++) {
            EXPECT_EQ(kpages_grow(bed.vmm, base, npages(pages)), STATUS_INVALID);
        }
        EXPECT_EQ(kpages_trim(bed.vmm, base, npages(0)), STATUS_INVALID);
        EXPECT_EQ(kpages_trim(bed.vmm, base, npages(shape->pages)), STATUS_INVALID);
        EXPECT_EQ(kpages_trim(bed.vmm, base, npages(UINT64_MAX)), STATUS_INVALID);
        expect_there(&bed, shape, base, 7);
        EXPECT(bed.vmm->pool.used == used && bed.vmm->arena.used.v == arena_used);
        EXPECT_EQ(vmm_bed_frames(bed.vmm), held);
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_OK(kpages_free(bed.vmm, base));
    }
    vmm_bed_close(&bed);
}

/* Frames and contents go along, the pool has its piece back, and what comes of it is the arena's. */
TEST(vmm, pooled_kernel_pages_move_out_of_the_pool)
{
    static const struct {
        unsigned shape;
        uint64_t pages;
        unsigned align_more;
    } moves[] = {{0, 1, 0}, {0, 5, 0}, {0, 2, 3}, {1, 1, 0}, {1, 3, 0}, {2, 4, 0}, {2, 9, 0}, {2, 600, 9}};
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (unsigned i = 0; i < ARRAY_LEN(moves); i++) {
        const struct shape *shape = &shapes[moves[i].shape];
        const uint64_t used = bed.vmm->pool.used;
        const vaddr_t base = take(&bed, shape, 0);
        number(shape, base, 50);
        const uint64_t frame = vmm_bed_frame_of(&bed, bed.vmm->current, base);
        const uint64_t arena_used = bed.vmm->arena.used.v;
        vaddr_t moved = vaddr(0);
        EXPECT_OK(kpages_move(bed.vmm, base, npages(moves[i].pages), ARENA_ALIGN_PAGE + moves[i].align_more, &moved));
        expect_gone(&bed, shape, base);
        EXPECT(!is_pooled(&bed, moved) && bed.vmm->pool.used == used);
        EXPECT_EQ(bed.vmm->arena.used.v, arena_used + moves[i].pages + (is_guarded(shape) ? 2 : 0));
        EXPECT_EQ(vaddr_page_number(moved) % (1ULL << moves[i].align_more), 0);
        EXPECT_EQ(vmm_bed_frame_of(&bed, bed.vmm->current, moved), frame);
        for (uint64_t page = 0; page < shape->pages; page++) {
            EXPECT_EQ(arch_read64(vaddr_add_pages(moved, page)), 50 + page);
        }
        EXPECT(vmm_bed_is_mapped(&bed, vaddr_add_pages(moved, moves[i].pages - 1)));
        struct kpages_info info;
        EXPECT(kpages_find(bed.vmm, moved, &info) && info.base.v == moved.v && info.pages.v == moves[i].pages);
        EXPECT_EQ(kpages_find(bed.vmm, vaddr(moved.v - 1), &info) && info.in_guard && info.base.v == moved.v,
                  is_guarded(shape));
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_OK(kpages_free(bed.vmm, moved));
    }
    vmm_bed_close(&bed);
}

/* ---- Memory is short ---- */

/* With every number of frames that is too few nothing is handed out, and nothing is lost. */
TEST(vmm, pooled_kernel_pages_come_all_or_none)
{
    enum { ENOUGH = 24 };
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        const uint64_t used = bed.vmm->pool.used, frames = vmm_bed_frames(bed.vmm);
        enum status s = STATUS_NOMEM;
        vaddr_t base;
        uint64_t few = 0;
        for (; s != STATUS_OK && few < ENOUGH; few++) {
            base = vaddr(1);
            const npages_t taken = vmm_bed_limit(&bed, few);
            s = kpages_alloc(bed.vmm, npages(shapes[i].pages), ARENA_ALIGN_PAGE, shapes[i].flags, "pooled", &base);
            vmm_bed_unlimit(&bed, taken);
            EXPECT(s == STATUS_OK || (s == STATUS_NOMEM && base.v == 1));
            EXPECT_EQ(bed.vmm->pool.used, used + (s == STATUS_OK));
            EXPECT(s == STATUS_OK || vmm_bed_frames(bed.vmm) == frames);
            EXPECT(vmm_bed_check(bed.vmm));
        }
        REQUIRE(s == STATUS_OK && few > shapes[i].pages);
        number(&shapes[i], base, 3);
        expect_there(&bed, &shapes[i], base, 3);
        const npages_t taken = vmm_bed_limit(&bed, 0);
        EXPECT_OK(kpages_free(bed.vmm, base)); /* which needs none */
        vmm_bed_unlimit(&bed, taken);
        expect_gone(&bed, &shapes[i], base);
    }
    vmm_bed_close(&bed);
}

TEST(vmm, pooled_kernel_pages_move_all_or_not_at_all)
{
    enum { MORE = 3 };
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        const vaddr_t base = take(&bed, &shapes[i], 0);
        number(&shapes[i], base, 20);
        const uint64_t used = bed.vmm->pool.used, arena_used = bed.vmm->arena.used.v;
        vaddr_t moved = vaddr(1);
        for (uint64_t few = 0; few < MORE; few++) {
            const npages_t taken = vmm_bed_limit(&bed, few);
            EXPECT_EQ(kpages_move(bed.vmm, base, npages(shapes[i].pages + MORE), ARENA_ALIGN_PAGE, &moved),
                      STATUS_NOMEM);
            vmm_bed_unlimit(&bed, taken);
            EXPECT(moved.v == 1 && bed.vmm->pool.used == used && bed.vmm->arena.used.v == arena_used);
            expect_there(&bed, &shapes[i], base, 20);
            EXPECT(vmm_bed_check(bed.vmm));
        }
        EXPECT_EQ(kpages_move(bed.vmm, base, npages(UINT64_MAX), ARENA_ALIGN_PAGE, &moved), STATUS_NOMEM);
        EXPECT_EQ(kpages_move(bed.vmm, base, npages(9), ARENA_ALIGN_PAGE - 1, &moved), STATUS_INVALID);
        EXPECT_EQ(kpages_move(bed.vmm, base, npages(shapes[i].pages - 1), ARENA_ALIGN_PAGE, &moved), STATUS_INVALID);
        expect_there(&bed, &shapes[i], base, 20);
        EXPECT_OK(kpages_free(bed.vmm, base));
    }
    vmm_bed_close(&bed);
}

/* ---- Misuse ---- */

/* Not the base of kernel pages: each call says so. */
static void expect_misuse(struct vmm_bed *bed, vaddr_t va)
{
    const uint64_t used = bed->vmm->pool.used;
    vaddr_t moved = vaddr(1);
    test_expect_reports(test_reports() + 4);
    EXPECT_EQ(kpages_free(bed->vmm, va), STATUS_MISUSE);
    EXPECT(glob_match("kpages_free: 0x* is not the base of kernel pages", test_last_report()));
    EXPECT_EQ(kpages_grow(bed->vmm, va, npages(9)), STATUS_MISUSE);
    EXPECT_EQ(kpages_trim(bed->vmm, va, npages(1)), STATUS_MISUSE);
    EXPECT_EQ(kpages_move(bed->vmm, va, npages(9), ARENA_ALIGN_PAGE, &moved), STATUS_MISUSE);
    EXPECT(moved.v == 1 && bed->vmm->pool.used == used);
}

TEST(vmm, what_is_no_base_of_pooled_kernel_pages_is_refused)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        const struct shape *shape = &shapes[i];
        const vaddr_t base = take(&bed, shape, 0), other = take(&bed, shape, 0);
        number(shape, base, 60);
        EXPECT_OK(kpages_free(bed.vmm, other));
        expect_misuse(&bed, other); /* twice */
        expect_misuse(&bed, vaddr(base.v + 1));
        expect_misuse(&bed, vaddr(base.v + PAGE_BYTES - 1));
        for (uint64_t page = 1; page < shape->pages; page++) {
            expect_misuse(&bed, vaddr_add_pages(base, page)); /* in the middle of four */
        }
        if (is_guarded(shape)) {
            expect_misuse(&bed, vaddr_add_pages(base, 1));
            expect_misuse(&bed, vaddr(base.v - PAGE_BYTES));
        }
        expect_there(&bed, shape, base, 60);
        EXPECT_OK(kpages_free(bed.vmm, base));
        expect_misuse(&bed, base);
        EXPECT(vmm_bed_check(bed.vmm));
    }
    vmm_bed_close(&bed);
}

TEST(vmm, the_check_sees_a_page_pool_that_is_broken)
{
    static char text[512];
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const vaddr_t base = take(&bed, &shapes[0], 0);
    struct page_pool *pool = &bed.vmm->pool;
    const struct page_pool whole = *pool;
    static const char *const rules[] = {"POOL-I1", "POOL-I2", "POOL-I3"};
    for (unsigned i = 0; i < ARRAY_LEN(rules); i++) {
        switch (i) {
        case 0: pool->bases[0] = vaddr_add_pages(whole.bases[0], 1); break;
        case 1: pool->idle = ~whole.idle; break;
        default: pool->used++; break;
        }
        struct buffer_sink b;
        buffer_sink_init(&b, text, sizeof text);
        const enum status s = vmm_check(bed.vmm, &b.sink);
        *pool = whole;
        EXPECT_EQ(s, STATUS_CORRUPT);
        if (!EXPECT(strncmp(text, rules[i], strlen(rules[i])) == 0)) {
            test_note("%s", text);
        }
        EXPECT(vmm_bed_check(bed.vmm));
    }
    EXPECT_OK(kpages_free(bed.vmm, base));
    vmm_bed_close(&bed);
}

/* Rights and seals; limits of a space. */
#include "unit/aspace_bed.h"

#include "arch/arch.h"

static struct aspace_bed bed;

static unsigned rights_at(vaddr_t va)
{
    struct aspace_query q = {0};
    EXPECT_OK(aspace_query(&bed.a, va, &q));
    return q.rights;
}

/* What the tables give. */
static unsigned table_rights(vaddr_t va)
{
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(bed.vmm, &bed.a.tables, va, &w));
    return w.rights;
}

static struct aspace_request want_allowed(npages_t pages, unsigned rights, unsigned allowed, unsigned flags)
{
    struct aspace_request r = want(pages, rights, flags);
    r.allowed = allowed;
    return r;
}

TEST(aspace_protect, changes_a_part_and_ranges_split_and_merge)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want(npages(9), ARW | VMM_USER, ASPACE_POPULATE)), mid = vaddr_add_pages(va, 3);
    EXPECT_OK(aspace_protect(&bed.a, mid, npages(3), AR | VMM_USER));
    EXPECT_EQ(bed.a.ranges, 3);
    EXPECT(rights_at(va) == (ARW | VMM_USER) && rights_at(mid) == (AR | VMM_USER));
    EXPECT_EQ(table_rights(mid), AR | VMM_USER);
    EXPECT_EQ(table_rights(vaddr_add_pages(va, 6)), ARW | VMM_USER);
    EXPECT(aspace_bed_check(&bed));
    EXPECT_OK(aspace_protect(&bed.a, vaddr_add_pages(va, 2), npages(2), AR | VMM_USER));
    EXPECT_EQ(bed.a.ranges, 3);
    EXPECT_OK(aspace_protect(&bed.a, va, npages(9), ARW | VMM_USER));
    EXPECT(bed.a.ranges == 1 && table_rights(mid) == (ARW | VMM_USER));
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

TEST(aspace_protect, gives_no_more_than_was_allowed)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_allowed(npages(4), AR, ARX, 0));
    const uint64_t before = aspace_bed_digest(&bed);
    EXPECT_EQ(aspace_protect(&bed.a, va, npages(4), ARW), STATUS_DENIED);
    EXPECT_EQ(aspace_protect(&bed.a, va, npages(4), AR | VMM_USER), STATUS_DENIED);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    EXPECT_OK(aspace_protect(&bed.a, va, npages(4), ARX));
    EXPECT_OK(aspace_protect(&bed.a, va, npages(4), AR));
    EXPECT_OK(aspace_protect(&bed.a, va, npages(4), 0));
    EXPECT_EQ(rights_at(va), 0);
    EXPECT_OK(aspace_protect(&bed.a, va, npages(4), AR));
    aspace_bed_close(&bed);
}

TEST(aspace_protect, to_nothing_keeps_what_is_there)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_allowed(npages(2), ARW, ARW | VMM_USER, ASPACE_POPULATE));
    const uint64_t secret = 0x1234567890;
    aspace_bed_switch(&bed, &bed.a);
    arch_write64(va, secret);
    EXPECT_OK(aspace_protect(&bed.a, va, npages(2), ARW | VMM_USER));
    EXPECT_OK(aspace_protect(&bed.a, va, npages(2), 0));
    EXPECT_EQ(table_rights(va), AR); /* not for user mode, not to write */
    EXPECT(aspace_bed_check(&bed));
    EXPECT_OK(aspace_protect(&bed.a, va, npages(2), ARW));
    EXPECT_EQ(table_rights(va), ARW);
    EXPECT_EQ(arch_read64(va), secret);
    aspace_bed_close(&bed);
}

TEST(aspace_protect, write_and_execute_go_together_by_name_only)
{
    REQUIRE(aspace_bed_open(&bed));
    const unsigned all = VMM_READ | VMM_WRITE | VMM_EXECUTE;
    struct aspace_request r = want(npages(2), all, 0);
    vaddr_t va;
    EXPECT_EQ(aspace_map(&bed.a, &r, &va), STATUS_INVALID);
    va = map_it(&bed.a, want_allowed(npages(2), ARW, all, 0));
    EXPECT_EQ(aspace_protect(&bed.a, va, npages(2), all), STATUS_INVALID);
    EXPECT_OK(aspace_protect(&bed.a, va, npages(2), ARX));
    r.flags = ASPACE_WRITE_EXECUTE | ASPACE_POPULATE;
    va = map_it(&bed.a, r);
    EXPECT_EQ(table_rights(va), all);
    EXPECT_OK(aspace_protect(&bed.a, va, npages(1), ARW));
    EXPECT_OK(aspace_protect(&bed.a, va, npages(1), all));
    EXPECT_EQ(table_rights(va), all);
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

TEST(aspace_protect, a_sealed_range_stays_as_it_is)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want(npages(6), ARW, 0)), mid = vaddr_add_pages(va, 2);
    EXPECT_OK(aspace_seal(&bed.a, mid, npages(2)));
    EXPECT_EQ(bed.a.ranges, 3);
    const uint64_t before = aspace_bed_digest(&bed);
    EXPECT_EQ(aspace_unmap(&bed.a, va, npages(6)), STATUS_DENIED);
    EXPECT_EQ(aspace_unmap(&bed.a, mid, npages(1)), STATUS_DENIED);
    EXPECT_EQ(aspace_protect(&bed.a, va, npages(3), AR), STATUS_DENIED);
    EXPECT_EQ(aspace_protect(&bed.a, mid, npages(2), ARW), STATUS_DENIED);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    struct aspace_query q;
    EXPECT_OK(aspace_query(&bed.a, mid, &q));
    EXPECT(q.sealed && q.base.v == mid.v);
    EXPECT_OK(aspace_unmap(&bed.a, va, npages(2)));
    EXPECT_OK(aspace_seal(&bed.a, mid, npages(4)));
    EXPECT_EQ(bed.a.ranges, 1);
    EXPECT_EQ(aspace_seal(&bed.a, va, npages(3)), STATUS_ABSENT);
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed); /* destroyed, it goes */
}

TEST(aspace_limit, of_pages_is_exact)
{
    REQUIRE(aspace_bed_open(&bed));
    EXPECT_OK(aspace_set_limits(&bed.a, (struct aspace_limits){.pages = npages(10)}));
    const vaddr_t va = map_it(&bed.a, want(npages(4), ARW, ASPACE_GUARD_BELOW));
    const uint64_t before = aspace_bed_digest(&bed);
    static const unsigned kinds[] = {0, ASPACE_GLOBAL, ASPACE_POPULATE, ASPACE_GUARD_ABOVE};
    for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
        struct aspace_request r = want(npages(7), ARW, kinds[i]);
        vaddr_t other;
        EXPECT_EQ(aspace_map(&bed.a, &r, &other), STATUS_LIMIT);
    }
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    (void)map_it(&bed.a, want(npages(6), ARW, 0));
    EXPECT_EQ(bed.a.pages.v, 10);
    EXPECT_EQ(aspace_set_limits(&bed.a, (struct aspace_limits){.pages = npages(9)}), STATUS_LIMIT);
    EXPECT_OK(aspace_unmap(&bed.a, va, npages(1)));
    EXPECT_OK(aspace_set_limits(&bed.a, (struct aspace_limits){.pages = npages(9)}));
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

TEST(aspace_limit, of_ranges_is_exact)
{
    REQUIRE(aspace_bed_open(&bed));
    EXPECT_OK(aspace_set_limits(&bed.a, (struct aspace_limits){.ranges = 3}));
    (void)map_it(&bed.a, want_at(AT_PRIVATE, npages(4), ARW, 0));
    (void)map_it(&bed.a, want_at(AT_PRIVATE + 8 * PAGE_BYTES, npages(4), ARW, 0));
    EXPECT_OK(aspace_protect(&bed.a, vaddr(AT_PRIVATE), npages(1), AR));
    EXPECT_EQ(bed.a.ranges, 3);
    const uint64_t before = aspace_bed_digest(&bed);
    struct aspace_request far = want_at(AT_PRIVATE + 20 * PAGE_BYTES, npages(1), ARW, 0);
    vaddr_t va;
    EXPECT_EQ(aspace_map(&bed.a, &far, &va), STATUS_LIMIT);
    EXPECT_EQ(aspace_protect(&bed.a, vaddr(AT_PRIVATE + 9 * PAGE_BYTES), npages(1), AR), STATUS_LIMIT);
    EXPECT_EQ(aspace_seal(&bed.a, vaddr(AT_PRIVATE + 3 * PAGE_BYTES), npages(1)), STATUS_LIMIT);
    EXPECT_EQ(aspace_unmap(&bed.a, vaddr(AT_PRIVATE + 9 * PAGE_BYTES), npages(1)), STATUS_LIMIT);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    (void)map_it(&bed.a, want_at(AT_PRIVATE + 4 * PAGE_BYTES, npages(2), ARW, 0)); /* one with its neighbour */
    (void)map_it(&bed.a, want_at(AT_PRIVATE + 6 * PAGE_BYTES, npages(2), ARW, 0)); /* with both */
    EXPECT_EQ(bed.a.ranges, 2);
    EXPECT_OK(aspace_protect(&bed.a, vaddr(AT_PRIVATE + PAGE_BYTES), npages(1), AR)); /* the border moves */
    EXPECT_EQ(bed.a.ranges, 2);
    EXPECT_OK(aspace_map(&bed.a, &far, &va));
    EXPECT_EQ(aspace_set_limits(&bed.a, (struct aspace_limits){.ranges = 2}), STATUS_LIMIT);
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

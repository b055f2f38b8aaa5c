/* Spaces as user mode meets them: each page touched by instructions that run there. In the kernel only. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "kernel/program.h"
#include "kernel/usercopy.h"
#include "lib/string.h"
#include "unit/test.h"
#include "vmm/window.h"

/* RDI: an address, RSI: a value. Read, leave; write, leave; read again, leave. */
USER_CODE(user_reads_and_writes,
          "mov (%rdi), %rax\n int $0x80\n mov %rsi, (%rdi)\n int $0x80\n mov (%rdi), %rbx\n int $0x80");
USER_CODE(user_reads, "mov (%rdi), %rax\n int $0x80");
USER_CODE(user_writes, "mov %rsi, (%rdi)\n mov (%rdi), %rax\n int $0x80");
USER_CODE(user_jumps, "jmp *%rdi");
/* RCX pages of stack, from the top down. */
USER_CODE(user_fills_its_stack, "1: sub $4096, %rsp\n mov %rcx, (%rsp)\n dec %rcx\n jnz 1b\n int $0x80");

enum { VALUE = 0x1122334455, OTHER = 0x66778899, PAGES = 4 };

static struct program one, two;

/* Are all figures as they were, when all spaces are gone again? */
static uint64_t free_before;

/* Free, or in what is kept for next time: tables and nodes of the kernel's addresses, bookkeeping. */
static uint64_t frames_free(void)
{
    (void)aspaces_reclaim(&machine.aspaces, npages(UINT64_MAX));
    const struct stock *stock = &machine.aspaces.stock;
    return pmm_stats(&machine.pmm).free.v + machine.vmm.node_pages.v + machine.vmm.kernel_tables.v + stock->count +
           stock->drawn;
}

static bool begin(const uint8_t *code, const uint8_t *end)
{
    free_before = frames_free();
    return EXPECT_EQ(program_make(&one, code, end), STATUS_OK);
}

static void end_all(void)
{
    EXPECT_EQ(aspaces_check(&machine.aspaces, NULL), STATUS_OK);
    EXPECT_EQ(vmm_check(&machine.vmm, NULL), STATUS_OK);
    EXPECT_EQ(program_end(&one), STATUS_OK);
    EXPECT_EQ(frames_free(), free_before);
}

/* From the beginning, with these in RDI and RSI. => how it left (vector) */
static uint64_t run(struct program *p, uint64_t rdi, uint64_t rsi)
{
    program_begin(p);
    p->context.frame.rdi = rdi;
    p->context.frame.rsi = rsi;
    p->context.frame.rcx = rsi;
    EXPECT_EQ(program_run(p), STATUS_OK);
    return p->context.frame.vector;
}

static uint64_t go_on(struct program *p)
{
    EXPECT_EQ(program_run(p), STATUS_OK);
    return p->context.frame.vector;
}

static pfn_t frame_at(struct program *p, uint64_t va)
{
    struct aspace_query q = {0};
    EXPECT_EQ(aspace_query(&p->space, vaddr(va), &q), STATUS_OK);
    return q.frame;
}

static void ends_in_violation(struct program *p, uint64_t rdi, uint64_t at, const char *why)
{
    EXPECT_EQ(run(p, rdi, VALUE), EXCEPTION_PAGE_FAULT);
    EXPECT_EQ(p->context.fault.v, at);
    bool told = strcmp(p->fault.why, why) == 0;
    if (!EXPECT(told)) {
        test_note("why: %s", p->fault.why);
    }
}

TEST(user_space, reading_untouched_memory_shows_the_zero_frame_and_writing_brings_a_page_of_its_own)
{
    REQUIRE(begin(user_reads_and_writes, user_reads_and_writes_end));
    const uint64_t zeros = machine.aspaces.zero.v, faults = machine.page_faults;
    EXPECT_EQ(run(&one, PROGRAM_DATA, VALUE), INTERRUPT_FROM_USER);
    EXPECT_EQ(machine.page_faults - faults, 2); /* the code, the data */
    EXPECT_EQ(one.context.frame.rax, 0);
    EXPECT_EQ(frame_at(&one, PROGRAM_DATA).v, zeros);
    EXPECT_EQ(go_on(&one), INTERRUPT_FROM_USER);
    EXPECT_EQ(machine.page_faults - faults, 3);
    EXPECT(frame_at(&one, PROGRAM_DATA).v != zeros);
    EXPECT_EQ(go_on(&one), INTERRUPT_FROM_USER);
    EXPECT_EQ(one.context.frame.rbx, VALUE);
    EXPECT_EQ(machine.page_faults - faults, 3);
    end_all();
}

TEST(user_space, what_the_rights_forbid_is_a_violation_with_its_reason)
{
    const struct {
        const uint8_t *code, *end;
        uint64_t at;
        const char *why;
    } all[] = {
        {user_writes, user_writes_end, PROGRAM_CODE, "the range is read-only"},
        {user_jumps, user_jumps_end, PROGRAM_DATA, "the range is not executable"},
        {user_reads, user_reads_end, PROGRAM_DATA - 8, "no range is there"},
        {user_jumps, user_jumps_end, LAYOUT_USER_FIRST, "no range is there"},
        {user_reads, user_reads_end, 0, "it is no user address"},
        {user_reads, user_reads_end, PROGRAM_STACK - (PROGRAM_STACK_PAGES + 1) * PAGE_BYTES,
         "the stack is full: its guard page"},
    };
    for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
        REQUIRE(begin(all[i].code, all[i].end));
        ends_in_violation(&one, all[i].at, all[i].at, all[i].why);
        end_all();
    }
}

TEST(user_space, rights_taken_away_hold_at_once_and_come_back)
{
    REQUIRE(begin(user_writes, user_writes_end));
    const vaddr_t data = vaddr(PROGRAM_DATA);
    EXPECT_EQ(run(&one, PROGRAM_DATA, VALUE), INTERRUPT_FROM_USER);
    EXPECT_EQ(aspace_protect(&one.space, data, npages(1), VMM_READ | VMM_USER), STATUS_OK);
    ends_in_violation(&one, PROGRAM_DATA, PROGRAM_DATA, "the range is read-only");
    EXPECT_EQ(aspace_protect(&one.space, data, npages(1), 0), STATUS_OK);
    ends_in_violation(&one, PROGRAM_DATA, PROGRAM_DATA, "the range may not be touched");
    EXPECT_EQ(aspace_protect(&one.space, data, npages(1), VMM_READ | VMM_WRITE | VMM_USER), STATUS_OK);
    EXPECT_EQ(run(&one, PROGRAM_DATA, OTHER), INTERRUPT_FROM_USER);
    EXPECT_EQ(one.context.frame.rax, OTHER);
    EXPECT_EQ(aspace_unmap(&one.space, data, npages(1)), STATUS_OK);
    ends_in_violation(&one, PROGRAM_DATA, PROGRAM_DATA, "no range is there");
    end_all();
}

TEST(user_space, nothing_is_writable_and_executable_but_by_name)
{
    REQUIRE(begin(user_writes, user_writes_end));
    const unsigned both = VMM_READ | VMM_WRITE | VMM_EXECUTE | VMM_USER;
    struct aspace_request r = {.pages = npages(1), .rights = both, .tag = "a test"};
    vaddr_t va;
    EXPECT_EQ(aspace_map(&one.space, &r, &va), STATUS_INVALID);
    r.flags = ASPACE_WRITE_EXECUTE;
    EXPECT_EQ(aspace_map(&one.space, &r, &va), STATUS_OK);
    enum { INT_0X80 = 0x80CD };
    EXPECT_EQ(run(&one, va.v, INT_0X80), INTERRUPT_FROM_USER);
    one.context.frame.rip = va.v;
    EXPECT_EQ(go_on(&one), INTERRUPT_FROM_USER);
    EXPECT_EQ(one.context.frame.rip, va.v + 2);
    end_all();
}

TEST(user_space, a_stack_grows_page_by_page_down_to_its_guard)
{
    REQUIRE(begin(user_fills_its_stack, user_fills_its_stack_end));
    const uint64_t faults = machine.page_faults, pages = one.space.pages.v;
    const size_t ranges = one.space.ranges;
    EXPECT_EQ(run(&one, 0, 2), INTERRUPT_FROM_USER);
    EXPECT_EQ(one.space.pages.v, pages + 1); /* it began with one page */
    EXPECT_EQ(run(&one, 0, PROGRAM_STACK_PAGES), INTERRUPT_FROM_USER);
    EXPECT_EQ(machine.page_faults - faults, 1 + PROGRAM_STACK_PAGES);
    EXPECT(one.space.pages.v == pages + PROGRAM_STACK_PAGES - 1 && one.space.ranges == ranges);
    EXPECT_EQ(run(&one, 0, PROGRAM_STACK_PAGES + 1), EXCEPTION_PAGE_FAULT);
    EXPECT_EQ(one.context.fault.v, PROGRAM_STACK - (PROGRAM_STACK_PAGES + 1) * PAGE_BYTES);
    EXPECT(one.fault.in_guard && !one.fault.inside);
    EXPECT(strcmp(one.fault.tag, "stack") == 0);
    end_all();
}

TEST(user_space, a_stack_does_not_grow_beyond_what_its_space_may_have)
{
    REQUIRE(begin(user_fills_its_stack, user_fills_its_stack_end));
    EXPECT_EQ(aspace_set_limits(&one.space, (struct aspace_limits){.pages = npages(one.space.pages.v + 1)}), STATUS_OK);
    EXPECT_EQ(run(&one, 0, 3), EXCEPTION_PAGE_FAULT);
    EXPECT_EQ(one.context.fault.v, PROGRAM_STACK - 3 * PAGE_BYTES);
    EXPECT(strcmp(one.fault.why, "the stack may not grow: the space has all that it may have") == 0);
    EXPECT_EQ(aspace_set_limits(&one.space, (struct aspace_limits){0}), STATUS_OK);
    EXPECT_EQ(go_on(&one), INTERRUPT_FROM_USER); /* the same instruction again */
    end_all();
}

/* The same instruction at the same address, and no entry of a table was stored in between: nothing is a loop yet. */
TEST(user_space, what_was_refused_once_is_asked_again)
{
    REQUIRE(begin(user_reads, user_reads_end));
    const vaddr_t data = vaddr(PROGRAM_DATA);
    EXPECT_EQ(aspace_protect(&one.space, data, npages(1), 0), STATUS_OK);
    ends_in_violation(&one, PROGRAM_DATA, PROGRAM_DATA, "the range may not be touched");
    const uint64_t stores = machine.vmm.counters.table_stores;
    ends_in_violation(&one, PROGRAM_DATA, PROGRAM_DATA, "the range may not be touched");
    EXPECT_EQ(aspace_protect(&one.space, data, npages(1), VMM_READ | VMM_USER), STATUS_OK);
    machine.vmm.counters.table_stores = stores;
    EXPECT_EQ(run(&one, PROGRAM_DATA, 0), INTERRUPT_FROM_USER);
    end_all();
}

TEST(user_space, a_broken_entry_ends_the_run_and_does_not_fault_for_ever)
{
    REQUIRE(begin(user_writes, user_writes_end));
    EXPECT_EQ(run(&one, PROGRAM_DATA, VALUE), INTERRUPT_FROM_USER);
    REQUIRE(current_enter(&one.space) == STATUS_OK);
    const vaddr_t entry = window_entry(WINDOW_OWN, vaddr(PROGRAM_DATA), 1);
    const pte_t leaf = arch_table_load(entry);
    arch_table_store(entry, (pte_t){leaf.v | 1ULL << machine.cpu.physical_bits});
    arch_invlpg(vaddr(PROGRAM_DATA));
    ends_in_violation(&one, PROGRAM_DATA, PROGRAM_DATA, "the page tables are not the reason");
    arch_table_store(entry, leaf);
    EXPECT_EQ(run(&one, PROGRAM_DATA, OTHER), INTERRUPT_FROM_USER);
    current_leave();
    end_all();
}

/* ---- Clones ---- */

/* `two` becomes a clone of `one`, with nothing of the global part. */
static bool clone(void)
{
    two = (struct program){.bytes = one.bytes};
    return EXPECT_EQ(aspace_clone(&one.space, &two.space, NULL, NULL), STATUS_OK);
}

TEST(user_space, a_clone_sees_what_was_there_and_each_writes_for_itself)
{
    REQUIRE(begin(user_reads_and_writes, user_reads_and_writes_end));
    run(&one, PROGRAM_DATA, VALUE);
    go_on(&one);
    const pfn_t before = frame_at(&one, PROGRAM_DATA);
    REQUIRE(clone());
    EXPECT_EQ(run(&two, PROGRAM_DATA, OTHER), INTERRUPT_FROM_USER);
    EXPECT_EQ(two.context.frame.rax, VALUE);
    EXPECT_EQ(frame_at(&two, PROGRAM_DATA).v, before.v);
    EXPECT_EQ(go_on(&two), INTERRUPT_FROM_USER); /* writes: its own copy */
    EXPECT_EQ(go_on(&two), INTERRUPT_FROM_USER);
    EXPECT_EQ(two.context.frame.rbx, OTHER);
    EXPECT(frame_at(&two, PROGRAM_DATA).v != before.v);
    EXPECT_EQ(run(&one, PROGRAM_DATA, VALUE + 1), INTERRUPT_FROM_USER);
    EXPECT_EQ(one.context.frame.rax, VALUE);
    EXPECT_EQ(go_on(&one), INTERRUPT_FROM_USER); /* alone with its frame: in place */
    EXPECT_EQ(frame_at(&one, PROGRAM_DATA).v, before.v);
    EXPECT_EQ(run(&two, PROGRAM_DATA, 0), INTERRUPT_FROM_USER);
    EXPECT_EQ(two.context.frame.rax, OTHER);
    EXPECT_EQ(program_end(&two), STATUS_OK);
    end_all();
}

TEST(user_space, the_parent_writes_first_and_the_clone_keeps_the_old_page)
{
    REQUIRE(begin(user_reads_and_writes, user_reads_and_writes_end));
    run(&one, PROGRAM_DATA, VALUE);
    go_on(&one);
    REQUIRE(clone());
    run(&one, PROGRAM_DATA, OTHER);
    EXPECT_EQ(go_on(&one), INTERRUPT_FROM_USER);
    EXPECT_EQ(go_on(&one), INTERRUPT_FROM_USER);
    EXPECT_EQ(one.context.frame.rbx, OTHER);
    EXPECT_EQ(run(&two, PROGRAM_DATA, 0), INTERRUPT_FROM_USER);
    EXPECT_EQ(two.context.frame.rax, VALUE);
    EXPECT_EQ(program_end(&two), STATUS_OK);
    end_all();
}

/* ---- Sharing: an address of the global part means the same to all ---- */

static vaddr_t map_global(struct program *p)
{
    struct aspace_request r = {.pages = npages(PAGES), .rights = VMM_READ | VMM_WRITE | VMM_USER,
                               .flags = ASPACE_GLOBAL, .tag = "message"};
    vaddr_t va = vaddr(0);
    EXPECT_EQ(aspace_map(&p->space, &r, &va), STATUS_OK);
    return va;
}

static bool begin_two(void)
{
    return begin(user_writes, user_writes_end) &&
           EXPECT_EQ(program_make(&two, user_reads_and_writes, user_reads_and_writes_end), STATUS_OK);
}

TEST(user_space, what_is_shared_is_read_at_the_same_address_and_written_only_with_the_right_to)
{
    REQUIRE(begin_two());
    const vaddr_t va = map_global(&one);
    EXPECT_EQ(run(&one, va.v, VALUE), INTERRUPT_FROM_USER);
    EXPECT_EQ(run(&two, va.v, OTHER), EXCEPTION_PAGE_FAULT);
    EXPECT_EQ(aspace_share(&one.space, va, npages(1), &two.space, VMM_READ | VMM_USER, vaddr(0)), STATUS_OK);
    EXPECT_EQ(run(&two, va.v, OTHER), INTERRUPT_FROM_USER);
    EXPECT_EQ(two.context.frame.rax, VALUE);
    EXPECT_EQ(frame_at(&two, va.v).v, frame_at(&one, va.v).v);
    EXPECT_EQ(go_on(&two), EXCEPTION_PAGE_FAULT); /* to write */
    EXPECT_EQ(run(&one, va.v, VALUE + 1), INTERRUPT_FROM_USER);
    EXPECT_EQ(run(&two, va.v, OTHER), INTERRUPT_FROM_USER);
    EXPECT_EQ(two.context.frame.rax, VALUE + 1);
    EXPECT_EQ(run(&two, va.v + PAGE_BYTES, OTHER), EXCEPTION_PAGE_FAULT); /* the next page was not shared */
    EXPECT_EQ(aspace_withdraw(&one.space, va, npages(1), &two.space), STATUS_OK);
    EXPECT_EQ(run(&two, va.v, OTHER), EXCEPTION_PAGE_FAULT);
    EXPECT_EQ(program_end(&two), STATUS_OK);
    end_all();
}

TEST(user_space, what_is_transferred_moves_with_its_frame_and_the_sender_has_it_no_more)
{
    REQUIRE(begin_two());
    const vaddr_t va = map_global(&one);
    EXPECT_EQ(run(&one, va.v, VALUE), INTERRUPT_FROM_USER);
    const pfn_t frame = frame_at(&one, va.v);
    EXPECT_EQ(aspace_transfer(&one.space, va, npages(1), &two.space, VMM_READ | VMM_WRITE | VMM_USER), STATUS_OK);
    EXPECT_EQ(run(&one, va.v, OTHER), EXCEPTION_PAGE_FAULT);
    EXPECT_EQ(run(&two, va.v, OTHER), INTERRUPT_FROM_USER);
    EXPECT_EQ(two.context.frame.rax, VALUE);
    EXPECT_EQ(frame_at(&two, va.v).v, frame.v);
    EXPECT_EQ(go_on(&two), INTERRUPT_FROM_USER);
    EXPECT_EQ(program_end(&two), STATUS_OK);
    end_all();
}

/* A page that goes back and is had again: nothing of its former owner is in it. */
TEST(user_space, nothing_of_a_former_owner_is_seen_in_a_page)
{
    REQUIRE(begin_two());
    for (unsigned i = 0; i < PAGES; i++) {
        vaddr_t va = map_global(&one);
        EXPECT_EQ(run(&one, va.v + i * sizeof(uint64_t), VALUE), INTERRUPT_FROM_USER);
        EXPECT_EQ(aspace_unmap(&one.space, va, npages(PAGES)), STATUS_OK);
        va = map_global(&two);
        program_begin(&two);
        EXPECT_EQ(run(&two, va.v + i * sizeof(uint64_t), OTHER), INTERRUPT_FROM_USER);
        EXPECT_EQ(two.context.frame.rax, 0);
        EXPECT_EQ(aspace_unmap(&two.space, va, npages(PAGES)), STATUS_OK);
    }
    EXPECT_EQ(program_end(&two), STATUS_OK);
    end_all();
}

/* ---- The kernel on behalf of user mode ---- */

TEST(user_space, copies_bring_pages_as_user_mode_would_and_stop_where_it_may_not_go)
{
    static uint8_t bytes[2 * PAGE_BYTES];
    char text[16];
    uint64_t length;
    REQUIRE(begin(user_reads, user_reads_end));
    REQUIRE(current_enter(&one.space) == STATUS_OK);
    const uint64_t faults = machine.page_faults;
    EXPECT_EQ(copy_to_user(vaddr(PROGRAM_DATA + PAGE_BYTES - 3), "cairn", sizeof "cairn"), 0);
    EXPECT_EQ(machine.page_faults - faults, 2);
    EXPECT_EQ(strncpy_from_user(text, vaddr(PROGRAM_DATA + PAGE_BYTES - 3), sizeof text, &length), STATUS_OK);
    EXPECT_EQ(length, strlen("cairn"));
    EXPECT(strcmp(text, "cairn") == 0);
    EXPECT_EQ(machine.page_faults - faults, 2);
    EXPECT_EQ(copy_from_user(bytes, vaddr(PROGRAM_CODE), (uint64_t)(user_reads_end - user_reads)), 0);
    EXPECT(memcmp(bytes, user_reads, (size_t)(user_reads_end - user_reads)) == 0);
    EXPECT_EQ(copy_to_user(vaddr(PROGRAM_CODE), bytes, 8), 8); /* read-only */
    EXPECT_EQ(copy_from_user(bytes, vaddr(PROGRAM_DATA - 8), 16), 16); /* nothing there */
    /* A page with no rights is in the tables, for the kernel alone: not even that lets a copy in. */
    EXPECT_EQ(aspace_protect(&one.space, vaddr(PROGRAM_DATA), npages(1), 0), STATUS_OK);
    EXPECT_EQ(copy_from_user(bytes, vaddr(PROGRAM_DATA), 8), 8);
    EXPECT_EQ(copy_to_user(vaddr(PROGRAM_DATA), bytes, 8), 8);
    EXPECT_EQ(copy_from_user(bytes, vaddr(PROGRAM_DATA + PAGE_BYTES), 8), 0);
    current_leave();
    end_all();
}

TEST(user_space, a_copy_into_a_clone_is_a_copy_on_write)
{
    const uint64_t mine = VALUE, theirs = OTHER;
    uint64_t seen = 0;
    REQUIRE(begin(user_reads, user_reads_end));
    REQUIRE(current_enter(&one.space) == STATUS_OK);
    EXPECT_EQ(copy_to_user(vaddr(PROGRAM_DATA), &mine, sizeof mine), 0);
    REQUIRE(clone());
    REQUIRE(current_enter(&two.space) == STATUS_OK);
    EXPECT_EQ(copy_to_user(vaddr(PROGRAM_DATA), &theirs, sizeof theirs), 0);
    EXPECT_EQ(run(&one, PROGRAM_DATA, 0), INTERRUPT_FROM_USER);
    EXPECT_EQ(one.context.frame.rax, VALUE);
    EXPECT_EQ(copy_from_user(&seen, vaddr(PROGRAM_DATA), sizeof seen), 0); /* the run left `two` current */
    EXPECT_EQ(seen, OTHER);
    current_leave();
    EXPECT_EQ(program_end(&two), STATUS_OK);
    end_all();
}

/* Messages: what the receiver finds, in order, whether it waited or not; who waits; what is refused. */
#include "task/message.h"
#include "unit/aspace_touch.h"
#include "unit/task_bed.h"

static struct task_bed bed;

/* The registers of a message that `to` has got. */
static void expect_message(const struct task *to, unsigned sender, enum task_message_kind kind, uint64_t word0,
                           uint64_t word1)
{
    const struct interrupt_frame *f = &to->context.frame;
    EXPECT_EQ(f->rax, STATUS_OK);
    EXPECT_EQ(f->rdi, sender);
    EXPECT_EQ(f->rsi, to->id);
    EXPECT(f->rdx > 0 && f->rdx <= bed.ticks);
    EXPECT_EQ(TASK_MESSAGE_KIND(f->r10), kind);
    EXPECT(TASK_MESSAGE_COUNT(f->r10) > 0 && TASK_MESSAGE_COUNT(f->r10) < bed.tasks.next_message);
    EXPECT_EQ(f->r8, word0);
    EXPECT_EQ(f->r9, word1);
}

TEST(task_message, words_wait_in_order_until_asked_for)
{
    REQUIRE(task_bed_open(&bed));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 1, UINT64_MAX));
    EXPECT_OK(CALL(&bed, bed.c, TASK_SEND, bed.b->id, 3, 4));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 5, 6));
    EXPECT_EQ(bed.b->messages, 3);
    EXPECT_OK(CALL(&bed, bed.b, TASK_RECEIVE, 0));
    expect_message(bed.b, bed.a->id, TASK_MESSAGE_WORDS, 1, UINT64_MAX);
    const uint64_t id = bed.b->context.frame.r10, time = bed.b->context.frame.rdx;
    EXPECT_OK(CALL(&bed, bed.b, TASK_RECEIVE, 0));
    expect_message(bed.b, bed.c->id, TASK_MESSAGE_WORDS, 3, 4);
    EXPECT(bed.b->context.frame.r10 == id + 1 && bed.b->context.frame.rdx > time);
    EXPECT_OK(CALL(&bed, bed.b, TASK_RECEIVE, 0));
    expect_message(bed.b, bed.a->id, TASK_MESSAGE_WORDS, 5, 6);
    EXPECT_EQ(CALL(&bed, bed.b, TASK_RECEIVE, 0, 0, 0, TASK_NO_WAIT), STATUS_AGAIN);
    EXPECT(bed.tasks.messages == 0 && bed.b->last == NULL);
    task_bed_close(&bed);
}

TEST(task_message, one_sender_can_be_asked_for_from_the_middle_and_the_end)
{
    REQUIRE(task_bed_open(&bed));
    for (uint64_t i = 0; i < 6; i++) {
        EXPECT_OK(CALL(&bed, i % 3 == 1 ? bed.c : bed.a, TASK_SEND, bed.b->id, i, 0));
    }
    EXPECT_OK(CALL(&bed, bed.b, TASK_RECEIVE, bed.c->id));
    expect_message(bed.b, bed.c->id, TASK_MESSAGE_WORDS, 1, 0);
    EXPECT_OK(CALL(&bed, bed.b, TASK_RECEIVE, bed.c->id));
    expect_message(bed.b, bed.c->id, TASK_MESSAGE_WORDS, 4, 0);
    EXPECT_EQ(CALL(&bed, bed.b, TASK_RECEIVE, bed.c->id, 0, 0, TASK_NO_WAIT), STATUS_AGAIN);
    static const uint64_t rest[] = {0, 2, 3, 5};
    for (unsigned i = 0; i < ARRAY_LEN(rest); i++) {
        EXPECT_OK(CALL(&bed, bed.b, TASK_RECEIVE, bed.a->id));
        expect_message(bed.b, bed.a->id, TASK_MESSAGE_WORDS, rest[i], 0);
    }
    EXPECT_OK(CALL(&bed, bed.c, TASK_SEND, bed.b->id, 7, 0));
    EXPECT(bed.b->first == bed.b->last && bed.b->messages == 1);
    task_bed_close(&bed);
}

TEST(task_message, a_task_that_waits_has_it_in_its_registers_at_once_and_nothing_is_kept)
{
    REQUIRE(task_bed_open(&bed));
    EXPECT_EQ(CALL(&bed, bed.b, TASK_RECEIVE, 0), TASK_BED_WAITS);
    const struct task_bed_memory before = task_bed_memory(&bed);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 1, 2));
    EXPECT_EQ(task_bed_memory(&bed).heap_pages, before.heap_pages);
    EXPECT_EQ(bed.b->state, TASK_READY);
    EXPECT(bed.b->messages == 0 && bed.tasks.messages == 0);
    expect_message(bed.b, bed.a->id, TASK_MESSAGE_WORDS, 1, 2);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 3, 4)); /* it is ready now: this one waits */
    EXPECT_EQ(bed.b->messages, 1);
    expect_message(bed.b, bed.a->id, TASK_MESSAGE_WORDS, 1, 2);
    task_bed_close(&bed);
}

TEST(task_message, who_waits_for_one_is_not_woken_by_another)
{
    REQUIRE(task_bed_open(&bed));
    EXPECT_EQ(CALL(&bed, bed.b, TASK_RECEIVE, bed.c->id), TASK_BED_WAITS);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 1, 2));
    EXPECT(bed.b->state == TASK_WAITING && bed.b->messages == 1);
    EXPECT_OK(CALL(&bed, bed.c, TASK_SEND, bed.b->id, 3, 4));
    expect_message(bed.b, bed.c->id, TASK_MESSAGE_WORDS, 3, 4);
    EXPECT_OK(CALL(&bed, bed.b, TASK_RECEIVE, 0));
    expect_message(bed.b, bed.a->id, TASK_MESSAGE_WORDS, 1, 2);
    task_bed_close(&bed);
}

TEST(task_message, a_task_can_send_to_itself_and_never_waits_for_itself)
{
    REQUIRE(task_bed_open(&bed));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_RECEIVE, bed.a->id), STATUS_AGAIN);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, bed.a->id, 1, 2));
    EXPECT_OK(CALL(&bed, bed.a, TASK_RECEIVE, bed.a->id));
    expect_message(bed.a, bed.a->id, TASK_MESSAGE_WORDS, 1, 2);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEND, bed.a->id, 0, 0, bed.page[0].v, PAGE_BYTES, TASK_GIVE | TRW),
              STATUS_INVALID);
    task_bed_close(&bed);
}

TEST(task_message, a_full_queue_refuses_until_one_is_taken)
{
    REQUIRE(task_bed_open(&bed));
    const struct task_limits few = {.messages = 2};
    vaddr_t page;
    struct task *to = task_bed_task(&bed, few, &page);
    REQUIRE(to != NULL);
    EXPECT_OK(CALL(&bed, bed.c, TASK_SEND, to->id, 1, 0));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, to->id, 2, 0));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEND, to->id, 3, 0), STATUS_LIMIT);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEND, to->id, 3, 0, bed.page[0].v, 1, TASK_DATA), STATUS_LIMIT);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEND, to->id, 3, 0, bed.page[0].v, PAGE_BYTES, TASK_GIVE | TRW), STATUS_LIMIT);
    EXPECT_OK(CALL(&bed, to, TASK_RECEIVE, 0));
    EXPECT_OK(CALL(&bed, bed.c, TASK_SEND, to->id, 3, 0));
    EXPECT_EQ(CALL(&bed, to, TASK_RECEIVE, bed.b->id), TASK_BED_WAITS); /* full, and waits for another: still refused */
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEND, to->id, 4, 0), STATUS_LIMIT);
    EXPECT_OK(CALL(&bed, bed.b, TASK_SEND, to->id, 5, 0)); /* whom it waits for needs no room */
    expect_message(to, bed.b->id, TASK_MESSAGE_WORDS, 5, 0);
    task_bed_close(&bed);
}

TEST(task_message, one_sender_leaves_room_for_others)
{
    REQUIRE(task_bed_open(&bed));
    vaddr_t page;
    const struct task_limits few = {.messages = 16}, usual = {0};
    struct task *to = task_bed_task(&bed, few, &page);
    struct task *const senders[] = {bed.a, bed.b, bed.c, task_bed_task(&bed, usual, &page)};
    const vaddr_t data[] = {bed.page[0], bed.page[1], bed.page[2], page};
    REQUIRE(to != NULL && senders[3] != NULL);
    for (unsigned i = 0; i < ARRAY_LEN(senders); i++) { /* 8, 4, 2, 1: always half of what is left */
        for (unsigned k = 0; k < 8U >> i; k++) {
            const uint64_t flags = k % 2 == 1 ? TASK_DATA : 0;
            EXPECT_OK(CALL(&bed, senders[i], TASK_SEND, to->id, k, 0, data[i].v, 8, flags));
        }
        EXPECT_EQ(CALL(&bed, senders[i], TASK_SEND, to->id, 0, 0), STATUS_LIMIT);
        EXPECT_EQ(CALL(&bed, senders[i], TASK_SEND, to->id, 0, 0, data[i].v, 8, TASK_DATA), STATUS_LIMIT);
    }
    EXPECT_EQ(to->messages, 15);
    EXPECT_OK(CALL(&bed, to, TASK_SEND, to->id, 0, 0)); /* the last place: of who has sent nothing */
    EXPECT_EQ(CALL(&bed, to, TASK_SEND, to->id, 0, 0), STATUS_LIMIT);
    EXPECT_OK(CALL(&bed, to, TASK_RECEIVE, bed.a->id));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEND, to->id, 0, 0), STATUS_LIMIT); /* it has 7 there, and there is room for one */
    EXPECT_EQ(CALL(&bed, bed.b, TASK_SEND, to->id, 0, 0), STATUS_LIMIT);
    EXPECT_EQ(to->messages, 15);
    task_bed_close(&bed);
}

TEST(task_message, messages_of_a_dead_sender_are_still_received_and_then_it_is_absent)
{
    REQUIRE(task_bed_open(&bed));
    const unsigned a = bed.a->id;
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 1, 2, bed.page[0].v, PAGE_BYTES, TASK_LEND | TASK_READ));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_EXIT, 0), TASK_BED_WAITS);
    EXPECT_OK(CALL(&bed, bed.b, TASK_RECEIVE, a));
    expect_message(bed.b, a, TASK_MESSAGE_PAGES, bed.page[0].v, PAGE_BYTES);
    EXPECT_OK(touch(&bed.b->space, bed.page[0], VMM_READ | VMM_USER));
    EXPECT_EQ(CALL(&bed, bed.b, TASK_RECEIVE, a), STATUS_ABSENT);
    EXPECT_EQ(CALL(&bed, bed.b, TASK_RECEIVE, a, 0, 0, TASK_NO_WAIT), STATUS_ABSENT);
    EXPECT_EQ(CALL(&bed, bed.b, TASK_SEND, a, 1, 2), STATUS_ABSENT);
    task_bed_close(&bed);
}

/* ---- Data ---- */

TEST(task_message, data_are_copied_when_sent_and_lie_in_the_buffer_with_their_length)
{
    REQUIRE(task_bed_open(&bed));
    static uint8_t out[TASK_DATA_BYTES], in[sizeof(struct task_data) + TASK_DATA_BYTES];
    static const uint64_t sizes[] = {1, 7, 8, 1000, TASK_DATA_BYTES};
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        memset(out, (int)i + 1, sizeof out);
        const vaddr_t from = vaddr_add(bed.page[0], PAGE_BYTES - 5), to = vaddr_add(bed.page[1], PAGE_BYTES - 3);
        EXPECT(task_bed_write(&bed, bed.a, from, out, sizes[i]));
        EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 10, 20, from.v, sizes[i], TASK_DATA));
        EXPECT(task_bed_write(&bed, bed.a, from, in, sizes[i])); /* what the sender writes later is not in it */
        const uint64_t takes = sizeof(struct task_data) + sizes[i];
        EXPECT_EQ(CALL(&bed, bed.b, TASK_RECEIVE, 0, to.v, takes - 1), STATUS_LIMIT);
        EXPECT_EQ(task_value(bed.b), takes);
        EXPECT_EQ(CALL(&bed, bed.b, TASK_RECEIVE, 0, 0, 0), STATUS_LIMIT);
        EXPECT_EQ(bed.b->messages, 1);
        EXPECT_OK(CALL(&bed, bed.b, TASK_RECEIVE, 0, to.v, takes));
        expect_message(bed.b, bed.a->id, TASK_MESSAGE_DATA, 10, 20);
        EXPECT(task_bed_read(&bed, bed.b, to, in, takes));
        EXPECT_EQ(((const struct task_data *)(const void *)in)->bytes, sizes[i]);
        EXPECT(memcmp(in + sizeof(struct task_data), out, sizes[i]) == 0);
    }
    task_bed_close(&bed);
}

TEST(task_message, data_for_a_task_that_waits_are_there_when_it_asks_again)
{
    REQUIRE(task_bed_open(&bed));
    const char text[] = "to whom it may concern";
    char got[sizeof(struct task_data) + sizeof text];
    EXPECT(task_bed_write(&bed, bed.a, bed.page[0], text, sizeof text));
    EXPECT_EQ(CALL(&bed, bed.b, TASK_RECEIVE, bed.a->id, bed.page[1].v, PAGE_BYTES, 0), TASK_BED_WAITS);
    const struct interrupt_frame waiting = bed.b->context.frame;
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 1, 2, bed.page[0].v, sizeof text, TASK_DATA));
    struct interrupt_frame again = waiting;
    again.rip -= 2; /* the instruction of the call, with all that it had in registers */
    EXPECT(memcmp(&again, &bed.b->context.frame, sizeof again) == 0);
    EXPECT(bed.b->state == TASK_READY && again.rax == TASK_RECEIVE);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_EXIT, 0), TASK_BED_WAITS); /* the sender need not live any more */
    REQUIRE(task_bed_run(&bed, bed.b));
    EXPECT(task_call(&bed.tasks, bed.b));
    expect_message(bed.b, (unsigned)again.rdi, TASK_MESSAGE_DATA, 1, 2);
    EXPECT(task_bed_read(&bed, bed.b, bed.page[1], got, sizeof got));
    EXPECT(memcmp(got + sizeof(struct task_data), text, sizeof text) == 0);
    task_bed_close(&bed);
}

TEST(task_message, a_buffer_that_is_not_the_tasks_to_write_leaves_the_message_where_it_is)
{
    REQUIRE(task_bed_open(&bed));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 1, 2, bed.page[0].v, 8, TASK_DATA));
    EXPECT_OK(CALL(&bed, bed.b, TASK_PROTECT, bed.page[1].v, PAGE_BYTES, TASK_READ));
    static const uint64_t bad[] = {AT_PRIVATE, 8, 0xFFFF800000000000, UINT64_MAX - 1000, 0x7FFFFFFFF000 - 500};
    static const enum status answers[] = {STATUS_DENIED, STATUS_RANGE, STATUS_RANGE, STATUS_INVALID, STATUS_RANGE};
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        EXPECT_EQ(CALL(&bed, bed.b, TASK_RECEIVE, 0, bad[i], 1024), answers[i]);
    }
    EXPECT_EQ(CALL(&bed, bed.b, TASK_RECEIVE, 0, bed.page[1].v, 1024), STATUS_DENIED);
    EXPECT_EQ(bed.b->messages, 1);
    EXPECT_OK(CALL(&bed, bed.b, TASK_RECEIVE, 0, bed.page[1].v + PAGE_BYTES, 1024));
    task_bed_close(&bed);
}

/* ---- Pages ---- */

TEST(task_message, pages_that_are_given_leave_the_sender_and_are_the_receivers_with_their_contents)
{
    REQUIRE(task_bed_open(&bed));
    const uint64_t word = 0x1122334455667788;
    uint64_t got = 0;
    const vaddr_t va = vaddr_add_pages(bed.page[0], 1);
    EXPECT(task_bed_write(&bed, bed.a, va, &word, sizeof word));
    const uint64_t frame = frame_shown(&bed.a->space, va);
    EXPECT_EQ(CALL(&bed, bed.b, TASK_RECEIVE, 0), TASK_BED_WAITS);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 9, 9, va.v, PAGE_BYTES + 1, TASK_GIVE | TRW));
    expect_message(bed.b, bed.a->id, TASK_MESSAGE_PAGES, va.v, 2 * PAGE_BYTES); /* whole pages */
    EXPECT_EQ(bed.a->space.pages.v, TASK_BED_PAGES - 2);
    EXPECT_EQ(bed.b->space.pages.v, TASK_BED_PAGES + 2);
    EXPECT(task_bed_read(&bed, bed.b, va, &got, sizeof got) && got == word);
    EXPECT(!task_bed_read(&bed, bed.a, va, &got, sizeof got));
    EXPECT_EQ(frame_shown(&bed.b->space, va), frame);
    EXPECT_OK(CALL(&bed, bed.b, TASK_SEND, bed.a->id, 0, 0, va.v, PAGE_BYTES, TASK_GIVE | TRW)); /* and back */
    EXPECT(task_bed_read(&bed, bed.a, va, &got, sizeof got) && got == word);
    task_bed_close(&bed);
}

TEST(task_message, pages_that_are_lent_are_both_tasks_until_they_are_withdrawn)
{
    REQUIRE(task_bed_open(&bed));
    uint64_t word = 77, got = 0;
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 0, 0, bed.page[0].v, PAGE_BYTES, TASK_LEND | TASK_READ));
    EXPECT(task_bed_write(&bed, bed.a, bed.page[0], &word, sizeof word));
    EXPECT(task_bed_read(&bed, bed.b, bed.page[0], &got, sizeof got) && got == word);
    EXPECT(!task_bed_write(&bed, bed.b, bed.page[0], &word, sizeof word));
    EXPECT_OK(CALL(&bed, bed.a, TASK_WITHDRAW, bed.page[0].v, PAGE_BYTES, bed.b->id));
    EXPECT(!task_bed_read(&bed, bed.b, bed.page[0], &got, sizeof got));
    EXPECT_OK(CALL(&bed, bed.b, TASK_RECEIVE, 0)); /* the message says where they were */
    expect_message(bed.b, bed.a->id, TASK_MESSAGE_PAGES, bed.page[0].v, PAGE_BYTES);
    task_bed_close(&bed);
}

TEST(task_message, a_message_never_names_pages_that_its_sender_may_not_read)
{
    REQUIRE(task_bed_open(&bed));
    const uint64_t va = bed.page[0].v;
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 0, 0, bed.page[2].v, PAGE_BYTES, TASK_LEND | TASK_READ),
              STATUS_ABSENT);
    EXPECT_OK(CALL(&bed, bed.a, TASK_PROTECT, va, PAGE_BYTES, 0));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 0, 0, va, PAGE_BYTES, TASK_LEND | TASK_READ), STATUS_DENIED);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 0, 0, va, 8, TASK_DATA), STATUS_DENIED);
    EXPECT_OK(CALL(&bed, bed.a, TASK_PROTECT, va, PAGE_BYTES, TASK_READ));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 0, 0, va, PAGE_BYTES, TASK_LEND | TRW), STATUS_DENIED);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 0, 0, va, PAGE_BYTES, TASK_LEND | TASK_READ));
    task_bed_close(&bed);
}

TEST(task_message, nobody_is_filled_up_by_others_beyond_half_of_its_limits)
{
    REQUIRE(task_bed_open(&bed));
    const struct task_limits few = {.pages = npages(11), .ranges = 5};
    vaddr_t page;
    struct task *to = task_bed_task(&bed, few, &page); /* has 4 pages in 1 range: 2 pages, 2 ranges may come */
    REQUIRE(to != NULL && EXPECT_EQ(TASK_BED_PAGES, 4));
    const uint64_t va = bed.page[0].v, give = TASK_GIVE | TRW, lend = TASK_LEND | TASK_READ;
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEND, to->id, 0, 0, va, 3 * PAGE_BYTES, give), STATUS_LIMIT);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SHARE, va, 3 * PAGE_BYTES, to->id, TASK_READ, 0), STATUS_LIMIT);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_TRANSFER, va, 3 * PAGE_BYTES, to->id, TASK_READ), STATUS_LIMIT);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, to->id, 0, 0, va, PAGE_BYTES, give));
    EXPECT_OK(CALL(&bed, bed.b, TASK_SHARE, bed.page[1].v, PAGE_BYTES, to->id, TASK_READ, AT_PRIVATE));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEND, to->id, 0, 0, va + PAGE_BYTES, PAGE_BYTES, lend), STATUS_LIMIT);
    EXPECT_EQ(to->space.limits.pages.v, 11);
    EXPECT_EQ(to->space.limits.ranges, 5);
    EXPECT_OK(CALL(&bed, to, TASK_ALLOC, 5 * PAGE_BYTES, TRW, 0)); /* the other half is its own */
    EXPECT_EQ(CALL(&bed, to, TASK_ALLOC, PAGE_BYTES, TRW, 0), STATUS_LIMIT);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEND, to->id, 0, 0, va + PAGE_BYTES, PAGE_BYTES, lend), STATUS_LIMIT);
    task_bed_close(&bed);
}

TEST(task_message, ranges_of_others_count_to_half_and_what_joins_a_neighbour_is_none)
{
    REQUIRE(task_bed_open(&bed));
    const struct task_limits few = {.ranges = 4};
    struct task *to = task_bed_task(&bed, few, NULL); /* 2 ranges may come */
    REQUIRE(to != NULL);
    const uint64_t va = bed.page[0].v;
    EXPECT_OK(CALL(&bed, bed.a, TASK_SHARE, va, PAGE_BYTES, to->id, TASK_READ, 0));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SHARE, va + PAGE_BYTES, PAGE_BYTES, to->id, TASK_READ, 0)); /* one with it */
    EXPECT_EQ(to->space.ranges, 1);
    EXPECT_OK(CALL(&bed, bed.b, TASK_SHARE, bed.page[1].v, PAGE_BYTES, to->id, TASK_READ, 0));
    EXPECT_EQ(CALL(&bed, bed.c, TASK_SHARE, bed.page[2].v, PAGE_BYTES, to->id, TASK_READ, 0), STATUS_LIMIT);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SHARE, va + 2 * PAGE_BYTES, PAGE_BYTES, to->id, TASK_READ, 0));
    EXPECT_EQ(to->space.ranges, 2);
    task_bed_close(&bed);
}

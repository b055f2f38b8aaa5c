/*
 * pingpong [ROUNDS]: two tasks send each other words, pages, and a pointer into a stack.
 *
 * A clone answers what its parent asks:
 *   words     register messages there and back
 *   a page    written by one, given to the other, who writes to it and gives it back: who has it not, cannot use it
 *   pointer   to a struct on the parent's stack, whose page is lent for that: the clone follows it, as it stands, and
 *             writes into the parent's local variable; then it is taken back
 *   data      bytes copied into a struct that the receiver names
 *   end       the clone is told to go; who waits for it is told that it is no more
 */
#include "user/runtime.h"

enum { WORDS, HOLD, POINTER, DATA, END }; /* word 0 of what the parent asks; pages come without it */
enum { ROUNDS = 1000, TEXT_BYTES = 100 };

struct note { /* what the parent has on its stack */
    const char *text;
    uint64_t question, answer;
};

static struct message receive_from(unsigned id)
{
    struct message m;
    NEED_OK(call_receive(id, NULL, 0, 0, &m));
    NEED(m.from == id && m.to == my_id());
    return m;
}

/* ---- The clone ---- */

static void return_page(unsigned parent, const struct message *m)
{
    NEED(m->word1 == PAGE_BYTES);
    uint64_t *page = (uint64_t *)m->word0;
    (*page)++;
    NEED_OK(call_send(parent, 0, 0, m->word0, PAGE_BYTES, TASK_GIVE | TASK_READ | TASK_WRITE));
}

/* The next page is returned when another message comes, not before. */
static void hold_page(unsigned parent)
{
    const struct message page = receive_from(parent);
    (void)receive_from(parent);
    return_page(parent, &page);
}

static void take_data(unsigned parent)
{
    struct { uint64_t bytes; char text[TEXT_BYTES]; } data;
    struct message m;
    NEED_STATUS(call_receive(parent, &data, 16, 0, &m), STATUS_LIMIT); /* it stays */
    NEED_OK(call_receive(parent, &data, sizeof data, 0, &m));
    NEED(TASK_MESSAGE_KIND(m.id) == TASK_MESSAGE_DATA && data.bytes == sizeof data.text);
    for (unsigned i = 0; i < TEXT_BYTES; i++) {
        NEED(data.text[i] == (char)(i * m.word1));
    }
}

static int answer_all(uint64_t parent_id)
{
    const unsigned parent = (unsigned)parent_id;
    for (;;) {
        const struct message m = receive_from(parent);
        if (TASK_MESSAGE_KIND(m.id) == TASK_MESSAGE_PAGES) {
            return_page(parent, &m);
            continue;
        }
        if (m.word0 == HOLD) {
            hold_page(parent);
            continue;
        }
        uint64_t word = m.word1 + 1;
        if (m.word0 == POINTER) {
            struct note *note = (struct note *)m.word1;
            NEED(strcmp(note->text, "what is six times seven?") == 0); /* in .rodata, which the clone has too */
            note->answer = note->question * 7;
        } else if (m.word0 == DATA) {
            take_data(parent);
        }
        NEED_OK(call_send(parent, m.word0, word, 0, 0, 0));
        if (m.word0 == END) {
            return 0;
        }
    }
}

/* ---- The parent ---- */

static void ask_words(unsigned other, uint64_t rounds)
{
    const uint64_t before = ticks_now();
    uint64_t time = 0, id = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        NEED_OK(call_send(other, WORDS, i, 0, 0, 0));
        const struct message m = receive_from(other);
        NEED(m.word0 == WORDS && m.word1 == i + 1 && m.time >= time && m.id > id);
        time = m.time;
        id = m.id;
    }
    say("words: %lu round trips, %lu ticks each", rounds, (ticks_now() - before) / rounds);
}

static void give(unsigned other, user_address page)
{
    NEED_OK(call_send(other, 0, 0, page, PAGE_BYTES, TASK_GIVE | TASK_READ | TASK_WRITE));
}

static void expect_back(unsigned other, user_address page)
{
    const struct message m = receive_from(other);
    NEED(TASK_MESSAGE_KIND(m.id) == TASK_MESSAGE_PAGES && m.word0 == page && m.word1 == PAGE_BYTES);
}

static void ask_pages(unsigned other, uint64_t rounds)
{
    user_address page;
    struct task_range range;
    NEED_OK(call_alloc(PAGE_BYTES, TASK_READ | TASK_WRITE, 0, &page));
    *(uint64_t *)page = 41;
    NEED_OK(call_send(other, HOLD, 0, 0, 0, 0));
    give(other, page);
    NEED_STATUS(call_query(page, &range), STATUS_ABSENT);
    NEED_OK(call_send(other, 0, 0, 0, 0, 0));
    expect_back(other, page);
    const uint64_t before = ticks_now();
    for (uint64_t i = 0; i < rounds; i++) {
        give(other, page);
        expect_back(other, page);
    }
    const uint64_t ticks = ticks_now() - before;
    NEED(*(uint64_t *)page == 42 + rounds);
    NEED_OK(call_free(page, PAGE_BYTES));
    say("pages: %lu round trips, %lu ticks each", rounds, ticks / rounds);
}

static void ask_pointer(unsigned other)
{
    volatile struct note note = {"what is six times seven?", 6, 0};
    const user_address va = address_of((void *)(uintptr_t)&note), first = va - page_offset_bytes(va);
    const uint64_t bytes = va + sizeof note - first; /* one page or two */
    NEED_OK(call_share(first, bytes, other, TASK_READ | TASK_WRITE, 0));
    NEED_OK(call_send(other, POINTER, va, 0, 0, 0));
    (void)receive_from(other);
    NEED(note.answer == 42);
    NEED_OK(call_withdraw(first, bytes, other));
    say("pointer: %s %lu, written by task %u at %#lx", note.text, note.answer, other, va);
}

static void ask_data(unsigned other)
{
    char text[TEXT_BYTES];
    for (unsigned factor = 1; factor < 10; factor++) {
        for (unsigned i = 0; i < TEXT_BYTES; i++) {
            text[i] = (char)(i * factor);
        }
        NEED_OK(call_send(other, DATA, 0, 0, 0, 0));
        NEED_OK(call_send(other, DATA, factor, address_of(text), sizeof text, TASK_DATA));
        (void)receive_from(other);
    }
    say("data: %u bytes, nine times", TEXT_BYTES);
}

int main(int argc, char **argv)
{
    uint64_t rounds = ROUNDS;
    if (argc > 2 || (argc == 2 && (!number_of(argv[1], &rounds) || rounds == 0))) {
        fail("pingpong [ROUNDS]");
    }
    unsigned other;
    struct message m;
    NEED_OK(task_begin(answer_all, my_id(), NULL, 0, &other));
    ask_words(other, rounds);
    ask_pages(other, rounds);
    ask_pointer(other);
    ask_data(other);
    NEED_OK(call_send(other, END, 0, 0, 0, 0));
    (void)receive_from(other);
    NEED_STATUS(call_receive(other, NULL, 0, 0, &m), STATUS_ABSENT);
    NEED_STATUS(call_send(other, END, 0, 0, 0, 0), STATUS_ABSENT);
    return 0;
}

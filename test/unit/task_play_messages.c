/* Messages, turns and ends at play. */
#include "unit/task_play.h"

static struct task *my_task(const struct tplay *p) { return p->tasks[p->running].task; }

/* ---- Sending ---- */

/* The message is with the receiver: in its registers if it waits, else on its queue. => false: not as it should be */
static bool arrive(struct tplay *p, unsigned to, struct tplay_message m)
{
    struct tplay_task *t = &p->tasks[to];
    m.sender = p->tasks[p->running].id;
    m.count = p->next_count++;
    const bool is_awaited = t->state == TASK_WAITING && (t->waits_for == 0 || t->waits_for == m.sender);
    if (is_awaited && m.kind != TASK_MESSAGE_DATA) {
        const struct interrupt_frame *f = &t->task->context.frame;
        tplay_make_ready(p, to);
        return EXPECT_EQ(f->rax, STATUS_OK) && EXPECT_EQ(f->rdi, m.sender) && EXPECT_EQ(f->rsi, t->id) &&
               EXPECT_EQ(f->r10, m.count | (uint64_t)m.kind << 56) && EXPECT_EQ(f->r8, m.words[0]) &&
               EXPECT_EQ(f->r9, m.words[1]);
    }
    t->queue[t->messages++] = m;
    if (is_awaited) {
        t->asks_again = true;
        tplay_make_ready(p, to);
    }
    return true;
}

/* Its queue is full, for a message that it does not wait for. */
static bool is_full(const struct tplay *p, int to, bool is_data)
{
    const struct tplay_task *t = &p->tasks[to];
    const bool is_awaited =
        t->state == TASK_WAITING && (t->waits_for == 0 || t->waits_for == p->tasks[p->running].id) && !is_data;
    unsigned left = 0;
    for (unsigned i = 0; i < t->messages; i++) {
        left += t->queue[i].sender == p->tasks[p->running].id;
    }
    return !is_awaited && left >= TPLAY_LIMIT_MESSAGES - t->messages;
}

static bool send_words(struct tplay *p)
{
    static const uint64_t odd[] = {TASK_READ, TASK_NO_WAIT, 8, 1UL << 40, TASK_PRIVATE};
    const uint64_t id = tplay_draw_id(p), flags = tplay_below(p, 10) == 0 ? odd[tplay_below(p, ARRAY_LEN(odd))] : 0;
    const int to = tplay_find(p, id);
    const struct tplay_message m = {.kind = TASK_MESSAGE_WORDS, .words = {rng_next(&p->rng), rng_next(&p->rng)}};
    const unsigned reasons = (to < 0 ? BIT(ABSENT) : is_full(p, to, false) ? BIT(LIMIT) : 0) |
                             (flags != 0 ? BIT(INVALID) : 0);
    const unsigned s = CALL_IT(p, TASK_SEND, reasons, id, m.words[0], m.words[1], 0, 0, flags);
    return s == STATUS_OK ? arrive(p, (unsigned)to, m) : s != UINT32_MAX;
}

static bool send_data(struct tplay *p)
{
    static const uint64_t odd[] = {0, TASK_DATA_BYTES + 1, UINT64_MAX};
    const uint64_t id = tplay_draw_id(p), va = tplay_draw_va(p);
    const uint64_t bytes = tplay_below(p, 10) == 0 ? odd[tplay_below(p, 3)] : 1 + tplay_below(p, TPLAY_DATA_BYTES);
    const int to = tplay_find(p, id);
    const struct tplay_page *page = tplay_page_of(p, (unsigned)p->running, va);
    struct tplay_segment *segment = tplay_segment_of(p, (unsigned)p->running, va);
    struct tplay_segment_page *shared =
        tplay_segment_has(segment, va) ? &segment->page[(va - segment->va) / PAGE_BYTES] : NULL;
    struct tplay_message m = {.kind = TASK_MESSAGE_DATA, .words = {va, bytes}, .bytes = bytes};
    unsigned reasons = to < 0 ? BIT(ABSENT) : is_full(p, to, true) ? BIT(LIMIT) : 0;
    reasons |= (bytes == 0 || va + bytes < va ? BIT(INVALID) : 0) | (bytes > TASK_DATA_BYTES ? BIT(LIMIT) : 0);
    const bool reads = page != NULL ? page->rights[p->running] != 0 : shared != NULL && va % PAGE_BYTES == 0;
    if (!reads) { /* within a page it may be another one's */
        const bool is_inside = tplay_page_of(p, (unsigned)p->running, va - va % PAGE_BYTES) != NULL;
        if (is_inside || shared != NULL) {
            return true;
        }
        reasons |= va < 65536 || va + bytes > 0x7FFFFFFFF000 ? BIT(RANGE) | BIT(INVALID) : BIT(DENIED);
    } else {
        const uint64_t word = page != NULL ? page->word : shared->word;
        m.word = bytes < sizeof m.word ? word & ((1UL << 8 * bytes) - 1) : word;
    }
    const unsigned s = CALL_IT(p, TASK_SEND, reasons, id, va, bytes, va, bytes, TASK_DATA);
    if (shared != NULL && shared->use != TPLAY_IN_USE) {
        shared->use = s == STATUS_OK ? TPLAY_IN_USE : TPLAY_MAYBE_IN_USE;
    }
    return s == STATUS_OK ? arrive(p, (unsigned)to, m) : s != UINT32_MAX;
}

static bool send_pages(struct tplay *p, bool takes)
{
    const uint64_t id = tplay_draw_id(p), va = tplay_draw_va(p), bytes = tplay_draw_bytes_at(p, va);
    const uint64_t rights = tplay_draw_rights(p);
    const int to = tplay_find(p, id);
    const struct tplay_message m = {.kind = TASK_MESSAGE_PAGES, .words = {va, tplay_page_count(bytes) * PAGE_BYTES}};
    if (rights > 7) {
        return true;
    }
    unsigned reasons = tplay_give_reasons(p, to, va, bytes, rights, takes);
    reasons |= to >= 0 && is_full(p, to, false) ? BIT(LIMIT) : 0;
    const unsigned s = CALL_IT(p, TASK_SEND, reasons, id, 1, 2, va, bytes, rights | (takes ? TASK_GIVE : TASK_LEND));
    if (s == STATUS_OK) {
        tplay_give(p, (unsigned)to, va, bytes, rights, takes);
        return arrive(p, (unsigned)to, m);
    }
    return s != UINT32_MAX;
}

/* ---- Receiving ---- */

/* The registers, and the buffer, are this message's. */
static bool got(struct tplay *p, const struct tplay_message *m, uint64_t buffer)
{
    const struct interrupt_frame *f = &my_task(p)->context.frame;
    bool ok = EXPECT_EQ(f->rdi, m->sender) && EXPECT_EQ(f->rsi, p->tasks[p->running].id) &&
              EXPECT_EQ(f->r10, m->count | (uint64_t)m->kind << 56) && EXPECT_EQ(f->r8, m->words[0]) &&
              EXPECT_EQ(f->r9, m->words[1]);
    if (m->kind == TASK_MESSAGE_DATA) {
        uint64_t head[2] = {0, 0};
        const uint64_t n = m->bytes < sizeof(uint64_t) ? m->bytes : sizeof(uint64_t);
        ok = EXPECT(task_bed_read(&p->bed, my_task(p), vaddr(buffer), head, sizeof(uint64_t) + n)) && ok;
        ok = EXPECT_EQ(head[0], m->bytes) && EXPECT_EQ(head[1], m->word) && ok;
    }
    return ok;
}

/* The message that a call with these arguments takes; null: none. */
static struct tplay_message *wanted(struct tplay_task *t, uint64_t from)
{
    for (unsigned i = 0; i < t->messages; i++) {
        if (from == 0 || t->queue[i].sender == from) {
            return &t->queue[i];
        }
    }
    return NULL;
}

static void drop(struct tplay_task *t, const struct tplay_message *m)
{
    for (unsigned i = (unsigned)(m - t->queue); i + 1 < t->messages; i++) {
        t->queue[i] = t->queue[i + 1];
    }
    t->messages--;
}

/* What the call must answer, and what it did. */
static bool receive(struct tplay *p, uint64_t from, uint64_t buffer, uint64_t bytes, uint64_t flags)
{
    struct tplay_task *t = &p->tasks[p->running];
    struct tplay_message *m = wanted(t, from);
    const bool is_short = m != NULL && m->kind == TASK_MESSAGE_DATA && sizeof(struct task_data) + m->bytes > bytes;
    unsigned reasons = (flags & ~(uint64_t)TASK_NO_WAIT) != 0 ? BIT(INVALID) : 0;
    reasons |= bytes != 0 && buffer == 0 ? BIT(RANGE) : 0;
    reasons |= is_short ? BIT(LIMIT) : 0;
    const struct tplay_page *page = tplay_page_of(p, (unsigned)p->running, buffer - TPLAY_BUFFER);
    if (m != NULL && m->kind == TASK_MESSAGE_DATA && (page == NULL || (page->rights[p->running] & TASK_WRITE) == 0)) {
        reasons |= BIT(DENIED); /* withdrawn while it waited */
    }
    if (m == NULL) {
        reasons |= from != 0 && tplay_find(p, from) < 0 ? BIT(ABSENT)
                   : flags != 0 || from == t->id       ? BIT(AGAIN)
                                                       : 0;
    }
    const unsigned s = CALL_IT(p, TASK_RECEIVE, reasons, from, buffer, bytes, flags);
    if (s == TASK_BED_WAITS) {
        t->state = TASK_WAITING;
        t->waits_for = (unsigned)from;
        p->running = -1;
        return EXPECT(reasons == 0 && m == NULL);
    }
    if (s != STATUS_OK) {
        return s != UINT32_MAX && (s != STATUS_LIMIT ||
                                   EXPECT_EQ(task_value(t->task), sizeof(struct task_data) + m->bytes));
    }
    const struct tplay_message was = *m;
    drop(t, m);
    return got(p, &was, buffer);
}

static bool tplay_receive(struct tplay *p)
{
    static const uint64_t odd[] = {1, TASK_DATA, 1UL << 40};
    const uint64_t from = tplay_below(p, 2) == 0 ? 0 : tplay_draw_id(p), kind = tplay_below(p, 8);
    const uint64_t flags = kind == 0 ? odd[tplay_below(p, 3)] : kind < 6 ? TASK_NO_WAIT : 0;
    const uint64_t buffer = kind == 1 ? 0 : tplay_buffer(p);
    return receive(p, from, buffer, tplay_below(p, 6) == 0 ? tplay_below(p, 20) : 1024, flags);
}

/* ---- The rest ---- */

static bool tplay_end(struct tplay *p, unsigned t, bool by_itself)
{
    struct task *task = p->tasks[t].task;
    const unsigned id = p->tasks[t].id;
    bool ok = by_itself ? EXPECT_EQ(CALL_IT(p, TASK_EXIT, 0, 77), TASK_BED_WAITS)
                        : EXPECT_EQ(task_end(task, TASK_KILLED, 0, "at play"), STATUS_OK);
    tplay_leave(p, t);
    const struct task_end *end = tasks_find_end(&p->bed.tasks, id);
    return EXPECT(end != NULL && end->how == (by_itself ? TASK_EXITED : TASK_KILLED)) && ok;
}

bool tplay_kill(struct tplay *p)
{
    const unsigned t = (unsigned)tplay_below(p, TPLAY_TASKS);
    return p->tasks[t].task == NULL || tplay_end(p, t, false);
}

static bool tplay_yield(struct tplay *p)
{
    const unsigned s = CALL_IT(p, TASK_YIELD, 0, 0);
    return EXPECT_EQ(s, p->ready_count == 0 ? (unsigned)STATUS_OK : (unsigned)TASK_BED_WAITS);
}

bool tplay_other_call(struct tplay *p)
{
    const uint64_t buffer = tplay_below(p, 4) != 0 ? tplay_buffer(p) : 0, kind = tplay_below(p, 40);
    if (kind == 0) {
        return tplay_end(p, (unsigned)p->running, true);
    }
    if (kind == 1) {
        return tplay_kill(p);
    }
    if (kind < 4) {
        return CALL_IT(p, TASK_CALLS + tplay_below(p, 3) * (1UL << 40), BIT(UNSUPPORTED), 1, 2, 3) != UINT32_MAX;
    }
    if (kind < 12) {
        const uint64_t bytes = tplay_below(p, 2) == 0 ? 9 : tplay_below(p, 2) * (TASK_LOG_BYTES + 1);
        const unsigned reasons = (bytes == 0 ? BIT(INVALID) : bytes > TASK_LOG_BYTES ? BIT(LIMIT) : 0) |
                                 (buffer == 0 ? BIT(RANGE) : 0);
        return CALL_IT(p, TASK_LOG, reasons, buffer, bytes) != UINT32_MAX;
    }
    if (kind < 20) {
        struct task_stats st;
        const unsigned s = CALL_IT(p, TASK_STATS, buffer == 0 ? BIT(RANGE) : 0, buffer);
        return s == STATUS_OK ? EXPECT(task_bed_read(&p->bed, my_task(p), vaddr(buffer), &st, sizeof st)) &&
                                    EXPECT_EQ(st.messages, p->tasks[p->running].messages) &&
                                    EXPECT_EQ(st.pages, tplay_pages(p, (unsigned)p->running).v)
                              : s != UINT32_MAX;
    }
    return tplay_yield(p);
}

bool tplay_message_call(struct tplay *p)
{
    struct tplay_task *t = &p->tasks[p->running];
    if (t->asks_again) { /* what it would do first of all: the call that it waited in */
        const struct interrupt_frame f = t->task->context.frame;
        t->asks_again = false;
        return EXPECT_EQ(f.rax, TASK_RECEIVE) && receive(p, f.rdi, f.rsi, f.rdx, f.r10);
    }
    switch (tplay_below(p, 8)) {
    case 0:
    case 1: return send_words(p);
    case 2: return send_data(p);
    case 3: return send_pages(p, true);
    case 4: return send_pages(p, false);
    }
    return tplay_receive(p);
}

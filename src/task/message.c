/*
 * Messages: theory.
 *
 * 1. A message to a task that waits for it is seven registers, written into the receiver's context: no memory, nothing
 *    kept. Else it is kept in a record until asked for: of a cache, or with data in a block of the heap. A record is
 *    there before anything else is done, and whether the receiver has room for one more.
 *
 * 2. Pages go with the send, by the spaces' own calls: when the message is there, they are the receiver's, whether it
 *    has asked for it or not. So a message in flight holds nothing, and to drop it loses nothing.
 *
 * 3. Data are copied twice, in the call of the sender and in that of the receiver: each while its own space is current.
 *    A receiver that waits is in no call; so it is made ready, and told to ask again: its context goes back to the
 *    instruction of the call, whose registers are still there. That costs one more way into the kernel, and nothing has
 *    to be known of a receiver but that it waits.
 *
 * 4. Order: of one receiver's messages, that of their ids; with `from`, of those of this sender. Only the latter is
 *    searched for, through at most what may wait.
 *
 * 5. Room. Who sends may leave no more messages than there is then still room for in the queue: one sender half of it,
 *    two three quarters, so whoever has sent nothing yet finds room until some log2(limit) others work together. To
 *    count them is to look at the queue, and only for a message that is kept.
 *
 * Rejected: a copy between two spaces at once (pages of a space that is not current would have to be brought, and the
 * receiver's mistakes would be the sender's to hear); a rendezvous, where the sender waits too (two turns a message).
 */
#include "task/message.h"

#include "lib/macros.h"
#include "task/call.h"

void message_free(struct tasks *tasks, struct task_message *m)
{
    if (m->id >> 56 == TASK_MESSAGE_DATA) {
        (void)!heap_free(tasks->heap, m);
    } else {
        (void)!heap_cache_free(&tasks->message_cache, m);
    }
}

/* ---- What the receiver finds ---- */

/* All but RAX. */
static void put_registers(struct task *to, uint64_t sender, uint64_t time, uint64_t id, uint64_t word0, uint64_t word1)
{
    struct interrupt_frame *f = &to->context.frame;
    f->rdi = sender;
    f->rsi = to->id;
    f->rdx = time;
    f->r10 = id;
    f->r8 = word0;
    f->r9 = word1;
}

static uint64_t next_id(struct tasks *tasks, enum task_message_kind kind)
{
    return tasks->next_message++ | (uint64_t)kind << 56;
}

static inline bool waits_for(const struct task *to, const struct task *sender)
{
    return to->state == TASK_WAITING && (to->waits_for == 0 || to->waits_for == sender->id);
}

/* The receiver waits for it. */
static void hand_over(struct task *task, struct task *to, enum task_message_kind kind, uint64_t word0, uint64_t word1)
{
    struct tasks *tasks = task->system;
    put_registers(to, task->id, tasks->port.ticks(tasks->port.ctx), next_id(tasks, kind), word0, word1);
    to->context.frame.rax = STATUS_OK;
    turns_add(to);
}

static void keep(struct task *task, struct task *to, struct task_message *m, enum task_message_kind kind,
                 uint64_t word0, uint64_t word1)
{
    struct tasks *tasks = task->system;
    m->next = NULL;
    m->id = next_id(tasks, kind);
    m->time = tasks->port.ticks(tasks->port.ctx);
    m->words[0] = word0;
    m->words[1] = word1;
    m->sender = task->id;
    *(to->last != NULL ? &to->last->next : &to->first) = m;
    to->last = m;
    to->messages++;
    tasks->messages++;
}

/* One more of this sender's may be kept: it has left no more than there is room for. */
static bool has_room(const struct task *to, const struct task *sender)
{
    unsigned left = 0;
    for (const struct task_message *m = to->first; m != NULL; m = m->next) {
        left += m->sender == sender->id;
    }
    return to->messages + left < to->limits.messages;
}

/* A record for a message that is kept, if one may be. => OK; LIMIT; NOMEM */
static enum status make_record(const struct task *task, struct task *to, struct task_message **m)
{
    if (!has_room(to, task)) {
        return STATUS_LIMIT;
    }
    *m = heap_cache_alloc(&to->system->message_cache);
    return *m != NULL ? STATUS_OK : STATUS_NOMEM;
}

/* ---- Sending ---- */

static enum status send_words(struct task *task, struct task *to, const struct interrupt_frame *f)
{
    if (waits_for(to, task)) {
        hand_over(task, to, TASK_MESSAGE_WORDS, f->rsi, f->rdx);
        return STATUS_OK;
    }
    struct task_message *m;
    const enum status s = make_record(task, to, &m);
    if (s == STATUS_OK) {
        keep(task, to, m, TASK_MESSAGE_WORDS, f->rsi, f->rdx);
    }
    return s;
}

static enum status send_pages(struct task *task, struct task *to, const struct interrupt_frame *f)
{
    const uint64_t uses = TASK_READ | TASK_WRITE | TASK_EXECUTE, bytes = pages_to_bytes(bytes_to_pages_up(f->r8));
    const struct task_gift gift = {
        .va = f->r10, .bytes = f->r8, .rights = f->r9 & uses, .takes = (f->r9 & ~uses) == TASK_GIVE};
    const bool is_kept = !waits_for(to, task);
    struct task_message *m = NULL;
    enum status s = is_kept ? make_record(task, to, &m) : STATUS_OK;
    if (s != STATUS_OK) {
        return s;
    }
    s = call_give(task, to, &gift);
    if (s == STATUS_OK && is_kept) {
        keep(task, to, m, TASK_MESSAGE_PAGES, f->r10, bytes);
    } else if (s == STATUS_OK) {
        hand_over(task, to, TASK_MESSAGE_PAGES, f->r10, bytes);
    } else if (is_kept) {
        (void)!heap_cache_free(&task->system->message_cache, m);
    }
    return s;
}

/* It waits, and asks again when it runs. */
static void ask_again(struct task *to)
{
    enum { CALL_BYTES = 2 }; /* of SYSCALL, and of INT n */
    to->context.frame.rip -= CALL_BYTES;
    turns_add(to);
}

static enum status send_data(struct task *task, struct task *to, const struct interrupt_frame *f)
{
    if (f->r8 > TASK_DATA_BYTES || !has_room(to, task)) {
        return STATUS_LIMIT;
    }
    struct heap *heap = task->system->heap;
    struct task_message *m = heap_alloc(heap, sizeof *m + f->r8);
    if (m == NULL) {
        return STATUS_NOMEM;
    }
    m->bytes = f->r8;
    const enum status s = call_copy_in(task, m->data, f->r10, f->r8);
    if (s != STATUS_OK) {
        (void)!heap_free(heap, m);
        return s;
    }
    keep(task, to, m, TASK_MESSAGE_DATA, f->rsi, f->rdx);
    if (waits_for(to, task)) {
        ask_again(to);
    }
    return STATUS_OK;
}

enum status call_send(struct task *task, struct interrupt_frame *f)
{
    struct task *to = call_find(task->system, f->rdi);
    if (to == NULL) {
        return STATUS_ABSENT;
    }
    switch (f->r9 & ~(uint64_t)(TASK_READ | TASK_WRITE | TASK_EXECUTE)) {
    case 0: return f->r9 == 0 ? send_words(task, to, f) : STATUS_INVALID;
    case TASK_DATA: return f->r9 == TASK_DATA ? send_data(task, to, f) : STATUS_INVALID;
    case TASK_GIVE:
    case TASK_LEND: return send_pages(task, to, f);
    }
    return STATUS_INVALID;
}

/* ---- Receiving ---- */

/* The first message of this sender (0: of anybody), and the one before it. Null: none. */
static struct task_message *find(const struct task *task, uint64_t from, struct task_message **before)
{
    struct task_message *m = task->first;
    *before = NULL;
    while (m != NULL && from != 0 && m->sender != from) {
        *before = m;
        m = m->next;
    }
    return m;
}

/* The data into the receiver's buffer. => OK; LIMIT, RDX the bytes they take there; DENIED */
static enum status copy_data(struct task *task, struct interrupt_frame *f, const struct task_message *m)
{
    enum { HEADER_BYTES = offsetof(struct task_message, data) - offsetof(struct task_message, bytes) };
    static_assert((size_t)HEADER_BYTES == sizeof(struct task_data), "as it will lie in the buffer");
    const uint64_t bytes = sizeof(struct task_data) + m->bytes;
    if (bytes > f->rdx) {
        f->rdx = bytes;
        return STATUS_LIMIT;
    }
    return call_copy_out(task, f->rsi, (const char *)m + offsetof(struct task_message, bytes), bytes);
}

/* It leaves the queue and is gone. => OK; as copy_data */
static enum status take(struct task *task, struct interrupt_frame *f, struct task_message *m,
                        struct task_message *before)
{
    struct tasks *tasks = task->system;
    const enum status s = m->id >> 56 == TASK_MESSAGE_DATA ? copy_data(task, f, m) : STATUS_OK;
    if (s != STATUS_OK) {
        return s;
    }
    *(before != NULL ? &before->next : &task->first) = m->next;
    if (task->last == m) {
        task->last = before;
    }
    task->messages--;
    tasks->messages--;
    put_registers(task, m->sender, m->time, m->id, m->words[0], m->words[1]);
    message_free(tasks, m);
    return STATUS_OK;
}

enum status call_receive(struct task *task, struct interrupt_frame *f)
{
    const uint64_t from = f->rdi, flags = f->r10;
    if ((flags & ~(uint64_t)TASK_NO_WAIT) != 0) {
        return STATUS_INVALID;
    }
    enum status s = f->rdx != 0 ? call_check_bytes(f->rsi, f->rdx) : STATUS_OK;
    if (s != STATUS_OK) {
        return s;
    }
    struct task_message *before, *m = find(task, from, &before);
    if (m != NULL) {
        return take(task, f, m, before);
    }
    if (from != 0 && call_find(task->system, from) == NULL) {
        return STATUS_ABSENT;
    }
    if (flags != 0 || from == task->id) {
        return STATUS_AGAIN; /* whom it could wake is not itself */
    }
    turns_leave(task);
    task->state = TASK_WAITING;
    task->waits_for = (unsigned)from;
    return STATUS_OK;
}

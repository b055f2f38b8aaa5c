/*
 * What each entry was: a record for each present value, from the event that stored it to the event that replaced it.
 *
 * Records are kept for frames that may be walked as a table: a root that was loaded, and everything that it names,
 * level by level. A frame may have several roles at once: a PD is also the PT of its window pages. A record leaves when
 * no CPU can have cached it and no chain of cached entries needs it (history_prune).
 */
#include <stdlib.h>

#include "arch/arch.h"
#include "lib/string.h"
#include "model/mmu.h"

enum { RECORDS_AT_FIRST = 5000, SWEEP_AT_LEAST = 8000 };

static record_t *naming_list(const struct model *m, pfn_t frame)
{
    return &m->history->naming[history_list(m, frame)];
}

record_t history_naming(const struct model *m, pfn_t frame)
{
    return *naming_list(m, frame);
}

static void *more(void *old, size_t count, size_t size)
{
    void *p = realloc(old, count * size);
    if (p == NULL) {
        arch_fatal("no memory for the model's history");
    }
    return p;
}

void history_start(struct model *m)
{
    struct model_history *h = calloc(1, sizeof *h);
    h->capacity = RECORDS_AT_FIRST;
    h->record = more(NULL, h->capacity, sizeof *h->record);
    h->used = 1;
    h->sweep_at = SWEEP_AT_LEAST;
    h->naming = calloc(m->ram.v + MODEL_DEVICE_LISTS, sizeof *h->naming);
    h->typed = calloc(m->ram.v + MODEL_DEVICE_LISTS, sizeof *h->typed);
    h->table = calloc(m->ram.v, sizeof *h->table);
    m->history = h;
}

void history_end(struct model *m)
{
    struct model_history *h = m->history;
    for (uint64_t i = 0; i < m->ram.v; i++) {
        free(h->table[i]);
    }
    free(h->table);
    free(h->naming);
    free(h->typed);
    free(h->record);
    free(h);
}

static void count_types(struct model *m, const struct model_record *rec, uint32_t more)
{
    m->history->typed[history_list(m, pte_pfn((pte_t){rec->value}))][history_type_bits(rec->value)] += more;
}

static void link_by_frame(struct model *m, record_t r)
{
    struct model_record *rec = record_at(m, r);
    count_types(m, rec, 1);
    record_t *list = naming_list(m, pte_pfn((pte_t){rec->value}));
    rec->frame_next = *list;
    rec->frame_before = 0;
    if (*list != 0) {
        record_at(m, *list)->frame_before = r;
    }
    *list = r;
}

static void unlink_by_frame(struct model *m, record_t r)
{
    struct model_record *rec = record_at(m, r);
    count_types(m, rec, UINT32_MAX);
    if (rec->frame_before != 0) {
        record_at(m, rec->frame_before)->frame_next = rec->frame_next;
    } else {
        *naming_list(m, pte_pfn((pte_t){rec->value})) = rec->frame_next;
    }
    if (rec->frame_next != 0) {
        record_at(m, rec->frame_next)->frame_before = rec->frame_before;
    }
}

static void begin_record(struct model *m, struct model_table *t, pfn_t frame, unsigned index, uint64_t value,
                         uint64_t from)
{
    struct model_history *h = m->history;
    record_t r = h->unused;
    if (r != 0) {
        h->unused = h->record[r].older;
    } else {
        if (h->used == h->capacity) {
            h->capacity *= 2;
            h->record = more(h->record, h->capacity, sizeof *h->record);
        }
        r = h->used++;
    }
    h->record[r] = (struct model_record){
        .value = value & MODEL_DECIDES,
        .from = from,
        .to = MODEL_NOW,
        .table = (uint32_t)frame.v,
        .index = (uint16_t)index,
        .older = t->newest[index],
    };
    t->newest[index] = r;
    h->globals += (value & PTE_G) != 0;
    h->has_large = h->has_large || (value & PTE_PS) != 0;
    link_by_frame(m, r);
}

static void end_record(struct model *m, record_t r)
{
    struct model_history *h = m->history;
    struct model_record *rec = record_at(m, r);
    rec->to = m->clock;
    rec->ended_next = 0;
    if ((rec->value & PTE_G) != 0) {
        h->globals--;
        h->global_ended = m->clock;
    }
    if (h->ended_last != 0) {
        record_at(m, h->ended_last)->ended_next = r;
    } else {
        h->ended_first = r;
    }
    h->ended_last = r;
    h->ended_count++;
}

/* Out of its entry's chain, its frame's list, and the pool's use. The list of those that ended is the caller's. */
static void forget_record(struct model *m, record_t r)
{
    struct model_record *rec = record_at(m, r);
    m->history->globals -= rec->to == MODEL_NOW && (rec->value & PTE_G) != 0;
    record_t *at = &m->history->table[rec->table]->newest[rec->index];
    while (*at != r) {
        at = &record_at(m, *at)->older;
    }
    *at = rec->older;
    unlink_by_frame(m, r);
    rec->value = 0;
    rec->older = m->history->unused;
    m->history->unused = r;
}

static record_t current_record(const struct model *m, const struct model_table *t, unsigned index)
{
    record_t r = t->newest[index];
    return r != 0 && record_at(m, r)->to == MODEL_NOW ? r : 0;
}

/* Whatever a table's entry names is a table too, in each role that the entry has. */
static void follow(struct model *m, unsigned roles, uint64_t value)
{
    for (unsigned level = 2; level <= PAGING_LEVELS; level++) {
        if ((roles & 1U << level) != 0 && !entry_is_leaf(value, level) && !entry_is_reserved(m, value, level)) {
            history_add_role(m, pte_pfn((pte_t){value}), level - 1);
        }
    }
}

static struct model_table *make_table(struct model *m, pfn_t frame)
{
    struct model_table **t = &m->history->table[frame.v];
    if (*t == NULL) {
        *t = calloc(1, sizeof **t);
        if (*t == NULL) {
            arch_fatal("no memory for the model's tables");
        }
    }
    return *t;
}

void history_add_role(struct model *m, pfn_t frame, unsigned level)
{
    if (frame.v >= m->ram.v || m->is_plain) {
        return; /* nothing to be read there; rules.c complains */
    }
    struct model_table *t = make_table(m, frame);
    if ((t->roles & 1U << level) != 0) {
        return;
    }
    bool is_new = t->roles == 0;
    t->roles |= 1U << level;
    t->ever |= t->roles;
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        uint64_t value = memory_entry(m, frame, i)->v;
        if ((value & PTE_P) != 0) {
            if (is_new) {
                begin_record(m, t, frame, i, value, m->clock);
            }
            follow(m, 1U << level, value);
        }
        if (is_new) {
            t->since[i] = m->clock;
            t->accessed_cleared[i] = t->dirty_cleared[i] = 0;
        }
    }
}

void history_drop_table(struct model *m, pfn_t frame)
{
    struct model_table *t = table_of(m, frame);
    if (t == NULL || t->roles == 0) {
        return;
    }
    m->clock++;
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        record_t r = current_record(m, t, i);
        if (r != 0) {
            end_record(m, r);
        }
        t->since[i] = m->clock;
    }
    t->roles = 0;
}

static void store(struct model *m, pfn_t frame, unsigned index, uint64_t value, bool atomic)
{
    uint64_t *word = &memory_entry(m, frame, index)->v;
    struct model_table *t = table_of(m, frame);
    if (t != NULL && t->roles != 0) {
        marks_store(m, frame, index, value, atomic);
    }
    uint64_t old = *word;
    bool matters = ((old | value) & PTE_P) != 0 && ((old ^ value) & MODEL_DECIDES) != 0;
    if (t == NULL || t->roles == 0 || !matters) {
        *word = value;
        return;
    }
    rules_store(m, frame, index, old, value);
    m->clock++;
    record_t r = current_record(m, t, index);
    if (r != 0) {
        end_record(m, r);
    }
    *word = value;
    t->since[index] = m->clock;
    if ((value & PTE_P) != 0) {
        begin_record(m, t, frame, index, value, m->clock);
        follow(m, t->roles, value);
        /* Some walk may come by at once. */
        m->random = m->random * 6364136223846793005 + 1442695040888963407;
        *word |= m->random >> 63 != 0 ? PTE_A : 0;
    }
    rules_stored(m, frame, index, value);
    if (m->history->ended_count > m->history->sweep_at) {
        history_prune(m);
    }
}

void history_store(struct model *m, pfn_t frame, unsigned index, uint64_t value)
{
    store(m, frame, index, value, false);
}
void history_replace(struct model *m, pfn_t frame, unsigned index, uint64_t value)
{
    store(m, frame, index, value, true);
}

void history_rewrite(struct model *m, pfn_t frame, unsigned index, uint64_t value)
{
    struct model_table *t = table_of(m, frame);
    memory_entry(m, frame, index)->v = value;
    if (t == NULL || t->roles == 0) {
        return;
    }
    record_t r = current_record(m, t, index);
    if (r != 0) {
        forget_record(m, r);
    }
    if ((value & PTE_P) != 0) {
        begin_record(m, t, frame, index, value, t->since[index]);
        follow(m, t->roles, value);
    }
    t->since[index] = ++m->clock;
}

/* Forgets the ended records for which `is_done` says so. */
static void forget_ended(struct model *m, bool (*is_done)(struct model *m, record_t r), bool stops)
{
    struct model_history *h = m->history;
    record_t r = h->ended_first, last = 0;
    while (r != 0) {
        record_t next = record_at(m, r)->ended_next;
        if (is_done(m, r)) {
            if (last != 0) {
                record_at(m, last)->ended_next = next;
            } else {
                h->ended_first = next;
            }
            forget_record(m, r);
            h->ended_count--;
        } else if (stops) {
            return; /* the others ended later; `last` and the list's end are as they were */
        } else {
            last = r;
        }
        r = next;
    }
    h->ended_last = last;
}

static bool is_past(struct model *m, record_t r)
{
    return record_at(m, r)->to <= cpus_horizon(m);
}
static bool is_unneeded(struct model *m, record_t r)
{
    return !record_at(m, r)->needed;
}

void history_prune(struct model *m)
{
    struct model_history *h = m->history;
    if (h->ended_first != 0) {
        forget_ended(m, is_past, true);
    }
    if (h->ended_count <= h->sweep_at) {
        return;
    }
    for (record_t r = 1; r < h->used; r++) {
        record_at(m, r)->needed = false;
    }
    for (record_t r = 1; r < h->used; r++) {
        if (record_at(m, r)->value != 0) {
            record_mark_needed(m, r);
        }
    }
    forget_ended(m, is_unneeded, false);
    h->sweep_at = h->ended_count * 2 > SWEEP_AT_LEAST ? h->ended_count * 2 : SWEEP_AT_LEAST;
}

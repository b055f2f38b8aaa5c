/*
 * Cache types: a frame has one, through whatever leaf of whatever size, window or address space it is seen (R4; SDM 3A
 * 12.12.4), and while a translation with the old one may still be cached.
 *
 * A leaf has a type in each role of its table: a PDE with PS is a leaf of 2 MiB, and as a PTE of the window a leaf of
 * 4 KiB, where bit 7 is the PAT bit.
 */
#include "lib/string.h"
#include "model/mmu.h"

/* Pages of the leaf in the largest role of its table; 0: in no role a leaf. */
static uint64_t leaf_pages(const struct model *m, pfn_t table, uint64_t value)
{
    unsigned roles = table_of(m, table)->ever;
    for (unsigned level = 3; level > 0; level--) {
        if ((roles & 1U << level) != 0 && entry_is_leaf(value, level) && !entry_is_reserved(m, value, level)) {
            return bytes_to_pages_down(level_span_bytes(level)).v;
        }
    }
    return 0;
}

/* The types of the leaf in all roles of its table, as a set. */
static unsigned leaf_types(const struct model *m, pfn_t table, uint64_t value)
{
    unsigned roles = table_of(m, table)->ever, types = 0;
    for (unsigned level = 1; level <= 3; level++) {
        if ((roles & 1U << level) != 0 && entry_is_leaf(value, level) && !entry_is_reserved(m, value, level)) {
            types |= 1U << leaf_cache(m, entry_cut(value, vaddr(0), level, walk_all_rights));
        }
    }
    return types;
}

struct frames {
    uint64_t first, end;
};

static struct frames leaf_frames(const struct model *m, pfn_t table, uint64_t value)
{
    const uint64_t pages = leaf_pages(m, table, value), frame = pte_pfn((pte_t){value}).v;
    const uint64_t first = pages == 0 ? 0 : frame / pages * pages; /* bit 12 of a large leaf is not the frame's */
    return (struct frames){first, first + pages};
}

/* The PAT bit decides something. */
static bool pat_counts(const struct model *m)
{
    return memcmp(m->variant.pat, &m->variant.pat[MODEL_TYPE_BITS], MODEL_TYPE_BITS) != 0;
}

/* Has this list of leaves other bits for types than `bits`? The PAT bit counts unless it is mirrored. */
static bool has_other_types(const struct model *m, uint64_t list, unsigned bits)
{
    const uint32_t *typed = m->history->typed[list];
    bool other = false;
    for (unsigned i = 0; i < MODEL_TYPE_BITS; i++) {
        other = other || (i != bits && typed[i] > 0);
    }
    return other || pat_counts(m);
}

/* The types of all leaves in the list of `frame` that share frames with `all`; those by the bits `known` left out. */
static unsigned types_in_list(struct model *m, pfn_t frame, struct frames all, unsigned known)
{
    unsigned types = 0;
    if (!has_other_types(m, history_list(m, frame), known)) {
        return 0;
    }
    for (record_t r = history_naming(m, frame); r != 0; r = record_at(m, r)->frame_next) {
        const struct model_record *rec = record_at(m, r);
        if (history_type_bits(rec->value) == known) {
            continue;
        }
        const struct frames other = leaf_frames(m, pfn(rec->table), rec->value);
        unsigned more = leaf_types(m, pfn(rec->table), rec->value) & ~types;
        if (other.first < all.end && all.first < other.end && more != 0 &&
            (rec->to == MODEL_NOW || record_is_held(m, r))) {
            types |= more;
        }
    }
    return types;
}

/* Those of smaller leaves within, and of larger ones around. `bits`: for the type, of the leaf in question. */
static unsigned types_of(struct model *m, struct frames all, unsigned bits)
{
    const uint64_t chunk = PAGES_PER_2M, huge = chunk * TABLE_ENTRIES;
    const unsigned known = pat_counts(m) ? UINT32_MAX : bits;
    unsigned types = 0;
    for (uint64_t frame = all.first; frame < all.end && frame < m->ram.v; frame++) {
        types |= types_in_list(m, pfn(frame), all, known);
    }
    for (uint64_t at = all.first / chunk; at * chunk < all.end; at++) {
        if (history_list(m, pfn(at * chunk)) >= m->ram.v) {
            types |= types_in_list(m, pfn(at * chunk), all, known);
        }
    }
    if (m->history->has_large && all.first < m->ram.v) {
        types |= types_in_list(m, pfn(all.first / chunk * chunk), all, known);
        types |= types_in_list(m, pfn(all.first / chunk * chunk + 1), all, known);
    }
    if (m->history->has_large) {
        types |= types_in_list(m, pfn(all.first / huge * huge), all, known);
        types |= types_in_list(m, pfn(all.first / huge * huge + 1), all, known);
    }
    return types;
}

void types_stored(struct model *m, pfn_t table, unsigned index, uint64_t value)
{
    m->history->has_typed = m->history->has_typed || (value & (PTE_PWT | PTE_PCD | PTE_PS)) != 0;
    unsigned types = m->history->has_typed ? leaf_types(m, table, value) : 0;
    if (types != 0) {
        types |= types_of(m, leaf_frames(m, table, value), history_type_bits(value));
    }
    if ((types & (types - 1)) == 0) {
        return;
    }
    struct model_report r = {
        .rule = MODEL_CACHE_ALIAS,
        .cpu = m->current_cpu,
        .pcid = m->cpu[m->current_cpu].pcid,
        .level = 1,
        .table = table,
        .index = index,
        .new_value = {value},
        .changed = m->clock,
        .frame = pte_pfn((pte_t){value}),
    };
    model_violation(m, r, "frame %#lx has more than one cache type: set %#x", r.frame.v, types);
}

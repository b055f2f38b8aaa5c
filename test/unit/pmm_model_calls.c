/* The slow, obvious model of the PMM: what calls must answer, and what they do. */
#include "unit/pmm_model.h"

/* ---- Who may have frames ---- */

enum pmm_zone model_highest_zone(unsigned flags)
{
    return (flags & PMM_BELOW_1M) != 0    ? PMM_ZONE_1M
           : (flags & PMM_BELOW_16M) != 0 ? PMM_ZONE_16M
           : (flags & PMM_BELOW_4G) != 0  ? PMM_ZONE_4G
                                          : PMM_ZONE_HIGH;
}

uint64_t model_limit(unsigned flags)
{
    static const uint64_t ends[] = {MIB, 16 * MIB, 4 * GIB};
    enum pmm_zone zone = model_highest_zone(flags);
    return zone == PMM_ZONE_HIGH ? UINT64_MAX : bytes_to_pages_down(ends[zone]).v;
}

bool model_flags_wrong(const struct pmm_model *m, unsigned flags, uint64_t n)
{
    const unsigned known = PMM_USER | PMM_PROMISED | PMM_BELOW_1M | PMM_BELOW_16M | PMM_BELOW_4G | PMM_EMERGENCY |
                           PMM_NO_RECLAIM | PMM_OWNER(UINT16_MAX);
    unsigned owner = flags >> PMM_OWNER_SHIFT;
    return (flags & ~known) != 0 || (owner != 0 && (owner > MODEL_OWNERS || !m->owners[owner].is_open)) ||
           ((flags & PMM_PROMISED) != 0 && n > m->promised);
}

bool model_has_reserves(const struct pmm_model *m)
{
    bool has = false;
    for (size_t z = 0; z < PMM_ZONES; z++) {
        has = has || m->zone_reserve[z] > 0;
    }
    return has;
}

struct zone_frames {
    uint64_t free[PMM_ZONES], cached[PMM_ZONES]; /* cached ones are in both */
};

static struct zone_frames count_zones(const struct pmm_model *m)
{
    struct zone_frames zones = {.free = {0}};
    for (uint64_t f = m->first; f < m->end; f++) {
        if (model_kind(m, f) == MODEL_FREE) {
            zones.free[model_zone(f)]++;
            zones.cached[model_zone(f)] += model_is_cached(m, f);
        }
    }
    return zones;
}

static uint64_t less(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* Frames that such a request may take of the zones it may be served from. */
static uint64_t room(const struct pmm_model *m, unsigned flags)
{
    struct zone_frames zones = count_zones(m);
    enum pmm_zone limit = model_highest_zone(flags);
    uint64_t sum = 0;
    for (enum pmm_zone z = PMM_ZONE_1M; z <= limit; z++) {
        bool may_empty = z == limit || (flags & (PMM_EMERGENCY | PMM_PROMISED)) != 0;
        uint64_t kept = may_empty ? 0 : m->zone_reserve[z];
        uint64_t there = zones.free[z] - zones.cached[z];
        sum += there - less(there, kept);
    }
    return sum;
}

uint64_t model_kept_by_zones(const struct pmm_model *m, unsigned flags)
{
    if (!model_has_reserves(m) || (flags & (PMM_EMERGENCY | PMM_PROMISED)) != 0) {
        return 0;
    }
    struct zone_frames zones = count_zones(m);
    enum pmm_zone limit = model_highest_zone(flags);
    uint64_t sum = 0;
    for (enum pmm_zone z = PMM_ZONE_1M; z <= limit; z++) {
        bool asked_for = z == limit && limit != PMM_ZONE_HIGH;
        sum += asked_for ? 0 : less(zones.free[z], m->zone_reserve[z]);
    }
    return sum;
}

bool model_zone_leaves(const struct pmm_model *m, enum pmm_zone zone, unsigned flags, uint64_t n)
{
    if (zone == model_highest_zone(flags) || m->zone_reserve[zone] == 0 ||
        (flags & (PMM_EMERGENCY | PMM_PROMISED)) != 0) {
        return true;
    }
    struct zone_frames zones = count_zones(m);
    return zones.free[zone] - zones.cached[zone] >= n + m->zone_reserve[zone];
}

/* Frames that promises and the emergency reserve leave to such a request. */
static uint64_t budget(struct pmm_model *m, unsigned flags)
{
    return (flags & PMM_PROMISED) != 0    ? m->promised
           : (flags & PMM_EMERGENCY) != 0 ? model_free(m) - m->promised
                                          : model_avail(m);
}

bool model_may_serve(struct pmm_model *m, unsigned flags, uint64_t n)
{
    bool limited = model_highest_zone(flags) != PMM_ZONE_HIGH || model_has_reserves(m);
    /* What was in a magazine was taken from its zone before. */
    return n <= budget(m, flags) && (!limited || n <= room(m, flags) + m->cached);
}

bool model_must_serve(struct pmm_model *m, unsigned flags, uint64_t n)
{
    if (model_is_broken(m)) {
        return false;
    }
    bool promised = (flags & PMM_PROMISED) != 0; /* promised frames are in no magazine */
    uint64_t elsewhere = promised ? 0 : model_out_of_reach(m);
    if (n + elsewhere + model_kept_by_zones(m, flags) > budget(m, flags)) {
        return false;
    }
    /* What metadata will take may be taken from just this zone. */
    return model_highest_zone(flags) == PMM_ZONE_HIGH || n + model_earmarked(m) <= room(m, flags);
}

uint64_t model_for_all(struct pmm_model *m)
{
    uint64_t avail = model_avail(m), kept = model_kept_by_zones(m, 0);
    return avail > kept ? avail - kept : 0;
}

/* ---- Single frames ---- */

void model_allocated(struct pmm_model *m, uint64_t frame)
{
    if (!AGREE_EQ(m, model_kind(m, frame), MODEL_FREE)) {
        test_note("frame %#lx was handed out", frame);
        return;
    }
    model_set(m, frame, MODEL_USED);
    m->run[frame / PMM_BLOCK_FRAMES - m->first / PMM_BLOCK_FRAMES] = MODEL_NONE_RUN;
    m->allocated++;
}

void model_metadata(struct pmm_model *m, uint64_t frame)
{
    if (!AGREE_EQ(m, model_kind(m, frame), MODEL_FREE)) {
        test_note("frame %#lx became metadata", frame);
        return;
    }
    model_set(m, frame, MODEL_METADATA);
}

void model_claimed(struct pmm_model *m, uint64_t first, uint64_t frames)
{
    for (uint64_t f = first; f < first + frames; f++) {
        model_allocated(m, f);
        m->marks[f - m->first] |= MARK_CLAIMED;
    }
}

unsigned model_claim(struct pmm_model *m, uint64_t first, uint64_t frames)
{
    if (frames == 0 || first + frames < first) {
        return MAY(STATUS_INVALID);
    }
    unsigned wrong = 0, maybe = model_is_broken(m) ? MAY(STATUS_OK) | MAY(STATUS_NOMEM) | MAY(STATUS_CORRUPT) : 0;
    if (first < m->first || first + frames > m->end) {
        wrong = MAY(STATUS_ABSENT);
    }
    for (uint64_t f = first > m->first ? first : m->first; f < first + frames && f < m->end; f++) {
        enum model_kind kind = model_kind(m, f);
        wrong |= kind == MODEL_OUTSIDE || kind == MODEL_ABSENT ? MAY(STATUS_ABSENT) : 0;
        wrong |= kind > MODEL_FREE ? MAY(STATUS_EXISTS) : 0;
        maybe |= kind == MODEL_FREE && m->bed->cpu_count > 1 && model_is_cached(m, f) ? MAY(STATUS_EXISTS) : 0;
    }
    if (wrong != 0) {
        return wrong | (maybe & ~MAY(STATUS_OK));
    }
    uint64_t avail = model_avail(m), kept = model_out_of_reach(m) + model_kept_by_zones(m, 0);
    return maybe | (frames <= avail ? MAY(STATUS_OK) : 0) | (frames + kept > avail ? MAY(STATUS_NOMEM) : 0);
}

unsigned model_give_back(const struct pmm_model *m, uint64_t first, uint64_t frames)
{
    if (frames == 0 || first + frames < first) {
        return MAY(STATUS_MISUSE);
    }
    unsigned wrong = 0;
    for (uint64_t f = first; f < first + frames && (wrong & MAY(STATUS_MISUSE)) == 0; f++) {
        bool reserved = f != 0 && model_kind(m, f) == MODEL_RESERVED;
        wrong |= !reserved ? MAY(STATUS_MISUSE) : model_is_left_out(m, f) ? MAY(STATUS_NOMEM) : 0;
    }
    const struct pmm *pmm = &m->bed->pmm;
    unsigned full = pmm->hold_count >= pmm->hold_capacity ? MAY(STATUS_LIMIT) : 0;
    return wrong != 0 ? wrong : MAY(STATUS_OK) | full;
}

/* Frames with more than one reference that are to go bad. */
static uint64_t shared_and_going_bad(const struct pmm_model *m)
{
    uint64_t count = 0;
    for (uint64_t f = m->first; f < m->end; f++) {
        count += (model_marks(m, f) & MARK_GOES_BAD) != 0 && model_references(m, f) > 1;
    }
    return count;
}

unsigned model_retain(const struct pmm_model *m, uint64_t frame)
{
    enum model_kind kind = model_kind(m, frame);
    if (kind == MODEL_RUN || kind == MODEL_ZERO) {
        return MAY(STATUS_OK);
    }
    if (kind != MODEL_USED) {
        return MAY(STATUS_MISUSE);
    }
    bool one_more_waits = (model_marks(m, frame) & MARK_GOES_BAD) != 0 && model_references(m, frame) == 1;
    unsigned full = one_more_waits && shared_and_going_bad(m) >= PMM_BAD_SHARED_MAX ? MAY(STATUS_LIMIT) : 0;
    return full | (model_references(m, frame) < PMM_REFERENCES_MAX ? MAY(STATUS_OK) : MAY(STATUS_LIMIT));
}

void model_retained(struct pmm_model *m, uint64_t frame)
{
    if (model_kind(m, frame) == MODEL_ZERO) {
        return;
    }
    model_split(m, frame, 1);
    m->references[frame - m->first]++;
    m->marks[frame - m->first] |= MARK_WAS_SHARED;
}

enum status model_free_one(const struct pmm_model *m, uint64_t frame)
{
    return model_kind(m, frame) == MODEL_USED && model_references(m, frame) == 1 ? STATUS_OK : STATUS_MISUSE;
}

enum status model_release(const struct pmm_model *m, uint64_t frame)
{
    enum model_kind kind = model_kind(m, frame);
    return kind == MODEL_USED || kind == MODEL_RUN || kind == MODEL_ZERO ? STATUS_OK : STATUS_MISUSE;
}

void model_released(struct pmm_model *m, uint64_t frame)
{
    if (model_kind(m, frame) == MODEL_ZERO) {
        return;
    }
    model_split(m, frame, 1);
    if (--m->references[frame - m->first] == 0) {
        bool bad = (model_marks(m, frame) & MARK_GOES_BAD) != 0;
        model_set(m, frame, bad ? MODEL_BAD : MODEL_FREE);
        m->freed++;
    }
}

/* ---- What breaks ---- */

unsigned model_mark_bad(struct pmm_model *m, uint64_t frame)
{
    unsigned maybe = model_is_broken(m) ? MAY(STATUS_OK) | MAY(STATUS_NOMEM) | MAY(STATUS_CORRUPT) : 0;
    uint64_t avail = model_avail(m);
    switch (model_kind(m, frame)) {
        case MODEL_OUTSIDE:
        case MODEL_ABSENT: return MAY(STATUS_ABSENT);
        case MODEL_METADATA: return (maybe & MAY(STATUS_CORRUPT)) | MAY(STATUS_MISUSE); /* paid in this very call */
        case MODEL_ZERO: return MAY(STATUS_MISUSE);
        case MODEL_BAD: return MAY(STATUS_EXISTS);
        case MODEL_RUN: return MAY(STATUS_OK);
        case MODEL_RESERVED: return maybe | MAY(STATUS_OK);
        case MODEL_FREE:
            if (m->bed->cpu_count > 1 && model_is_cached(m, frame)) {
                return maybe | MAY(STATUS_LIMIT); /* in another's magazine */
            }
            return maybe | (avail > 0 ? MAY(STATUS_OK) : 0) |
                   (avail <= model_kept_by_zones(m, 0) + model_out_of_reach(m) ? MAY(STATUS_NOMEM) : 0);
        case MODEL_USED:
            if ((model_marks(m, frame) & MARK_GOES_BAD) != 0) {
                return MAY(STATUS_EXISTS);
            }
            return model_references(m, frame) > 1 && shared_and_going_bad(m) >= PMM_BAD_SHARED_MAX ? MAY(STATUS_LIMIT)
                                                                                                   : MAY(STATUS_OK);
        default: return ~0U;
    }
}

void model_marked_bad(struct pmm_model *m, uint64_t frame)
{
    enum model_kind kind = model_kind(m, frame);
    if (model_is_left_out(m, frame)) {
        return; /* nothing of it is ever handed out */
    }
    if (kind == MODEL_FREE || kind == MODEL_RESERVED) {
        model_set(m, frame, MODEL_BAD);
        return;
    }
    model_split(m, frame, 1);
    m->marks[frame - m->first] |= MARK_GOES_BAD;
}

void model_mourn(struct pmm_model *m, uint64_t most)
{
    uint64_t count = 0;
    for (uint64_t f = m->first; f < m->end; f++) {
        enum pmm_state state = pmm_query(&m->bed->pmm, pfn(f)).state;
        bool free = state == PMM_STATE_FREE || state == PMM_STATE_UNTOUCHED || state == PMM_STATE_CACHED;
        if (model_kind(m, f) == MODEL_FREE && !free) {
            model_set(m, f, MODEL_GONE);
            count++;
        } else if (model_kind(m, f) == MODEL_METADATA && free) {
            model_set(m, f, MODEL_GONE); /* behind a page, but the block that paid was never opened */
        }
    }
    if (!AGREE(m, count <= most)) {
        test_note("%lu frames are gone, %lu may be", count, most);
    }
}

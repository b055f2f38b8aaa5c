/* The plain map of objects, and the calls that concern them. */
#include "unit/aspace_play_map.h"

#include "arch/arch.h"
#include "arch/layout.h"

enum { DEVICE_PAGES = 48, DEVICE_PLACES = 2, HOLDERS_MANY = 3 };
#define DEVICE_FIRST 0x80000UL

static const uint64_t words[] = APLAY_WORDS;

struct aplay_object *aplay_object_of(struct object *object)
{
    for (unsigned i = 0; i < APLAY_OBJECTS; i++) {
        if (aplay.object[i].object == object) {
            return &aplay.object[i];
        }
    }
    return NULL;
}

static struct aplay_object *unused(void)
{
    return aplay_object_of(NULL);
}

bool aplay_has_room(void)
{
    unsigned used = 0;
    for (unsigned i = 0; i < APLAY_OBJECTS; i++) {
        used += aplay.object[i].object != NULL;
    }
    return used < APLAY_OBJECTS_FULL;
}

struct aplay_object *aplay_object_add(struct object *object)
{
    struct aplay_object *o = unused();
    const struct object_info info = object_info(object);
    if (o == NULL || info.pages.v > APLAY_OBJECT_PAGES || info.kind != OBJECT_ANONYMOUS || info.holders != 0) {
        aplay_fail("object %u of %lu pages, kind %u, with %u holders came from nowhere", info.id, info.pages.v,
                   info.kind, info.holders);
        return NULL;
    }
    memset(o, 0, sizeof *o);
    o->object = object;
    o->pages = info.pages.v;
    o->kind = info.kind;
    return o;
}

uint64_t aplay_initial(const struct aplay_object *o, uint64_t page)
{
    return o->kind == OBJECT_PAGED ? o->seed + page : 0;
}

static void forget_page(struct aplay_object *o, uint64_t page) { o->value[page] = aplay_initial(o, page); }

void aplay_settle(struct aplay_object *o)
{
    if (o->object == NULL || o->holders > 0) {
        return;
    }
    for (uint64_t i = 0; i < APLAY_OBJECT_PAGES; i++) {
        if (o->users[i] == 0) {
            forget_page(o, i);
            o->lost[i] = o->global != 0;
        }
    }
    if (o->total == 0) {
        if (o->kind == OBJECT_PAGED && o->gone != 1) {
            aplay_fail("the pager of a paged object that is no more was told so %u times", o->gone);
        }
        o->object = NULL;
    }
}

static bool object_takes(const struct aplay_object *o, uint64_t number, uint64_t pages)
{
    const uint64_t first = number_of(vaddr(o->global)), end = first + o->global_pages;
    for (uint64_t n = number; n < number + pages; n++) {
        const bool below = n + 1 == first && (o->guards & ASPACE_GUARD_BELOW) != 0;
        const bool above = n == end && (o->guards & ASPACE_GUARD_ABOVE) != 0;
        const uint64_t page = below ? 0 : above ? o->global_pages - 1 : n - first;
        if ((below || above || (n >= first && n < end)) && !o->lost[page]) {
            return true;
        }
    }
    return false;
}

bool aplay_is_taken(uint64_t number, uint64_t pages, const struct aplay_object *mine)
{
    for (unsigned i = 0; i < APLAY_OBJECTS; i++) {
        const struct aplay_object *o = &aplay.object[i];
        if (o->object != NULL && o != mine && o->global != 0 && object_takes(o, number, pages)) {
            return true;
        }
    }
    return false;
}

uint64_t *aplay_value(struct aplay_page *p)
{
    struct aplay_object *o = aplay_object(p);
    if (o == NULL || p->copied) {
        return &p->value;
    }
    return o->kind == OBJECT_PHYSICAL ? NULL : &o->value[p->page];
}

bool aplay_is_behind_end(const struct aplay_page *p)
{
    const struct aplay_object *o = aplay_object(p);
    return o != NULL && p->page >= o->pages;
}

struct aplay_object *aplay_pick_object(uint32_t which)
{
    unsigned n = 0;
    for (unsigned i = 0; i < APLAY_OBJECTS; i++) {
        n += aplay.object[i].object != NULL;
    }
    unsigned k = n == 0 ? 0 : which % n;
    for (unsigned i = 0; i < APLAY_OBJECTS && n > 0; i++) {
        if (aplay.object[i].object != NULL && k-- == 0) {
            return &aplay.object[i];
        }
    }
    return NULL;
}

/* ---- The pager ---- */

static enum status fill(void *ctx, uint64_t page, pfn_t frame)
{
    const struct aplay_object *o = ctx;
    vaddr_t at;
    if (o->answer != STATUS_OK) {
        return o->answer;
    }
    enum status s = frame_zero(&aplay.vmm, frame);
    s = s == STATUS_OK ? temp_map(&aplay.vmm, frame, &at) : s;
    if (s != STATUS_OK) {
        return s;
    }
    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        arch_write64(vaddr_add(at, words[i] * sizeof(uint64_t)), aplay_initial(o, page));
    }
    return temp_unmap(&aplay.vmm, at);
}

static void gone(void *ctx) { ((struct aplay_object *)ctx)->gone++; }

/* ---- Calls ---- */

static enum status create(struct aplay_object *o, unsigned *must, unsigned *may)
{
    const struct pager pager = {.name = "play", .ctx = o, .fill = fill, .gone = gone};
    *must = o->pages == 0 || o->pages > ASPACE_PAGES_MAX ? APLAY_BIT(STATUS_INVALID) : 0;
    switch (o->kind) {
    case OBJECT_ANONYMOUS: return object_create_anonymous(&aplay.system, npages(o->pages), &o->object);
    case OBJECT_PAGED: return object_create_paged(&aplay.system, npages(o->pages), &pager, &o->object);
    default:
        if (o->first.v < model_machine->ram.v) {
            *must |= APLAY_BIT(STATUS_MISUSE);
        } else if (o->first.v > DEVICE_FIRST * TABLE_ENTRIES) {
            *must |= APLAY_BIT(STATUS_RANGE);
        }
        *may |= APLAY_BIT(STATUS_LIMIT);
        return object_create_physical(&aplay.system, o->first, npages(o->pages), o->cache, &o->object);
    }
}

/* As many of each kind as there is room for in the map. */
void aplay_object_new(const struct aplay_op *op)
{
    static const enum object_kind kinds[] = {OBJECT_ANONYMOUS, OBJECT_PAGED, OBJECT_PAGED, OBJECT_PHYSICAL,
                                             OBJECT_PHYSICAL};
    static const unsigned caches[] = {VMM_UNCACHED, VMM_WRITE_COMBINING};
    struct aplay_object *o = unused();
    unsigned must = 0, may = 0, held = 0;
    for (unsigned i = 0; i < APLAY_OBJECTS; i++) {
        held += aplay.object[i].object != NULL && aplay.object[i].holders > 0;
    }
    if (o == NULL || held > APLAY_OBJECTS_MADE || !aplay_has_room()) {
        return;
    }
    memset(o, 0, sizeof *o);
    o->kind = kinds[op->which % ARRAY_LEN(kinds)];
    o->pages = op->how % 16 == 0 ? (op->how % 32 == 0 ? 0 : UINT64_MAX) : aplay_pick_pages(op->pages);
    o->seed = ++aplay.values << 16;
    o->cache = caches[op->first % ARRAY_LEN(caches)];
    if (o->kind == OBJECT_PHYSICAL && op->how % 16 != 0) {
        o->pages = 1 + op->pages % DEVICE_PAGES;
        o->first = op->how % 16 == 1   ? pfn(1 + op->first % 100)
                   : op->how % 16 == 2 ? pfn(DEVICE_FIRST << 32)
                                       : pfn(DEVICE_FIRST + op->first % DEVICE_PLACES * (DEVICE_PAGES / 2));
    }
    aplay_say("object_create kind %u, %lu pages, frame %#lx, cache %#x", o->kind, o->pages, o->first.v, o->cache);
    const enum status s = create(o, &must, &may);
    if (!aplay_answer(APLAY_OBJECT_NEW, s, must, may | aplay_shortage())) {
        o->object = NULL;
        return;
    }
    o->holders = 1;
    for (uint64_t i = 0; i < APLAY_OBJECT_PAGES; i++) {
        forget_page(o, i);
    }
}

void aplay_object_hold(const struct aplay_op *op)
{
    struct aplay_object *o = aplay_pick_object(op->which);
    if (o != NULL && o->holders < HOLDERS_MANY) {
        aplay_say("object_hold %p", (void *)o->object);
        o->holders += aplay_answer(APLAY_OBJECT_HOLD, object_hold(o->object), 0, 0);
    }
}

void aplay_object_release(const struct aplay_op *op)
{
    struct aplay_object *o = aplay_pick_object(op->which);
    if (o != NULL) {
        const unsigned must = o->holders == 0 ? APLAY_BIT(STATUS_MISUSE) : 0;
        aplay_say("object_release %p", (void *)o->object);
        if (aplay_answer(APLAY_OBJECT_RELEASE, object_release(o->object), must, 0)) {
            o->holders--;
            aplay_settle(o);
        }
    }
}

/* Pages [from, end) are no more; private copies of them neither. */
static void cut(struct aplay_object *o, uint64_t from)
{
    for (uint64_t i = from; i < APLAY_OBJECT_PAGES; i++) {
        forget_page(o, i);
    }
    for (unsigned k = 0; k < APLAY_SPACES; k++) {
        struct aplay_space *s = &aplay.space[k];
        for (unsigned i = 0; i < s->count; i++) {
            if (aplay_object(&s->page[i]) == o && s->page[i].page >= from) {
                s->page[i].copied = false;
            }
        }
    }
}

void aplay_object_resize(const struct aplay_op *op)
{
    struct aplay_object *o = aplay_pick_object(op->which);
    if (o == NULL) {
        return;
    }
    const uint64_t some = 1 + op->pages % 40;
    const uint64_t pages = op->how % 16 == 0  ? UINT64_MAX
                           : op->how % 4 == 0 ? o->pages + some
                           : o->pages > some  ? o->pages - some
                                              : 1 + op->pages % o->pages;
    if (pages > APLAY_OBJECT_PAGES && pages != UINT64_MAX) {
        return;
    }
    unsigned must = o->kind == OBJECT_PHYSICAL ? APLAY_BIT(STATUS_UNSUPPORTED) : 0, may = 0;
    must |= pages > ASPACE_PAGES_MAX ? APLAY_BIT(STATUS_INVALID) : 0;
    if (o->global != 0 && pages < o->global_pages) {
        const uint64_t end = o->global_pages < o->pages ? o->global_pages : o->pages;
        const bool cuts = pages < end && object_takes(o, number_of(vaddr(o->global)) + pages, end - pages);
        must |= cuts ? APLAY_BIT(STATUS_SHARED) : 0;
        may |= APLAY_BIT(STATUS_SHARED);
    }
    aplay_say("object_resize %p from %lu to %lu pages", (void *)o->object, o->pages, pages);
    may |= pages < o->pages ? aplay_shortage() : 0; /* tables of clones, with copies in private mappings */
    if (aplay_answer(APLAY_OBJECT_RESIZE, object_resize(o->object, npages(pages)), must, may)) {
        cut(o, pages);
        o->pages = pages;
    }
}

void aplay_object_populate(const struct aplay_op *op)
{
    struct aplay_object *o = aplay_pick_object(op->which);
    if (o == NULL || o->holders == 0) {
        return;
    }
    const uint64_t first = op->first % (o->pages + 2), pages = 1 + op->pages % 20;
    unsigned must = first + pages > o->pages ? APLAY_BIT(STATUS_RANGE) : 0, may = aplay_shortage();
    may |= o->kind == OBJECT_PHYSICAL ? APLAY_BIT(STATUS_UNSUPPORTED) : 0;
    if (o->kind == OBJECT_PAGED && op->how % 8 == 0) {
        o->answer = STATUS_NOT_YET;
        may |= APLAY_BIT(STATUS_NOT_YET);
    }
    aplay_say("object_populate %p, %lu pages from %lu on%s", (void *)o->object, pages, first,
              o->answer != STATUS_OK ? ", pager fails" : "");
    const bool ok = aplay_answer(APLAY_OBJECT_POPULATE, object_populate(o->object, first, npages(pages)), must, may);
    o->answer = STATUS_OK;
    const bool stays = o->kind == OBJECT_ANONYMOUS || (o->kind == OBJECT_PAGED && !aplay.is_scarce);
    for (uint64_t i = first; i < first + pages && ok && stays; i++) {
        pfn_t frame;
        if (object_frame(o->object, i, &frame) != STATUS_OK) {
            aplay_fail("page %lu of object %p was populated, and is not there", i, (void *)o->object);
        }
    }
}

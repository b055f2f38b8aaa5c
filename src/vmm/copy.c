/*
 * The contents of any space: copy, clear, peek, poke, page by page through two temporary mappings. No space is switched
 * to.
 *
 * First all of both ranges is looked at, then bytes move: so nothing is copied when anything is wrong. The frames of up
 * to COPY_PAGES pages are kept from the look; longer ranges are looked up again, a part at a time, since each side may
 * need the foreign window for itself.
 */
#include "arch/arch.h"
#include "lib/string.h"
#include "vmm/edit.h"
#include "vmm/frames.h"
#include "vmm/request.h"
#include "vmm/walk.h"

enum { COPY_PAGES = 32 };

/* One of the two ranges. */
struct side {
    struct vmm *vmm;
    struct space *space;
    unsigned needs;      /* rights, of each page */
    unsigned slot;       /* temporary, for the page of `va` when is_set */
    bool is_set;
    vaddr_t va;          /* of the next byte */
    uint64_t left_bytes;
    uint64_t first;      /* frame[0, count) are those of the pages numbered from here on */
    unsigned count;
    pfn_t frame[COPY_PAGES];
};

/* Pages that `bytes` from `va` on touch; bytes > 0, no overflow. */
static uint64_t pages_touched(vaddr_t va, uint64_t bytes)
{
    return vaddr_page_number(vaddr_add(va, bytes - 1)) - vaddr_page_number(va) + 1;
}

/* One page, mapped by `leaf` of a table of `level`, with `rights` on the way to it. */
static enum status add_page(struct side *s, pte_t leaf, unsigned level, uint64_t page_in_leaf, unsigned rights)
{
    const uint64_t cache = PTE_PWT | PTE_PCD | (level == 1 ? PTE_PS : (uint64_t)PAGE_BYTES);
    if (!pte_is_present(leaf)) {
        return STATUS_ABSENT;
    }
    if ((s->needs & ~(rights & bits_to_rights(leaf))) != 0) {
        return STATUS_DENIED;
    }
    pfn_t frame = pfn_add(pte_pfn((pte_t){leaf.v & ~(level_span_bytes(level) - 1)}), page_in_leaf);
    enum pmm_state state = (leaf.v & PTE_OWNED) != 0 ? PMM_STATE_USED : pmm_query(s->vmm->pmm, frame).state;
    /* A temporary mapping is write-back: no device, and no page that others see with another cache type (R4). */
    if ((leaf.v & cache) != 0 || state == PMM_STATE_OUTSIDE || state == PMM_STATE_ABSENT) {
        return STATUS_UNSUPPORTED;
    }
    s->frame[s->count++] = frame;
    return STATUS_OK;
}

static enum status add_stretch(struct side *s, struct cursor *c)
{
    if (c->is_corrupt) {
        return STATUS_CORRUPT;
    }
    unsigned rights = VMM_READ | VMM_WRITE;
    for (unsigned level = c->level + 1; level <= PAGING_LEVELS; level++) {
        rights &= bits_to_rights(c->entry[level]);
    }
    enum status st = STATUS_OK;
    const uint64_t span = level_span_pages(c->level), first = vaddr_page_number(c->va) & (span - 1);
    for (uint64_t i = 0; i < c->pages && st == STATUS_OK; i++) {
        pte_t leaf = c->level > 1 ? c->entry[c->level] : window_load(c->vmm, c->window, entry_at(c->at[1], i), 1);
        st = add_page(s, leaf, c->level, c->level > 1 ? first + i : 0, rights);
    }
    return st;
}

/* The frames of the next pages from number `page` on, at most COPY_PAGES. */
static enum status find(struct side *s, uint64_t page, uint64_t pages)
{
    vaddr_t va = vaddr_add_pages(vaddr(0), page);
    enum status st = question_begin(s->vmm, s->space, va, "space_copy");
    if (st != STATUS_OK) {
        return st;
    }
    struct cursor c;
    s->first = page;
    s->count = 0;
    cursor_start(&c, CURSOR_READ, s->vmm, s->space, va, pages < COPY_PAGES ? pages : COPY_PAGES);
    while (st == STATUS_OK && cursor_next(&c)) {
        st = add_stretch(s, &c);
    }
    question_end(s->vmm, s->space, va);
    return st;
}

/* May all of it be used so? Afterwards the frames are known, of a range that is short. */
static enum status look(struct side *s)
{
    uint64_t page = vaddr_page_number(s->va), pages = pages_touched(s->va, s->left_bytes);
    enum status st = STATUS_OK;
    while (pages > 0 && st == STATUS_OK) {
        st = find(s, page, pages);
        page += s->count;
        pages -= s->count;
    }
    return st;
}

static enum status side_init(struct side *s, struct vmm *vmm, struct space *space, vaddr_t va, uint64_t bytes,
                             unsigned needs, unsigned slot, const char *call)
{
    enum status st = request_check_space(vmm, space, call);
    if (st != STATUS_OK) {
        return st;
    }
    if (bytes == 0 || bytes - 1 > UINT64_MAX - va.v) {
        return STATUS_INVALID;
    }
    s->vmm = vmm;
    s->space = space;
    s->needs = needs;
    s->slot = slot;
    s->is_set = false;
    s->va = va;
    s->left_bytes = bytes;
    return request_check(vmm, space, vaddr_page(va), npages(pages_touched(va, bytes)), call);
}

/* The page of the next byte at the side's slot. */
static enum status show(struct side *s)
{
    const uint64_t page = vaddr_page_number(s->va);
    enum status st = STATUS_OK;
    if (!s->is_set && page - s->first >= s->count) {
        st = find(s, page, pages_touched(s->va, s->left_bytes));
    }
    if (!s->is_set && st == STATUS_OK) {
        temp_slot_set(s->vmm, s->slot, s->frame[page - s->first]);
        s->is_set = true;
    }
    return st;
}

static void hide(struct side *s)
{
    if (s->is_set) {
        temp_slot_clear(s->vmm, s->slot);
        s->is_set = false;
    }
}

static uint64_t room_in_page(const struct side *s)
{
    uint64_t room = PAGE_BYTES - page_offset_bytes(s->va.v);
    return room < s->left_bytes ? room : s->left_bytes;
}

static void advance(struct side *s, uint64_t bytes)
{
    s->va = vaddr_add(s->va, bytes);
    s->left_bytes -= bytes;
    if (is_page_aligned(s->va.v) || s->left_bytes == 0) {
        hide(s);
    }
}

/* Where the next byte is, for the compiler: the page is shown. */
static unsigned char *pointer(const struct side *s)
{
    return (unsigned char *)s->vmm->pointer(temp_slot_page(s->slot)) + page_offset_bytes(s->va.v);
}

enum status space_copy(struct vmm *vmm, struct space *to_space, vaddr_t to_va, struct space *from_space,
                       vaddr_t from_va, uint64_t bytes)
{
    struct side to, from;
    enum status s = side_init(&to, vmm, to_space, to_va, bytes, VMM_WRITE, TEMP_SLOT_ZERO, "space_copy");
    if (s == STATUS_OK) {
        s = side_init(&from, vmm, from_space, from_va, bytes, VMM_READ, TEMP_SLOT_COPY, "space_copy");
    }
    if (s != STATUS_OK) {
        return s;
    }
    if (to_space == from_space && to_va.v - from_va.v + bytes - 1 < 2 * bytes - 1) {
        return STATUS_INVALID; /* they overlap */
    }
    s = look(&to);
    if (s == STATUS_OK) {
        s = look(&from);
    }
    while (s == STATUS_OK && to.left_bytes > 0) {
        s = show(&to);
        s = s == STATUS_OK ? show(&from) : s;
        if (s != STATUS_OK) {
            break; /* somebody else has changed it since */
        }
        uint64_t room = room_in_page(&to), most = room_in_page(&from), n = room < most ? room : most;
        if (n == PAGE_BYTES) {
            arch_page_copy(temp_slot_page(to.slot), temp_slot_page(from.slot));
        } else {
            memmove(pointer(&to), pointer(&from), n);
        }
        advance(&to, n);
        advance(&from, n);
    }
    hide(&to);
    hide(&from);
    return s;
}

enum status space_clear(struct vmm *vmm, struct space *space, vaddr_t va, uint64_t bytes)
{
    struct side to;
    enum status s = side_init(&to, vmm, space, va, bytes, VMM_WRITE, TEMP_SLOT_ZERO, "space_clear");
    if (s == STATUS_OK) {
        s = look(&to);
    }
    while (s == STATUS_OK && to.left_bytes > 0 && (s = show(&to)) == STATUS_OK) {
        uint64_t n = room_in_page(&to);
        if (n == PAGE_BYTES) {
            arch_page_zero(temp_slot_page(to.slot));
        } else {
            memset(pointer(&to), 0, n);
        }
        advance(&to, n);
    }
    return s;
}

enum status space_peek(struct vmm *vmm, struct space *space, vaddr_t va, void *out, uint64_t bytes)
{
    struct side from;
    enum status s = side_init(&from, vmm, space, va, bytes, VMM_READ, TEMP_SLOT_COPY, "space_peek");
    if (s == STATUS_OK) {
        s = look(&from);
    }
    unsigned char *next = out;
    while (s == STATUS_OK && from.left_bytes > 0 && (s = show(&from)) == STATUS_OK) {
        uint64_t n = room_in_page(&from);
        memcpy(next, pointer(&from), n);
        next += n;
        advance(&from, n);
    }
    return s;
}

enum status space_poke(struct vmm *vmm, struct space *space, vaddr_t va, const void *from, uint64_t bytes)
{
    struct side to;
    enum status s = side_init(&to, vmm, space, va, bytes, VMM_WRITE, TEMP_SLOT_ZERO, "space_poke");
    if (s == STATUS_OK) {
        s = look(&to);
    }
    const unsigned char *next = from;
    while (s == STATUS_OK && to.left_bytes > 0 && (s = show(&to)) == STATUS_OK) {
        uint64_t n = room_in_page(&to);
        memcpy(pointer(&to), next, n);
        next += n;
        advance(&to, n);
    }
    return s;
}

/*
 * The ranges of a space in lines. A range's bar has a character for each doubling of its length: '#' for the part that
 * has pages in memory now, '.' for the rest.
 */
#include "kernel/cmd_ranges.h"

#include "aspace/object.h"
#include "lib/macros.h"
#include "lib/string.h"

enum { BAR_MAX = 36, WORDS_BYTES = 96 };

static bool sum_pages(void *ctx, const struct vmm_mapping *m)
{
    npages_t *sum = ctx;
    sum->v += m->pages.v;
    return true;
}

/* Pages of the range that the tables show now. */
static npages_t present_pages(struct aspace *space, vaddr_t base, npages_t pages)
{
    npages_t sum = npages(0);
    vmm_visit(&machine.vmm, &space->tables, base, vaddr_add_pages(base, pages.v), sum_pages, &sum);
    return sum;
}

static unsigned doublings(uint64_t n)
{
    return n == 0 ? 0 : 64 - (unsigned)__builtin_clzll(n);
}

static const char *bar_text(char text[static BAR_MAX + 1], npages_t pages, npages_t present)
{
    unsigned length = doublings(pages.v);
    /* Rounded up, so that a single page shows. Pages are below 2^36: nothing overflows. */
    uint64_t part = pages.v == 0 ? 0 : (present.v * length + pages.v - 1) / pages.v;
    for (unsigned i = 0; i < length && i < BAR_MAX; i++) {
        text[i] = i < part ? '#' : '.';
    }
    text[length < BAR_MAX ? length : BAR_MAX] = '\0';
    return text;
}

static const char *const kinds[] = {[OBJECT_ANONYMOUS] = "anonymous", [OBJECT_PHYSICAL] = "physical",
                                    [OBJECT_PAGED] = "paged"};

/* "private" or the object, and what is special. */
static void print_object(const struct aspace_query *q)
{
    static const struct {
        unsigned flag;
        const char *word;
    } words[] = {
        {ASPACE_PRIVATE, "copy on write"},
        {ASPACE_STACK, "stack"},
        {ASPACE_GUARD_BELOW, "guard below"},
        {ASPACE_GUARD_ABOVE, "guard above"},
        {ASPACE_WRITE_EXECUTE, "W+X allowed"},
        {ASPACE_FAULT_AROUND, "fault-around"},
    };
    if (q->object == NULL) {
        print("private");
    } else {
        struct object_info o = object_info(q->object);
        print("%s object %u", kinds[o.kind], o.id);
        if (o.name != NULL) {
            print(" '%s'", o.name);
        }
        print(" from page %lu", q->page);
    }
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if ((q->flags & words[i].flag) != 0) {
            print(", %s", words[i].word);
        }
    }
    print(q->sealed ? ", sealed" : "");
    if (q->room_pages != 0) {
        print(", may grow by %u pages", q->room_pages);
    }
    if (q->giver != 0) {
        print(", given by space %u", q->giver);
    }
}

/* Beyond what a mapping gives now, what it may be given: "" when that is the same. */
static const char *allowed_text(char text[static WORDS_BYTES], const struct aspace_query *q)
{
    char rights[CMD_RIGHTS_TEXT];
    text[0] = '\0';
    if (q->allowed != q->rights) {
        fmt_text(text, WORDS_BYTES, " of %s", cmd_rights_text(rights, q->allowed));
    }
    return text;
}

struct listing {
    struct aspace *space;
    npages_t present;
};

static bool print_range(void *ctx, const struct aspace_query *q)
{
    struct listing *l = ctx;
    char size[CMD_SIZE_TEXT], rights[CMD_RIGHTS_TEXT], allowed[WORDS_BYTES], bar[BAR_MAX + 1];
    npages_t present = present_pages(l->space, q->base, q->pages);
    l->present.v += present.v;
    print("  %016lx %10lu %10s %s%s  %-12s %s: ", q->base.v, q->pages.v, cmd_size(size, pages_to_bytes(q->pages)),
          cmd_rights_text(rights, q->rights), allowed_text(allowed, q), bar_text(bar, q->pages, present), q->tag);
    print_object(q);
    print("\n");
    return true;
}

void cmd_print_ranges(struct aspace *space)
{
    struct listing l = {.space = space};
    print("  %-16s %10s %10s rights\n", "from", "pages", "size");
    aspace_visit(space, print_range, &l);
    print("  %lu ranges, %lu pages", space->ranges, space->pages.v);
    if (space->limits.ranges != 0 || space->limits.pages.v != 0) {
        print("; at most %lu ranges, %lu pages (0: any)", space->limits.ranges, space->limits.pages.v);
    }
    print("; %lu pages in the tables\n", l.present.v);
}

void cmd_print_mapping(struct aspace *space, vaddr_t va)
{
    struct aspace_query q;
    char size[CMD_SIZE_TEXT], rights[CMD_RIGHTS_TEXT], allowed[WORDS_BYTES];
    if (aspace_query(space, va, &q) != STATUS_OK) {
        vaddr_t base;
        npages_t pages;
        print("  mapping none%s", aspace_find(space, va, &base, &pages) ? "" : "\n");
        if (aspace_find(space, va, &base, &pages)) {
            print("; the next one above: %016lx, %lu pages\n", base.v, pages.v);
        }
        return;
    }
    print("  mapping %016lx, %lu pages, %s, %s%s, %s: ", q.base.v, q.pages.v, cmd_size(size, pages_to_bytes(q.pages)),
          cmd_rights_text(rights, q.rights), allowed_text(allowed, &q), q.tag);
    print_object(&q);
    print("\n  sharers %u", q.sharers);
    print(q.frame.v != 0 ? ", frame %#lx\n" : ", no frame yet\n", pfn_to_paddr(q.frame).v);
}

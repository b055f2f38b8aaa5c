/*
 * The machine as the kernel has it.
 *
 * Entries of pages that a way wants to be asked for are marked when the addresses are reserved: not present, and one
 * bit that the CPU does not look at. So a fault there is told from a wild pointer, and the tables on the way are there
 * already: the handler needs the one frame that the way gives it, and cannot fail. It runs on the stack of the call
 * that faulted, with no lock of the kernel's taken by it.
 */
#include "arch/arch.h"
#include "kernel/fault.h"
#include "rivals/pmm/kernel/real.h"
#include "vmm/frames.h"
#include "vmm/kmap.h"

#define MARKED ((pte_t){PTE_OWNED}) /* not present: to the CPU all other bits are nothing */
enum { LINE_BYTES = 64, TOP_LEVEL = 3 }; /* the PDPT of the slot is there */

static struct {
    struct real_source source;
    const struct frame_run *runs;
    size_t run_count;
    uint64_t taken;
    uint64_t array_bytes, array_mapped; /* handed out of REAL_ARRAYS; mapped there */
    uint64_t map_bytes;                 /* of REAL_MAP that are reserved; 0: none */
    bool has_view;
    machine_fault_fn *fault;
    void *ctx;
} now;

static pfn_t take(void)
{
    now.taken++;
    return now.source.take();
}

static void give(pfn_t frame)
{
    now.taken--;
    if (now.source.give != NULL) {
        now.source.give(frame);
    }
}

static vaddr_t entry_of(vaddr_t page, unsigned level) { return window_entry(WINDOW_OWN, page, level); }

/* ---- Undoing ---- */

struct drop {
    bool pages, tables; /* these are the source's */
};

/* All that the table of `level` for `base` leads to. The CPU's caches are flushed by the caller, once. */
static void drop_below(vaddr_t base, unsigned first, unsigned count, unsigned level, struct drop what)
{
    for (unsigned i = 0; i < count; i++) {
        vaddr_t va = vaddr_add(base, (first + i) * level_span_bytes(level));
        pte_t e = arch_table_load(entry_of(va, level));
        if (pte_is_present(e) && level > 1) {
            drop_below(va, 0, TABLE_ENTRIES, level - 1, what);
        }
        arch_table_store(entry_of(va, level), (pte_t){0});
        if (pte_is_present(e) && (level > 1 ? what.tables : what.pages)) {
            give(pte_pfn(e));
        }
    }
}

static void drop_area(enum real_area area, struct drop what)
{
    drop_below(real_area(area), 0, (unsigned)(REAL_AREA_BYTES / level_span_bytes(TOP_LEVEL)), TOP_LEVEL, what);
}

/*
 * Frames go back before the flush (which R13 wants first): one CPU runs, and who is given one of them next gets it
 * after this has returned. A PT that is empty by now still shows in the self window until then, and is only read there.
 */
static void drop_all(void)
{
    drop_area(REAL_ARRAYS, (struct drop){.pages = true, .tables = true});
    drop_area(REAL_MAP, (struct drop){.tables = true});
    drop_area(REAL_VIEW, (struct drop){.tables = true});
    drop_area(REAL_OWN, (struct drop){0});
    arch_root_load(arch_root());
    now.array_bytes = now.array_mapped = now.map_bytes = 0;
    now.has_view = false;
    now.fault = NULL;
}

void real_use(struct real_source source, const struct frame_run *runs, size_t run_count)
{
    if (now.source.take != NULL) {
        drop_all();
    }
    now.source = source;
    now.runs = runs;
    now.run_count = run_count;
    now.taken = 0;
}

npages_t real_taken(void) { return npages(now.taken); }

void machine_begin(uint64_t frames)
{
    (void)frames;
    if (now.array_bytes > 0) {
        drop_all();
    }
}

void machine_end(void) { drop_all(); }

/* ---- Pages ---- */

/* One of the source's, of zeros. */
static void back(vaddr_t page)
{
    pfn_t frames[PAGING_LEVELS];
    const npages_t n = kmap_missing(page);
    for (uint64_t i = 0; i < n.v; i++) {
        frames[i] = take();
    }
    if (kmap_back(page, frames, n) != STATUS_OK) {
        arch_fatal("no page for the arrays of a way");
    }
}

void *machine_memory(uint64_t bytes)
{
    const vaddr_t base = real_area(REAL_ARRAYS);
    bytes = (bytes + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
    const vaddr_t at = vaddr_add(base, now.array_bytes + LINE_BYTES);
    now.array_bytes += LINE_BYTES + bytes;
    if (now.array_bytes > REAL_AREA_BYTES) {
        arch_fatal("REAL_AREA_BYTES is too small for the arrays of a way");
    }
    for (; now.array_mapped < now.array_bytes; now.array_mapped += PAGE_BYTES) {
        back(vaddr_add(base, now.array_mapped));
    }
    return vaddr_to_ptr(at);
}

/* The tables for these 2 MiB, of which nothing is mapped. For that the first page was, and is no more. */
static void make_tables(vaddr_t span)
{
    if (kmap_missing(span).v > 1) {
        back(span);
        const pte_t e = arch_table_load(entry_of(span, 1));
        arch_table_store(entry_of(span, 1), (pte_t){0});
        arch_invlpg(span);
        give(pte_pfn(e));
    }
}

uint8_t *machine_addresses(uint64_t bytes, machine_fault_fn *fault, void *ctx)
{
    const vaddr_t base = real_area(REAL_MAP);
    if (now.map_bytes > 0 || bytes > REAL_AREA_BYTES) {
        arch_fatal("one map a way, and REAL_AREA_BYTES at most");
    }
    for (uint64_t at = 0; at < bytes; at += level_span_bytes(2)) {
        const vaddr_t span = vaddr_add(base, at), entries = entry_of(span, 1);
        make_tables(span);
        for (unsigned i = 0; fault != NULL && i < TABLE_ENTRIES; i++) {
            arch_table_store(vaddr_add(entries, i * (uint64_t)ENTRY_BYTES), MARKED);
        }
    }
    now.map_bytes = bytes;
    now.fault = fault;
    now.ctx = ctx;
    return vaddr_to_ptr(base);
}

/* Break before make, where another frame is shown. */
static void show(vaddr_t page, pfn_t frame, uint64_t bits)
{
    if (pte_is_present(arch_table_load(entry_of(page, 1)))) {
        arch_table_store(entry_of(page, 1), (pte_t){0});
        arch_invlpg(page);
    }
    arch_table_store(entry_of(page, 1), pte_make(frame, bits));
}

void machine_show(void *page, pfn_t frame, bool writable)
{
    show(ptr_to_vaddr(page), frame, writable ? TEMP_LEAF_BITS : TEMP_LEAF_BITS & ~PTE_W);
}

void machine_show_zeroed(void *page, pfn_t frame)
{
    machine_show(page, frame, true);
    arch_page_zero(ptr_to_vaddr(page));
}

static vaddr_t view_of(uint64_t frame) { return vaddr_add_pages(real_area(REAL_VIEW), frame); }

uint8_t *machine_view(void)
{
    for (size_t i = 0; i < now.run_count && !now.has_view; i++) {
        if (pages_to_bytes(npages(run_end(now.runs[i]))) > REAL_AREA_BYTES) {
            arch_fatal("REAL_AREA_BYTES is too small for a view of all frames");
        }
        for (uint64_t frame = now.runs[i].first.v; frame < run_end(now.runs[i]); frame++) {
            if (frame == now.runs[i].first.v || frame % TABLE_ENTRIES == 0) {
                make_tables(view_of(frame));
            }
            show(view_of(frame), pfn(frame), TEMP_LEAF_BITS);
        }
    }
    now.has_view = true;
    return vaddr_to_ptr(real_area(REAL_VIEW));
}

/* ---- Faults ---- */

/* A first touch of a page that a way wants to be asked for. => is it there now? */
static bool is_first_touch(const struct interrupt_frame *f, vaddr_t va)
{
    const vaddr_t base = real_area(REAL_MAP), page = vaddr_page(va);
    return now.fault != NULL && (f->error & (FAULT_PRESENT | FAULT_USER)) == 0 && va.v >= base.v &&
           va.v < base.v + now.map_bytes && arch_table_load(entry_of(page, 1)).v == MARKED.v &&
           now.fault(now.ctx, vaddr_to_ptr(page));
}

/* Page faults come here first: the linker puts it in front of fault_user.c's (--wrap). */
bool __real_fault_of_user(struct interrupt_frame *f, vaddr_t va);
bool __wrap_fault_of_user(struct interrupt_frame *f, vaddr_t va);

bool __wrap_fault_of_user(struct interrupt_frame *f, vaddr_t va)
{
    return is_first_touch(f, va) || __real_fault_of_user(f, va);
}

/*
 * Whose an address is, or what lies next to it. Asks the layers, which may be what is broken: it comes last in a
 * report.
 */
#include "arch/layout.h"
#include "kernel/console.h"
#include "kernel/current.h"
#include "kernel/fault.h"
#include "kernel/heap_debug.h"
#include "kernel/machine.h"
#include "kernel/symbols.h"
#include "lib/macros.h"

enum { SPACES_ASKED_MAX = 64 };

extern const char image_keep[], image_end[], image_text[], image_text_end[], image_rodata[], image_rodata_end[];
extern const char image_data[], image_data_end[];

static void image(vaddr_t va)
{
    static const struct {
        const char *start, *end, *name;
    } sections[] = {
        {image_text, image_text_end, "text: may be executed, not written"},
        {image_rodata, image_rodata_end, "constants: may only be read"},
        {image_data, image_data_end, "data: may not be executed"},
    };
    const char *symbol;
    uint64_t offset;
    if (va.v < ptr_to_vaddr(image_keep).v) {
        print("place: the kernel image, .init: boot code and data, given back after boot\n");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
        if (va.v >= ptr_to_vaddr(sections[i].start).v && va.v < ptr_to_vaddr(sections[i].end).v) {
            print("place: the kernel image, %s\n", sections[i].name);
            if (symbols_find(va.v, &symbol, &offset)) {
                print("place: %s+%#lx\n", symbol, offset);
            }
            return;
        }
    }
    print("place: %lu bytes behind the end of the kernel image\n", va.v - ptr_to_vaddr(image_end).v);
}

static void heap_part(vaddr_t va)
{
    struct heap_block block;
    if (heap_debug_tell(va, "place: ") || !heap_owner_of(&machine.heap, vaddr_to_ptr(va), &block)) {
        return;
    }
    uint64_t base = ptr_to_vaddr(block.base).v;
    print("place: %s heap block of %lu bytes at %#lx, byte %lu of it", block.allocated ? "live" : "freed",
          block.usable_bytes, base, va.v - base);
    if (!block.large) {
        print(", class of %lu", block.class_bytes);
    }
    if (block.cache_name != NULL) {
        print(", of the cache '%s'", block.cache_name);
    }
    print("\n");
}

static void kernel_pages(vaddr_t va, const struct kpages_info *k)
{
    if (!k->in_guard) {
        print("place: %s, %lu pages at %#lx\n", k->tag, k->pages.v, k->base.v);
        heap_part(va);
        return;
    }
    uint64_t end = vaddr_add_pages(k->base, k->pages.v).v;
    print("place: guard page %s %s (%lu pages at %#lx), %lu bytes %s: %s\n", k->above ? "above" : "below", k->tag,
          k->pages.v, k->base.v, k->above ? va.v - end + 1 : k->base.v - va.v,
          k->above ? "behind its end" : "before it", k->above ? "an overrun" : "an underrun, or a stack overflow");
    if (!heap_debug_tell(va, "place: ")) {
        heap_part(k->above ? vaddr(end - 1) : k->base);
    }
}

/* The kernel arena has an answer for each of its addresses: in use, or free between two that are. */
static void arena_part(vaddr_t va)
{
    struct kpages_info info;
    struct arena_range range, next;
    if (kpages_find(&machine.vmm, va, &info)) {
        kernel_pages(va, &info);
    } else if (!arena_find(&machine.vmm.arena, va, &range)) {
        print("place: %s\n", va.v < LAYOUT_ARENA_BASE ? "the kernel arena's own book-keeping"
                                                      : "behind the kernel arena, where nothing is ever mapped");
    } else if (range.tag != NULL) {
        print("place: %s, %lu pages at %#lx\n", range.tag, range.pages.v, range.base.v);
    } else {
        print("place: kernel addresses that nobody has\n");
        (void)heap_debug_tell(va, "place: ");
        if (range.base.v > LAYOUT_ARENA_BASE && arena_find(&machine.vmm.arena, vaddr(range.base.v - 1), &next) &&
            next.tag != NULL) {
            print("place: %lu bytes behind the end of %s\n", va.v - range.base.v, next.tag);
        }
        vaddr_t end = vaddr_add_pages(range.base, range.pages.v);
        if (arena_find(&machine.vmm.arena, end, &next) && next.tag != NULL) {
            print("place: %lu bytes before %s\n", end.v - va.v, next.tag);
        }
    }
}

/* What the current space has a right to there, whatever its tables say. */
static void mapping_part(vaddr_t va)
{
    const struct aspace *space = current_aspace();
    vaddr_t base;
    npages_t pages;
    if (space == NULL) {
        return;
    }
    if (!aspace_find(space, va, &base, &pages)) {
        print("place: space %u has no range there, and none above\n", space->tables.id);
    } else if (base.v <= va.v) {
        print("place: in a range of space %u, %lu pages at %#lx\n", space->tables.id, pages.v, base.v);
    } else {
        print("place: %lu bytes before a range of space %u, %lu pages at %#lx\n", base.v - va.v, space->tables.id,
              pages.v, base.v);
    }
}

static void user_part(vaddr_t va)
{
    const struct space *here = machine.vmm.current;
    if (va.v < PAGE_BYTES) {
        print("place: the first page: a null pointer, or a field of one\n");
        return;
    }
    print("place: the %s user part%s\n", table_index(va, PAGING_LEVELS) < LAYOUT_SLOT_GLOBAL ? "private" : "global",
          va.v < LAYOUT_USER_FIRST ? ", its first 64 KiB, which are never given out: near a null pointer" : "");
    mapping_part(va);
    unsigned asked = 0;
    for (struct space *s = &machine.vmm.kernel; here != NULL && s != NULL && asked < SPACES_ASKED_MAX; s = s->next) {
        struct vmm_walk w;
        asked++;
        if (vmm_translate(&machine.vmm, s, va, &w) == STATUS_OK && w.present) {
            print("place: space %u%s has a page there: %s%s%s%s, to %#lx\n", s->id, s == here ? "" : ", another one,",
                  "r", (w.rights & VMM_WRITE) != 0 ? "w" : "-", (w.rights & VMM_EXECUTE) != 0 ? "x" : "-",
                  (w.rights & VMM_USER) != 0 ? ", user" : "", w.address.v);
        }
    }
}

/* Which entry of which address would be shown there. */
static void self_window(vaddr_t va)
{
    static const char *const names[] = {"", "PTE", "PDE", "PDPTE", "PML4E"};
    unsigned level = 0; /* as many indices as go through the slot */
    while (level < PAGING_LEVELS && table_index(vaddr(va.v << (9 * level)), PAGING_LEVELS) == LAYOUT_SLOT_SELF) {
        level++;
    }
    uint64_t shown = (uint64_t)((int64_t)(va.v / ENTRY_BYTES << (9 * level + 3 + 16)) >> 16);
    print("place: the self window: the %s of 0x%016lx, whose table is not there\n", names[level], shown);
}

static void kernel_part(vaddr_t va)
{
    unsigned slot = table_index(va, PAGING_LEVELS);
    uint64_t state = (va.v - LAYOUT_PMM_STATES) / sizeof(uint16_t);
    if (slot == LAYOUT_SLOT_KERNEL) {
        arena_part(va);
    } else if (slot == LAYOUT_SLOT_PMM) {
        print("place: the PMM's array of frame codes: that of frame %#lx, %s\n", state,
              state < bytes_to_pages_down(LAYOUT_PMM_REACH_BYTES).v ? "not backed: no RAM, or a block never used"
                                                                  : "beyond the PMM's reach");
    } else if (slot == LAYOUT_SLOT_TEMP && va.v >= LAYOUT_PMM_BLOCKS) {
        print("place: the PMM's block descriptors: that of block %#lx\n", (va.v - LAYOUT_PMM_BLOCKS) / PMM_BLOCK_BYTES);
    } else if (slot == LAYOUT_SLOT_TEMP && va.v >= LAYOUT_PMM_TABLES) {
        print("place: the PMM's runs, holds and regions, or before them\n");
    } else if (slot == LAYOUT_SLOT_TEMP) {
        print("place: temporary mappings, page %lu; %u slots are in use, no two neighbours\n",
              vaddr_page_number(va) - vaddr_page_number(vaddr(LAYOUT_TEMP_BASE)), machine.vmm.temp_count);
    } else if (slot == LAYOUT_SLOT_IMAGE) {
        if (va.v >= LAYOUT_BOOT_WINDOW && va.v < LAYOUT_BOOT_WINDOW + LAYOUT_BOOT_WINDOW_BYTES) {
            print("place: the boot window, gone after boot\n");
        } else {
            image(va);
        }
    } else if (slot == LAYOUT_SLOT_SELF) {
        self_window(va);
    } else if (slot == LAYOUT_SLOT_FOREIGN) {
        print("place: the foreign window: tables of %s\n", machine.vmm.foreign.space != NULL ? "another space"
                                                                                         : "no space; it is closed");
    } else {
        print("place: PML4 slot %u, where nothing is ever mapped\n", slot);
    }
}

void fault_print_place(vaddr_t va)
{
    if (!vaddr_is_canonical(va)) {
        print("place: not canonical: no page can be there\n");
    } else if (va.v < LAYOUT_KERNEL_BASE) {
        user_part(va);
    } else {
        kernel_part(va);
    }
}

void fault_print_stack(uint64_t rsp)
{
    struct kpages_info info;
    vaddr_t below = vaddr(rsp - sizeof(uint64_t)); /* where the CPU tried to push */
    if (kpages_find(&machine.vmm, below, &info) && info.in_guard) {
        print("stack overflow: rsp is in the guard page %s %s (%lu pages at %#lx)\n", info.above ? "above" : "below",
              info.tag, info.pages.v, info.base.v);
    } else if (kpages_find(&machine.vmm, below, &info)) {
        print("the stack is sound: rsp is in %s (%lu pages at %#lx)\n", info.tag, info.pages.v, info.base.v);
    } else {
        print("rsp is in no stack\n");
        fault_print_place(below);
    }
}

/* A fresh machine: RAM, the tables that the boot code leaves, a PMM. */
#include <stdlib.h>

#include "arch/layout.h"
#include "model/mmu.h"
#include "unit/test.h"

struct model *model_machine;

/* Physical layout of what boot has made: frames from 1 MiB on, in this order. */
enum {
    BOOT_ROOT,
    BOOT_PDPT_KERNEL,
    BOOT_PDPT_PMM,
    BOOT_PDPT_TEMP,
    BOOT_PDPT_IMAGE,
    BOOT_TEMP_PD,
    BOOT_TEMP_PT,
    BOOT_IMAGE_PD,
    BOOT_IMAGE_PT,
    BOOT_TABLES,
    BOOT_IMAGE = BOOT_TABLES, /* MODEL_IMAGE_PAGES: text, rodata, data */
    BOOT_METADATA = BOOT_IMAGE + MODEL_IMAGE_PAGES, /* behind the first page of the PMM's states and of its blocks */
    BOOT_METADATA_FRAMES = 2,
};

static pfn_t boot_frame(unsigned which) { return pfn_add(paddr_to_pfn(paddr(MIB)), which); }

static void *host_memory(struct model *m, size_t bytes)
{
    void *p = calloc(1, bytes);
    m->memory[m->memory_count++] = p;
    return p;
}

static void link_entry(struct model *m, unsigned table, unsigned index, unsigned target, uint64_t bits)
{
    paddr_t at = paddr(pfn_to_paddr(boot_frame(table)).v + index * (uint64_t)ENTRY_BYTES);
    model_phys_write64(m, at, pte_make(boot_frame(target), bits).v);
}

static void build_tables(struct model *m)
{
    for (unsigned i = 0; i < BOOT_TABLES; i++) {
        memset(model_frame(m, boot_frame(i)), 0, PAGE_BYTES);
    }
    const uint64_t table = PTE_P | PTE_W;
    link_entry(m, BOOT_ROOT, LAYOUT_SLOT_SELF, BOOT_ROOT, table | PTE_XD);
    link_entry(m, BOOT_ROOT, LAYOUT_SLOT_KERNEL, BOOT_PDPT_KERNEL, table);
    link_entry(m, BOOT_ROOT, LAYOUT_SLOT_PMM, BOOT_PDPT_PMM, table);
    link_entry(m, BOOT_ROOT, LAYOUT_SLOT_TEMP, BOOT_PDPT_TEMP, table);
    link_entry(m, BOOT_ROOT, LAYOUT_SLOT_IMAGE, BOOT_PDPT_IMAGE, table);
    link_entry(m, BOOT_PDPT_TEMP, 0, BOOT_TEMP_PD, table);
    link_entry(m, BOOT_TEMP_PD, 0, BOOT_TEMP_PT, table);
    link_entry(m, BOOT_PDPT_IMAGE, 0, BOOT_IMAGE_PD, table);
    link_entry(m, BOOT_IMAGE_PD, 0, BOOT_IMAGE_PT, table);
    link_entry(m, BOOT_IMAGE_PT, 0, BOOT_IMAGE, PTE_P);                      /* text */
    link_entry(m, BOOT_IMAGE_PT, 1, BOOT_IMAGE + 1, PTE_P | PTE_XD);         /* rodata */
    link_entry(m, BOOT_IMAGE_PT, 2, BOOT_IMAGE + 2, PTE_P | PTE_W | PTE_XD); /* data */
    m->boot_root = boot_frame(BOOT_ROOT);
    m->image_pt = boot_frame(BOOT_IMAGE_PT);
}

/* Plain host memory behind the PMM's arrays, page by page when asked, without tables. */
static bool *backed(struct model *m, const void *page)
{
    const uint64_t at = ptr_to_vaddr(page).v;
    for (unsigned i = 0; i < MODEL_ARRAYS; i++) {
        struct model_array *array = &m->array[i];
        const uint64_t base = ptr_to_vaddr(array->base).v;
        if (at >= base && at < base + pages_to_bytes(npages(array->pages))) {
            return &array->backed[bytes_to_pages_down(at - base).v];
        }
    }
    return NULL;
}

static npages_t missing(void *ctx, const void *page)
{
    const bool *b = backed(ctx, page);
    return npages(b == NULL || !*b);
}

static enum status back(void *ctx, const void *page, const pfn_t *frames, npages_t n)
{
    (void)frames;
    bool *b = backed(ctx, page);
    if (b == NULL || *b || n.v != 1) {
        return STATUS_CORRUPT;
    }
    *b = true;
    return STATUS_OK;
}

/* The first page of each is there from the start: block 0 has frames in use. */
static void *pmm_array(struct model *m, unsigned which, size_t bytes)
{
    size_t pages = bytes_to_pages_up(bytes).v;
    bool *b = host_memory(m, pages * sizeof *b);
    b[0] = true;
    m->array[which] = (struct model_array){.base = test_port_pages(pages), .pages = pages, .backed = b};
    return m->array[which].base;
}

/* `second` not 0: RAM from this frame on is a region of its own. */
static void start_pmm(struct model *m, uint64_t second)
{
    static struct frame_run runs[3];
    static struct frame_hold holds[8];
    const uint64_t low = bytes_to_pages_down(640 * KIB).v, high = bytes_to_pages_down(MIB).v;
    runs[0] = (struct frame_run){pfn(0), npages(low)};
    runs[1] = (struct frame_run){pfn(high), npages((second != 0 ? second - PMM_BLOCK_FRAMES : m->ram.v) - high)};
    runs[2] = (struct frame_run){pfn(second), npages(m->ram.v - second)};
    const size_t run_count = second != 0 ? 3 : 2;
    holds[0] = (struct frame_hold){pfn(0), 1, HOLD_RESERVED};
    holds[1] = (struct frame_hold){boot_frame(0), BOOT_TABLES, HOLD_USED};
    holds[2] = (struct frame_hold){boot_frame(BOOT_IMAGE), MODEL_IMAGE_PAGES, HOLD_RESERVED};
    holds[3] = (struct frame_hold){boot_frame(BOOT_METADATA), BOOT_METADATA_FRAMES, HOLD_METADATA};
    const uint64_t many = m->ram.v / MODEL_FRAMES_AN_OWNER;
    const size_t owners = many < MODEL_OWNERS_MAX ? many : (size_t)MODEL_OWNERS_MAX;
    size_t blocks = m->ram.v / PMM_BLOCK_FRAMES + 1, regions = pmm_count_descriptors(runs, run_count);
    struct pmm_config config = {
        .runs = runs,
        .run_count = run_count,
        .holds = holds,
        .hold_count = 4,
        .hold_capacity = ARRAY_LEN(holds),
        .states = pmm_array(m, 0, blocks * PMM_BLOCK_FRAMES * sizeof(uint16_t)),
        .blocks = pmm_array(m, 1, blocks * PMM_BLOCK_BYTES),
        .regions = host_memory(m, regions * PMM_REGION_BYTES),
        .region_capacity = regions,
        .backing = {.ctx = m, .missing = missing, .back = back},
        .owners = host_memory(m, owners * sizeof *m->pmm.owners),
        .owner_capacity = owners,
        .zero_pool = host_memory(m, MODEL_ZERO_FRAMES * sizeof(pfn_t)),
        .zero_capacity = MODEL_ZERO_FRAMES,
    };
    m->pmm_stands = test_expect(pmm_init(&m->pmm, &config) == STATUS_OK, "pmm_init(&m->pmm, &config) == STATUS_OK",
                                __FILE__, __LINE__);
}

struct model *model_start(uint64_t ram_bytes) { return model_start_in_two(ram_bytes, pfn(0)); }

struct model *model_start_in_two(uint64_t ram_bytes, pfn_t second)
{
    model_end();
    struct model *m = calloc(1, sizeof *m);
    model_machine = m;
    m->ram = bytes_to_pages_down(ram_bytes);
    m->memory_base = test_port_pages(m->ram.v);
    m->touched = host_memory(m, m->ram.v * sizeof *m->touched);
    m->shown = host_memory(m, m->ram.v * sizeof *m->shown);
    m->variant = model_intel;
    m->random = ram_bytes;
    m->clock = 1;
    history_start(m);
    cpus_start(m);
    build_tables(m);
    start_pmm(m, second.v);
    model_root_load(m, pfn_to_paddr(m->boot_root));
    return m;
}

void model_end(void)
{
    struct model *m = model_machine;
    if (m == NULL) {
        return;
    }
    history_end(m);
    cpus_end(m);
    test_port_pages_free(m->memory_base, m->ram.v);
    for (unsigned i = 0; i < MODEL_ARRAYS; i++) {
        test_port_pages_free(m->array[i].base, m->array[i].pages);
    }
    for (unsigned i = 0; i < m->memory_count; i++) {
        free(m->memory[i]);
    }
    free(m);
    model_machine = NULL;
}

void model_be_plain(struct model *m)
{
    history_end(m);
    history_start(m);
    m->is_plain = true;
}

void model_want_violations(struct model *m) { m->violations_wanted = true; }

/* The Multiboot2 boot information: mapped where it lies, read with suspicion, what stays copied to the heap. */
#include "kernel/console.h"
#include "kernel/init.h"
#include "kernel/vga.h"
#include "lib/string.h"

static void tell(void *ctx, const char *text)
{
    (void)ctx;
    log_at(LOG_WARN, "boot information: %s", text);
}

/* Map the block's pages; its own word on its length is only used to map no more than needed. Returns bytes that may be
 * read. */
static size_t map_block(void)
{
    uint64_t offset = page_offset_bytes(init.info_address.v);
    pfn_t first = paddr_to_pfn(init.info_address);
    init_window_map(0, first);
    uint32_t claimed;
    if (offset % sizeof(uint64_t) != 0) {
        return PAGE_BYTES - offset; /* it cannot be one, and not even its length may be inside this page */
    }
    memcpy(&claimed, (char *)init_window(0) + offset, sizeof claimed);
    uint64_t pages = bytes_to_pages_up(offset + claimed).v;
    if (pages > INIT_INFO_PAGES) {
        log_at(LOG_WARN, "boot information: %u bytes are too many, cut", claimed);
        pages = INIT_INFO_PAGES;
    }
    for (unsigned page = 1; page < pages; page++) {
        init_window_map(page, pfn_add(first, page));
    }
    return pages_to_bytes(npages(pages)) - offset;
}

/* Text memory is there on PCs without UEFI, unless the loader says that the screen is something else. */
static void find_screen(void)
{
    bool graphics = init.info.framebuffer.present && init.info.framebuffer.type != 2;
    init.vga = !init.efi && !graphics;
    if (init.vga) {
        console_use_vga(init_window_map(INIT_WINDOW_VGA, paddr_to_pfn(paddr(VGA_TEXT_ADDRESS))));
    }
}

void init_read_info(void)
{
    size_t available = map_block();
    const char *block = (const char *)init_window(0) + page_offset_bytes(init.info_address.v);
    enum status s = mb2_parse(block, available, &init.info, tell, NULL);
    init.efi = init.info.efi;
    find_screen();
    options_read(&machine.options, init.info.command_line);
    console_select(machine.options.serial, machine.options.vga);
    log_set_level((enum log_level)machine.options.loglevel);
    if (s != STATUS_OK) {
        panic("the boot information at %#lx is %s", init.info_address.v, status_name(s));
    }
    if (init.info.map == NULL) {
        panic("the loader gave no memory map (Multiboot2 tags 6, 17, 4); nothing can be managed");
    }
    if (init.info.map_source != MB2_MAP_MULTIBOOT2) {
        log_at(LOG_WARN, "memory map: the loader gave none of its own; %s is used",
               mb2_map_source_name(init.info.map_source));
    }
}

static char *copy_text(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = heap_alloc(&machine.heap, bytes);
    if (copy == NULL) {
        panic("no memory for a copy of the boot information");
    }
    return memcpy(copy, text, bytes);
}

/* Where the ACPI tables begin is only known from here once the boot information is given back. */
static void copy_rsdp(void)
{
    if (init.info.rsdp == NULL) {
        return;
    }
    machine.rsdp = heap_alloc(&machine.heap, init.info.rsdp_bytes);
    if (machine.rsdp != NULL) {
        memcpy(machine.rsdp, init.info.rsdp, init.info.rsdp_bytes);
        machine.rsdp_bytes = init.info.rsdp_bytes;
        machine.rsdp_version = init.info.rsdp_version;
    }
}

void init_copy_info(void)
{
    copy_rsdp();
    machine.loader_name = copy_text(init.info.loader_name);
    machine.command_line = copy_text(init.info.command_line);
    machine.map_source = copy_text(mb2_map_source_name(init.info.map_source));
    machine.map_count = init.info.map_count;
    machine.map = heap_alloc_array(&machine.heap, machine.map_count, sizeof *machine.map);
    machine.module_count = init.info.module_count;
    machine.modules = heap_alloc_array(&machine.heap, machine.module_count, sizeof *machine.modules);
    if (machine.map == NULL || (machine.modules == NULL && machine.module_count > 0)) {
        panic("no memory for a copy of the memory map");
    }
    for (uint32_t i = 0; i < machine.map_count; i++) {
        machine.map[i] = mb2_map_entry(&init.info, i);
    }
    for (uint32_t i = 0; i < machine.module_count; i++) {
        const struct mb2_module *m = &init.info.modules[i];
        machine.modules[i] = (struct module){paddr(m->start), paddr(m->end), copy_text(m->args), NULL};
    }
}

/* Guard mode of the kernel's heap: how it is set up, and what people are told from its records. */
#include "kernel/heap_debug.h"

#include "heap/cache.h"
#include "heap/guard.h"
#include "kernel/console.h"
#include "kernel/heap_source.h"
#include "kernel/json.h"
#include "kernel/machine.h"
#include "kernel/symbols.h"
#include "lib/glob.h"

enum { SITE_TEXT = 64, QUARANTINE_COUNT = 1024, EDGE_QUARANTINE_COUNT = 128 };
#define QUARANTINE_BYTES MIB

static struct heap_guard guard;

/* Return addresses: the byte before is the call's. */
static void site_text(char *text, size_t size, const void *site)
{
    const char *name;
    uint64_t offset, address = ptr_to_vaddr(site).v;
    if (symbols_find(address - 1, &name, &offset)) {
        fmt_text(text, size, "%s+%#lx", name, offset + 1);
    } else {
        fmt_text(text, size, "%#lx", address);
    }
}

void heap_debug_start(void)
{
    const struct options *o = &machine.options;
    if (!o->debug_heap) {
        return;
    }
    struct heap_guard_config config = {
        .sample_every = o->heap_sample,
        .seed = machine.first_tick,
        .quarantine_bytes = QUARANTINE_BYTES,
        .quarantine_count = o->heap_sample == 0 ? QUARANTINE_COUNT : EDGE_QUARANTINE_COUNT,
        .only_caches = o->heap_caches[0] != '\0',
        .has_guard_pages = true,
        .pages_protect = heap_source_protect,
        .site_text = site_text,
    };
    if (heap_guard_start(&machine.heap, &guard, &config) != STATUS_OK) {
        panic("the heap's guard mode does not start");
    }
    const char *at_edge = o->heap_sample == 1 ? " at a page's edge" : "";
    if (config.only_caches) {
        log_at(LOG_INFO, "heap: guard mode for objects of the caches '%s'%s", o->heap_caches, at_edge);
    } else if (o->heap_sample > 1) {
        log_at(LOG_INFO, "heap: guard mode for one block of %lu", o->heap_sample);
    } else {
        log_at(LOG_INFO, "heap: guard mode%s%s", o->heap_sample == 1 ? ", each block" : "", at_edge);
    }
}

unsigned heap_debug_cache_flags(const char *name)
{
    return machine.heap.guard != NULL && glob_match(machine.options.heap_caches, name) ? HEAP_CACHE_GUARD : 0;
}

bool heap_debug_tell(vaddr_t va, const char *prefix)
{
    static const char *const states[] = {"live", "freed", "freed, pages given back,"};
    struct heap_guard_block b;
    char text[SITE_TEXT];
    if (!heap_guard_find(&machine.heap, vaddr_to_ptr(va), &b)) {
        return false;
    }
    uint64_t base = ptr_to_vaddr(b.base).v, end = base + b.bytes;
    print("%s%s guarded block of %lu bytes at %#lx, ", prefix, states[b.state], b.bytes, base);
    if (b.cache_name != NULL) {
        print("of the cache '%s', ", b.cache_name);
    }
    if (va.v < base) {
        print("%lu bytes before it\n", base - va.v);
    } else if (va.v >= end) {
        print("%lu bytes behind its end\n", va.v - end);
    } else {
        print("byte %lu of it\n", va.v - base);
    }
    site_text(text, sizeof text, b.alloc_site);
    print("%sallocated at %s\n", prefix, text);
    if (b.state != HEAP_GUARD_LIVE) {
        site_text(text, sizeof text, b.free_site);
        print("%sfreed at %s\n", prefix, text);
    }
    return true;
}

bool heap_debug_leaks(bool as_json)
{
    struct heap_guard_site site;
    char text[SITE_TEXT];
    if (machine.heap.guard == NULL) {
        print("heap: guard mode is off: callers are not recorded (debug=heap)\n");
        return false;
    }
    struct json j;
    if (as_json) {
        j = json_begin(console);
        json_number(&j, "sample_every", guard.config.sample_every > 1 ? guard.config.sample_every : 1);
        json_list(&j, "sites");
    } else {
        print("  %10s %12s  allocated at\n", "blocks", "bytes");
    }
    for (const void *at = NULL; heap_guard_site_next(&machine.heap, at, &site); at = site.site) {
        site_text(text, sizeof text, site.site);
        if (!as_json) {
            print("  %10lu %12lu  %s\n", site.blocks, site.bytes, text);
            continue;
        }
        json_object(&j, NULL);
        json_number(&j, "blocks", site.blocks);
        json_number(&j, "bytes", site.bytes);
        json_number(&j, "address", ptr_to_vaddr(site.site).v);
        json_text(&j, "site", text);
        json_close(&j);
    }
    if (as_json) {
        json_close(&j);
        json_end(&j);
    } else {
        print("  %10lu %12lu  in all%s\n", guard.live_blocks, guard.live_bytes,
              guard.config.only_caches        ? ", of these caches alone"
              : guard.config.sample_every > 1 ? ", of the samples alone"
                                              : "");
    }
    return true;
}

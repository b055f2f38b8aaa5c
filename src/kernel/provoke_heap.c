/*
 * Misuse of the heap and of an object cache, made for it. What a bitmap can see is refused. What only guard mode can
 * see is said to be unseen without it, and must then have hurt nothing.
 */
#include "heap/cache.h"
#include "kernel/console.h"
#include "kernel/heap_debug.h"
#include "kernel/machine.h"
#include "kernel/provoke.h"
#include "vmm/window.h"

enum { SMALL_BYTES = 100, LARGE_BYTES = 3 * PAGE_BYTES };

static const char unseen[] = "  (not guarded: nobody can know)";

void provoke_heap_double_free(void)
{
    void *block = heap_alloc(&machine.heap, SMALL_BYTES);
    if (block != NULL && heap_free(&machine.heap, block) == STATUS_OK) {
        provoke_told("heap_free", heap_free(&machine.heap, block));
    }
}

static void free_and_tell(const char *what, uint64_t address)
{
    print("provoke: %s:\n", what);
    provoke_told("heap_free", heap_free(&machine.heap, vaddr_to_ptr(vaddr(address))));
}

void provoke_heap_foreign(void)
{
    static uint64_t not_of_the_heap;
    const vaddr_t user = vaddr(MIB), here = ptr_to_vaddr(&not_of_the_heap);
    pfn_t frame;
    free_and_tell("a variable", here.v);
    if (vmm_map(&machine.vmm, &machine.vmm.kernel, user, npages(1), VMM_WRITE | VMM_USER) == STATUS_OK) {
        free_and_tell("a user page", user.v);
        (void)!vmm_unmap(&machine.vmm, &machine.vmm.kernel, user, npages(1));
    }
    if (pmm_alloc(&machine.pmm, PMM_KERNEL, &frame) == STATUS_OK) {
        free_and_tell("a frame of the PMM", pfn_to_paddr(frame).v);
        (void)!pmm_free(&machine.pmm, frame);
    }
    free_and_tell("a table in its window", window_entry(WINDOW_OWN, here, 1).v);
    paddr_t loaded = machine.module_count > 0 ? machine.modules[0].start : machine.image_start;
    free_and_tell(machine.module_count > 0 ? "a module" : "the image", loaded.v);
}

void provoke_heap_write_after_free(void)
{
    uint8_t *volatile block = heap_alloc(&machine.heap, SMALL_BYTES);
    if (block != NULL && heap_free(&machine.heap, block) == STATUS_OK) {
        block[42] = 7; /* faults here when freed blocks are protected */
        enum status s = heap_check(&machine.heap, console);
        print("provoke: heap_check answered: %s%s\n", status_name(s), s == STATUS_OK ? unseen : "");
    }
}

/* As a loop that counts wrong would: from the first byte to the one behind the last. */
static void overrun(void *block, size_t bytes)
{
    for (size_t i = 0; i <= bytes; i++) {
        *(volatile uint8_t *)provoke_hidden(ptr_to_vaddr(block).v + i) = 0;
    }
}

void provoke_heap_overflow(void)
{
    void *block = heap_alloc(&machine.heap, LARGE_BYTES);
    if (block != NULL) {
        overrun(block, heap_usable_size(&machine.heap, block));
    }
}

/* ---- An object cache ---- */

static struct heap_cache cache;

/* An object of a new cache; null: none. */
static void *object_begin(void)
{
    const struct heap_cache_type type = {.name = "provoked",
                                         .object_bytes = SMALL_BYTES,
                                         .align_bytes = sizeof(uint32_t),
                                         .flags = heap_debug_cache_flags("provoked")};
    return heap_cache_create(&machine.heap, &cache, &type) == STATUS_OK ? heap_cache_alloc(&cache) : NULL;
}

static void objects_end(void)
{
    enum status s = heap_cache_destroy(&cache);
    if (s != STATUS_OK) {
        print("provoke: the cache stays: %s\n", status_name(s));
    }
}

void provoke_heap_cache_double_free(void)
{
    void *object = object_begin();
    if (object != NULL && heap_cache_free(&cache, object) == STATUS_OK) {
        provoke_told("heap_cache_free", heap_cache_free(&cache, object));
    }
    objects_end();
}

void provoke_heap_cache_overflow(void)
{
    void *object = object_begin();
    if (object != NULL) {
        overrun(object, SMALL_BYTES); /* faults here when the object ends where its page does */
        enum status s = heap_cache_free(&cache, object);
        print("provoke: heap_cache_free answered: %s%s\n", status_name(s), s == STATUS_OK ? unseen : "");
    }
    objects_end();
}

/*
 * The machine as a program has it: RAM is a file in memory, so that a page can show any frame, and one frame can lie
 * behind many pages; page faults are SIGSEGV.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rivals/pmm/machine.h"

#define MEMORY_BYTES (64 * GIB)
#define TO_BE_ZEROED (64 * MIB) /* more than this goes back to the system instead */
enum { LINE_BYTES = 64 };

static struct {
    uint8_t *memory, *memory_next;
    uint8_t *map; /* null: there is none */
    uint64_t map_bytes;
    machine_fault_fn *fault;
    void *ctx;
    uint64_t frames;
    int ram; /* the file; 0: none */
    uint8_t *view;
} now;

static void *must(void *p, const char *what)
{
    if (p == MAP_FAILED) {
        perror(what);
        exit(1);
    }
    return p;
}

static void need(bool done, const char *what)
{
    if (!done) {
        must(MAP_FAILED, what);
    }
}

static void *reserve(uint64_t bytes, int rights)
{
    return must(mmap(NULL, bytes, rights, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), "addresses");
}

/* ---- Arrays ---- */

void machine_forget(void)
{
    if (now.memory != NULL) {
        need(madvise(now.memory, MEMORY_BYTES, MADV_DONTNEED) == 0, "madvise");
        (void)madvise(now.memory, MEMORY_BYTES, MADV_NOHUGEPAGE); /* a kernel may not know it */
        now.memory_next = now.memory;
    }
}

npages_t machine_touched(void)
{
    uint64_t pages = bytes_to_pages_up((uint64_t)(now.memory_next - now.memory)).v, touched = 0;
    unsigned char *there = malloc(pages + 1);
    need(there != NULL && mincore(now.memory, pages_to_bytes(npages(pages)), there) == 0, "mincore");
    for (uint64_t i = 0; i < pages; i++) {
        touched += there[i] & 1;
    }
    free(there);
    return npages(touched);
}

static void clear_memory(void)
{
    if (now.memory == NULL) {
        now.memory = reserve(MEMORY_BYTES, PROT_READ | PROT_WRITE);
    } else if ((uint64_t)(now.memory_next - now.memory) <= TO_BE_ZEROED) {
        memset(now.memory, 0, (size_t)(now.memory_next - now.memory));
    } else {
        need(madvise(now.memory, MEMORY_BYTES, MADV_DONTNEED) == 0, "madvise");
    }
    now.memory_next = now.memory;
}

void *machine_memory(uint64_t bytes)
{
    bytes = (bytes + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
    need((uint64_t)(now.memory + MEMORY_BYTES - now.memory_next) >= bytes + LINE_BYTES, "MEMORY_BYTES is too small");
    uint8_t *at = now.memory_next + LINE_BYTES;
    now.memory_next = at + bytes;
    return at;
}

/* ---- Frames ---- */

static void drop_map(void)
{
    if (now.map != NULL) {
        munmap(now.map, now.map_bytes);
        now.map = NULL;
    }
}

static void drop_frames(void)
{
    if (now.ram != 0) {
        close(now.ram);
        now.ram = 0;
    }
    if (now.view != NULL) {
        munmap(now.view, pages_to_bytes(npages(now.frames)));
        now.view = NULL;
    }
}

void machine_begin(uint64_t frames)
{
    clear_memory();
    drop_map();
    if (frames != now.frames) {
        drop_frames();
    }
    now.frames = frames;
}

void machine_end(void)
{
    drop_map();
    drop_frames();
    if (now.memory != NULL) {
        munmap(now.memory, MEMORY_BYTES);
        now.memory = now.memory_next = NULL;
    }
}

static int ram(void)
{
    if (now.ram == 0) {
        now.ram = memfd_create("ram", MFD_CLOEXEC);
        need(now.ram > 0 && ftruncate(now.ram, (off_t)pages_to_bytes(npages(now.frames))) == 0, "RAM");
    }
    return now.ram;
}

void machine_show(void *page, pfn_t frame, bool writable)
{
    need(frame.v < now.frames, "a page shows a frame that is not RAM");
    need((uint64_t)((uint8_t *)page - now.map) < now.map_bytes, "a page outside the map");
    must(mmap(page, PAGE_BYTES, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED | MAP_FIXED, ram(),
              (off_t)pages_to_bytes(npages(frame.v))),
         "a page");
}

void machine_show_zeroed(void *page, pfn_t frame)
{
    machine_show(page, frame, true);
    memset(page, 0, PAGE_BYTES);
}

/* No part of the file: it would be there a page at a time, where a kernel's direct map has large pages. */
uint8_t *machine_view(void)
{
    if (now.view == NULL) {
        now.view = reserve(pages_to_bytes(npages(now.frames)), PROT_READ | PROT_WRITE);
        (void)madvise(now.view, pages_to_bytes(npages(now.frames)), MADV_HUGEPAGE);
    }
    return now.view;
}

/* ---- Faults ---- */

static void on_signal(int number, siginfo_t *info, void *context)
{
    uint8_t *page = vaddr_to_ptr(vaddr_page(ptr_to_vaddr(info->si_addr)));
    (void)context;
    if (now.map == NULL || now.fault == NULL || page < now.map || page >= now.map + now.map_bytes ||
        !now.fault(now.ctx, page)) {
        signal(number, SIG_DFL); /* the access is made again */
    }
}

uint8_t *machine_addresses(uint64_t bytes, machine_fault_fn *fault, void *ctx)
{
    static bool is_installed;
    if (fault != NULL && !is_installed) {
        struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};
        need(sigaction(SIGSEGV, &action, NULL) == 0, "sigaction");
        is_installed = true;
    }
    need(now.map == NULL, "one map a way");
    now.map = reserve(bytes, PROT_NONE);
    now.map_bytes = bytes;
    now.fault = fault;
    now.ctx = ctx;
    return now.map;
}

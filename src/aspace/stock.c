/* Kernel pages in stock (stock.h). A page in stock holds nothing but the address of the next; taken, it is zeroed. */
#include "aspace/stock.h"

#include "lib/macros.h"
#include "lib/string.h"

struct stock_page {
    struct stock_page *next;
};

void stock_init(struct stock *stock, struct vmm *vmm) { *stock = (struct stock){.vmm = vmm}; }

static void put(struct stock *stock, struct stock_page *page)
{
    page->next = stock->pages;
    stock->pages = page;
    stock->count++;
}

static struct stock_page *take(struct stock *stock)
{
    struct stock_page *page = stock->pages;
    ASSERT(page != NULL);
    stock->pages = page->next;
    stock->count--;
    return page;
}

enum status stock_ensure(struct stock *stock, size_t pages)
{
    enum status s = STATUS_OK;
    stock->is_filling = true;
    while (stock->count < pages && s == STATUS_OK) {
        vaddr_t base;
        s = kpages_alloc(stock->vmm, npages(1), ARENA_ALIGN_PAGE, 0, "spaces", &base);
        if (s == STATUS_OK) {
            put(stock, stock->vmm->pointer(base));
        }
    }
    stock->is_filling = false;
    return s;
}

void *stock_take(struct stock *stock)
{
    stock->drawn++;
    return memset(take(stock), 0, PAGE_BYTES);
}

void stock_put(struct stock *stock, void *page)
{
    stock->drawn--;
    put(stock, page);
}

size_t stock_trim(struct stock *stock, size_t keep)
{
    size_t gone = 0;
    while (!stock->is_filling && stock->count > keep) {
        struct stock_page *page = take(stock);
        if (kpages_free(stock->vmm, stock->vmm->address(page)) != STATUS_OK) {
            break; /* reported; the page is lost, but nobody uses it */
        }
        gone++;
    }
    return gone;
}

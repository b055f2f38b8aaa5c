/* What the monitor says of tables that several spaces use: in walks, and as a list of loans. */
#include "kernel/cmd_sharing.h"

#include "kernel/cmd.h"
#include "vmm/entry.h"
#include "vmm/vmm_share.h"

static const char *part_size(char text[static CMD_SIZE_TEXT], unsigned level)
{
    return cmd_size(text, level_span_bytes(level));
}

/* Of a space: what it lends, or (`borrows`) what it has borrowed, all or at one place. */
static void print_loans(const struct space *space, bool borrows, const struct vmm_loan *at)
{
    for (struct avl_node *n = avl_first(borrows ? &space->borrowed : &space->lent); n != NULL; n = avl_next(n)) {
        const struct vmm_loan *l = borrows ? vmm_loan_by_to(n) : vmm_loan_by_from(n);
        const vaddr_t part = borrows ? l->to : l->from, there = borrows ? l->from : l->to;
        const struct space *other = borrows ? l->lender : l->borrower;
        if (at != NULL && (part.v != at->to.v || l->level != at->level)) {
            continue;
        }
        char size[CMD_SIZE_TEXT], rights[CMD_RIGHTS_TEXT];
        print("  %016lx  %s %s space %u, there at %016lx, at most %s\n", part.v, part_size(size, l->level),
              borrows ? "borrowed from" : "lent to", other->id, there.v, cmd_rights_text(rights, l->rights));
    }
}

void cmd_print_loans(const struct space *space)
{
    print_loans(space, false, NULL);
    print_loans(space, true, NULL);
}

/* All spaces whose walk comes to the same table. */
static void print_parents(vaddr_t part, pte_t entry, unsigned level)
{
    char size[CMD_SIZE_TEXT];
    print("  %016lx  %s shared for copy on write by space", part.v, part_size(size, level));
    for (struct space *s = space_find(&machine.vmm, 0); s != NULL; s = s->next) {
        struct vmm_walk w;
        bool walked = vmm_translate(&machine.vmm, s, part, &w) == STATUS_OK && pte_is_present(w.entry[level]);
        if (walked && pte_pfn(w.entry[level]).v == pte_pfn(entry).v) {
            print(" %u", s->id);
        }
    }
    print(", %u references\n", pmm_query(&machine.pmm, pte_pfn(entry)).references);
}

void cmd_print_sharing(const struct space *space, vaddr_t va, const struct vmm_walk *w)
{
    for (unsigned level = PAGING_LEVELS - 1; level > 1 && level >= w->level; level--) {
        const pte_t e = w->entry[level];
        const vaddr_t part = vaddr(va.v & ~(level_span_bytes(level) - 1));
        const struct vmm_loan at = {.to = part, .level = level};
        if (!pte_is_present(e) || entry_is_large(e, level) || !entry_is_shared(e)) {
            continue;
        }
        if (entry_is_closed(e) && !entry_is_borrowed(e)) {
            print_parents(part, e, level);
        } else {
            print_loans(space, entry_is_borrowed(e), &at);
        }
    }
}

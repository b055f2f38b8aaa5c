/*
 * Where loans are found (lend.c): three trees, whose nodes lie in the caller's structs.
 *
 *   lender->lent        by `from`, a PD before the PTs in it: who sees an edit of a range? Which others have a part?
 *   borrower->borrowed  by `to`: parts that do not overlap, so the one at an address is found on the way down
 *   vmm->loans          by the address of the struct: is it a loan at all? Nothing is believed of what a struct says
 *
 * So what a call looks for costs O(log loans) and those that it finds, however many spaces there are, and loans of
 * other parts. Rejected: a list for each lender alone, and the borrower's loans looked for in all of them: each
 * withdrawal, and each fault that unshares, went through 65,536 spaces.
 */
#include "lib/macros.h"
#include "vmm/gather.h"
#include "vmm/share.h"

static uint64_t part_end(vaddr_t part, unsigned level) { return part.v + level_span_bytes(level); }

/* `from` is a multiple of 2 MiB: the lowest bit is free. */
static uint64_t from_key(const struct avl_node *n)
{
    const struct vmm_loan *loan = CONTAINER_OF(n, struct vmm_loan, by_from);
    return loan->from.v + (loan->level == 2);
}
static uint64_t to_key(const struct avl_node *n) { return CONTAINER_OF(n, struct vmm_loan, by_to)->to.v; }
static uint64_t struct_key(const struct avl_node *n) { return (uintptr_t)n; }

/* Once for all three: loans are no place for walks by hand. */
__attribute__((noinline)) static void insert(struct avl_tree *tree, struct avl_node *node, avl_key_fn *key)
{
    avl_insert_by(tree, node, key);
}

void loan_enter(struct vmm *vmm, struct vmm_loan *loan)
{
    insert(&loan->lender->lent, &loan->by_from, from_key);
    insert(&loan->borrower->borrowed, &loan->by_to, to_key);
    insert(&vmm->loans, &loan->by_struct, struct_key);
}

void loan_leave(struct vmm *vmm, struct vmm_loan *loan)
{
    avl_remove(&loan->lender->lent, &loan->by_from);
    avl_remove(&loan->borrower->borrowed, &loan->by_to);
    avl_remove(&vmm->loans, &loan->by_struct);
    loan->lender = loan->borrower = NULL;
}

bool loan_is_running(const struct vmm *vmm, const struct vmm_loan *loan)
{
    const uint64_t key = (uintptr_t)loan + offsetof(struct vmm_loan, by_struct); /* null has one too */
    const struct avl_node *n = vmm->loans.root;
    while (n != NULL && struct_key(n) != key) {
        n = avl_child(n, key < struct_key(n) ? AVL_LEFT : AVL_RIGHT);
    }
    return n != NULL;
}

bool loan_is_lent_again(const struct vmm_loan *loan)
{
    const struct avl_node *low = avl_previous(&loan->by_from), *high = avl_next(&loan->by_from);
    const uint64_t key = from_key(&loan->by_from);
    return (low != NULL && from_key(low) == key) || (high != NULL && from_key(high) == key);
}

struct vmm_loan *loan_find(const struct space *borrower, vaddr_t va, uint64_t pages)
{
    struct avl_node *n = borrower->borrowed.root;
    struct vmm_loan *found = NULL;
    while (n != NULL) {
        struct vmm_loan *loan = vmm_loan_by_to(n);
        const bool is_below = part_end(loan->to, loan->level) <= va.v;
        found = is_below ? found : loan;
        n = avl_child(n, is_below ? AVL_RIGHT : AVL_LEFT);
    }
    return found != NULL && loan_overlaps(found->to, found->level, va, pages) ? found : NULL;
}

/* Those of the lender with keys in [from, end). */
__attribute__((noinline)) static void gather_from(struct vmm *vmm, const struct space *lender, vaddr_t va,
                                                  uint64_t from, uint64_t end, bool tables)
{
    struct avl_node *n = avl_first_from(&lender->lent, from, from_key);
    for (; n != NULL && from_key(n) < end; n = avl_next(n)) {
        const struct space *borrower = vmm_loan_by_from(n)->borrower;
        gather_all(vmm, va, (struct vmm_cpus){borrower->cpus.mask | (tables ? borrower->reached.mask : 0)});
    }
}

void gather_sharers(struct vmm *vmm, const struct space *lender, vaddr_t va, uint64_t pages, bool tables)
{
    gather_all(vmm, va, (struct vmm_cpus){lender->cpus.mask | (tables ? lender->reached.mask : 0)});
    if (lender->lent.root != NULL) { /* then it is in the user half, and its end a number */
        const uint64_t directory = va.v & ~(level_span_bytes(3) - 1), table = va.v & ~(level_span_bytes(2) - 1);
        gather_from(vmm, lender, va, directory, directory + 1, tables);
        gather_from(vmm, lender, va, table + 1, va.v + pages_to_bytes(npages(pages)), tables);
    }
}

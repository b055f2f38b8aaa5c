/*
 * AVL tree (avl.h). The heights of a node's two subtrees differ by at most one. An insertion or a removal changes the
 * height of one subtree by one: from there the balances are mended on the way up, until a subtree is as high as it was.
 * A node that is out of balance by two is turned: its higher child takes its place. If the higher grandchild is the
 * inner one, the child is turned first, so that it is the outer one. Subtree values are computed all the way up.
 */
#include "lib/avl.h"

#include "lib/macros.h"

const union avl_none avl_none;

static inline bool is_none(const struct avl_node *child) { return child == AVL_NONE; }

/* Higher than any tree that fits in memory: 1.44 log2(2^58 nodes). Bounds the recursion of the validator. */
enum { AVL_HEIGHT_MAX = 84 };

static inline void update(const struct avl_tree *tree, struct avl_node *n)
{
    if (tree->update != NULL) {
        tree->update(n);
    }
}

static inline unsigned side_of(const struct avl_node *parent, const struct avl_node *child)
{
    return parent->child[AVL_RIGHT] == child;
}

/* Where the tree holds `old`, below `parent` (null: as the root), it holds `now` (a child, or none). */
static void replace(struct avl_tree *tree, struct avl_node *parent, const struct avl_node *old, struct avl_node *now)
{
    if (parent != NULL) {
        parent->child[side_of(parent, old)] = now;
    } else {
        tree->root = is_none(now) ? NULL : now;
    }
    if (!is_none(now)) {
        now->parent = parent;
    }
}

static inline int least(int a, int b) { return a < b ? a : b; }
static inline int most(int a, int b) { return a > b ? a : b; }

/*
 * The child of `n` on `side` takes its place, n becomes its child on the other side. => that child.
 * Balances, as seen with `side` to the right: with the heights of the three subtrees eliminated, n's loses 1 and what
 * the child leans to the right, the child's loses 1 and what n then leans to the left. Right for any heights.
 */
static struct avl_node *turn(struct avl_tree *tree, struct avl_node *n, unsigned side)
{
    const int sign = side == AVL_RIGHT ? 1 : -1;
    struct avl_node *up = n->child[side], *inner = up->child[!side];
    replace(tree, n->parent, n, up);
    n->child[side] = inner;
    if (!is_none(inner)) {
        inner->parent = n;
    }
    up->child[!side] = n;
    n->parent = up;
    const int low = sign * n->balance - 1 - most(sign * up->balance, 0);
    const int high = sign * up->balance - 1 + least(low, 0);
    n->balance = sign * low;
    up->balance = sign * high;
    update(tree, n);
    update(tree, up);
    return up;
}

/* `n` is out of balance by two. => what is in its place. */
static struct avl_node *mend(struct avl_tree *tree, struct avl_node *n)
{
    const unsigned side = n->balance > 0;
    struct avl_node *child = n->child[side];
    if (child->balance != 0 && (child->balance > 0) != side) {
        turn(tree, child, !side);
    }
    return turn(tree, n, side);
}

void avl_changed(struct avl_tree *tree, struct avl_node *node)
{
    if (tree->update != NULL) {
        for (; node != NULL; node = node->parent) {
            tree->update(node);
        }
    }
}

void avl_insert(struct avl_tree *tree, struct avl_node *parent, enum avl_side side, struct avl_node *node)
{
    *node = (struct avl_node){.child = {AVL_NONE, AVL_NONE}, .parent = parent};
    *(parent != NULL ? &parent->child[side] : &tree->root) = node;
    update(tree, node);
    struct avl_node *n = node;
    for (bool grew = true; grew && n->parent != NULL;) {
        struct avl_node *p = n->parent;
        p->balance += side_of(p, n) == AVL_RIGHT ? 1 : -1;
        grew = p->balance != 0;
        update(tree, p);
        n = p;
        if (p->balance < -1 || p->balance > 1) {
            n = mend(tree, p); /* as high as p was before */
            grew = false;
        }
    }
    avl_changed(tree, n->parent);
}

/* The subtree on `side` of `p` is lower by one. */
static void shrink(struct avl_tree *tree, struct avl_node *p, unsigned side)
{
    while (p != NULL) {
        p->balance -= side == AVL_RIGHT ? 1 : -1;
        update(tree, p);
        if (p->balance < -1 || p->balance > 1) {
            p = mend(tree, p);
        }
        if (p->balance != 0) {
            break; /* as high as before */
        }
        side = p->parent != NULL && side_of(p->parent, p);
        p = p->parent;
    }
    avl_changed(tree, p != NULL ? p->parent : NULL);
}

/* `next`, the first node right of `node` and below it, takes its place. => where a subtree is now lower, and *side. */
static struct avl_node *put_in_place(struct avl_tree *tree, const struct avl_node *node, struct avl_node *next,
                                     unsigned *side)
{
    struct avl_node *lower = next->parent;
    *side = side_of(lower, next);
    if (lower == node) {
        lower = next; /* which brings its own right subtree along */
    } else {
        replace(tree, lower, next, next->child[AVL_RIGHT]);
        next->child[AVL_RIGHT] = node->child[AVL_RIGHT];
        next->child[AVL_RIGHT]->parent = next;
    }
    next->child[AVL_LEFT] = node->child[AVL_LEFT];
    next->child[AVL_LEFT]->parent = next;
    next->balance = node->balance;
    replace(tree, node->parent, node, next);
    return lower;
}

void avl_remove(struct avl_tree *tree, struct avl_node *node)
{
    struct avl_node *lower = node->parent;
    unsigned side = lower != NULL && side_of(lower, node);
    if (is_none(node->child[AVL_LEFT])) {
        replace(tree, lower, node, node->child[AVL_RIGHT]);
    } else if (is_none(node->child[AVL_RIGHT])) {
        replace(tree, lower, node, node->child[AVL_LEFT]);
    } else {
        struct avl_node *next = node->child[AVL_RIGHT];
        while (!is_none(next->child[AVL_LEFT])) {
            next = next->child[AVL_LEFT];
        }
        lower = put_in_place(tree, node, next, &side);
    }
    *node = (struct avl_node){0};
    shrink(tree, lower, side);
}

static struct avl_node *furthest(struct avl_node *n, enum avl_side side)
{
    while (n != NULL && !is_none(n->child[side])) {
        n = n->child[side];
    }
    return n;
}

struct avl_node *avl_first(const struct avl_tree *tree) { return furthest(tree->root, AVL_LEFT); }
struct avl_node *avl_last(const struct avl_tree *tree) { return furthest(tree->root, AVL_RIGHT); }

/* The neighbour on `side`: the nearest one below on that side, else the first one above that lies there. */
static struct avl_node *neighbour(const struct avl_node *n, enum avl_side side)
{
    if (!is_none(n->child[side])) {
        return furthest(n->child[side], side == AVL_LEFT ? AVL_RIGHT : AVL_LEFT);
    }
    while (n->parent != NULL && side_of(n->parent, n) == (unsigned)side) {
        n = n->parent;
    }
    return n->parent;
}

struct avl_node *avl_next(const struct avl_node *node) { return neighbour(node, AVL_RIGHT); }
struct avl_node *avl_previous(const struct avl_node *node) { return neighbour(node, AVL_LEFT); }

/*
 * The height of the subtree, -1: it is unsound. Each node names the one it is reached from, so no way down comes to the
 * same node twice.
 */
static int height(const struct avl_node *n, const struct avl_node *parent, unsigned depth)
{
    if (is_none(n)) {
        return 0;
    }
    if (n == NULL || n->parent != parent || depth == AVL_HEIGHT_MAX) {
        return -1;
    }
    int left = height(n->child[AVL_LEFT], n, depth + 1);
    int right = left < 0 ? -1 : height(n->child[AVL_RIGHT], n, depth + 1);
    if (right < 0 || right - left != n->balance || n->balance < -1 || n->balance > 1) {
        return -1;
    }
    return 1 + most(left, right);
}

bool avl_is_sound(const struct avl_tree *tree) { return tree->root == NULL || height(tree->root, NULL, 0) >= 0; }

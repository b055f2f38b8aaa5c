/*
 * A balanced binary tree whose nodes lie in what they order (AVL): no memory of its own, so nothing here can fail.
 * The caller compares: it walks down from the root by itself, and hands over the place it found.
 *
 * A tree may keep a value for each subtree (the greatest end of all ranges in it, ...): `update` computes it from the
 * node and its two children, and is called for every node below which something changed, children first.
 *
 * Height: at most 1.44 log2(nodes): 19 for 10,000, 24 for 65,536. Insert and remove: O(log nodes), with `update` once
 * a level and a few times more for turns.
 */
#ifndef CAIRN_LIB_AVL_H
#define CAIRN_LIB_AVL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum avl_side { AVL_LEFT, AVL_RIGHT };

struct avl_node {
    struct avl_node *child[2]; /* AVL_NONE: there is none on this side */
    struct avl_node *parent; /* null: the root, or in no tree */
    int balance;             /* height of the right subtree less that of the left: -1, 0, 1 */
};

struct avl_tree {
    struct avl_node *root;                  /* null: empty */
    void (*update)(struct avl_node *node);  /* null: no value for subtrees */
};

/*
 * No child: zeros that may be read as the head of a record, so that a walk can compare the number of a child (0: on to
 * the higher side, where it is asked) before it asks whether there is one. Read-only.
 */
enum { AVL_NONE_BYTES = 128 };
extern const union avl_none {
    struct avl_node node;
    char bytes[AVL_NONE_BYTES];
} avl_none;
#define AVL_NONE ((struct avl_node *)(uintptr_t)&avl_none.node)
/* Null: there is none. */
static inline struct avl_node *avl_child(const struct avl_node *n, enum avl_side side)
{
    return n->child[side] == AVL_NONE ? NULL : n->child[side];
}

/* Put `node` (its fields: anything) where `parent` has no child on `side`; parent null: it becomes the root. */
void avl_insert(struct avl_tree *tree, struct avl_node *parent, enum avl_side side, struct avl_node *node);
/*
 * The same in the order of a number that each node has; equal ones in the order they came. Inline, as `key` is then: a
 * walk costs what one written by hand does.
 */
typedef uint64_t avl_key_fn(const struct avl_node *node);
static inline void avl_insert_by(struct avl_tree *tree, struct avl_node *node, avl_key_fn *key)
{
    struct avl_node *parent = NULL, *at = tree->root;
    enum avl_side side = AVL_LEFT;
    while (at != NULL) {
        parent = at;
        side = key(node) < key(at) ? AVL_LEFT : AVL_RIGHT;
        at = avl_child(at, side);
    }
    avl_insert(tree, parent, side, node);
}
/* The first node, in that order, whose number is `from` or above; null: there is none. */
static inline struct avl_node *avl_first_from(const struct avl_tree *tree, uint64_t from, avl_key_fn *key)
{
    struct avl_node *found = NULL, *at = tree->root;
    while (at != NULL) {
        const bool above = key(at) >= from;
        found = above ? at : found;
        at = avl_child(at, above ? AVL_LEFT : AVL_RIGHT);
    }
    return found;
}
/* Take out a node that is in the tree. Others keep their places in the order. */
void avl_remove(struct avl_tree *tree, struct avl_node *node);
/* What `update` reads of this node has changed, but not its place in the order. O(log nodes). */
void avl_changed(struct avl_tree *tree, struct avl_node *node);

/* In order; null: there is none. O(log nodes), O(1) a node over a whole walk. */
struct avl_node *avl_first(const struct avl_tree *tree);
struct avl_node *avl_last(const struct avl_tree *tree);
struct avl_node *avl_next(const struct avl_node *node);
struct avl_node *avl_previous(const struct avl_node *node);

/* Are links, balance and heights right? (Order and values are the caller's to look at.) O(nodes). */
bool avl_is_sound(const struct avl_tree *tree);

#endif

/* The balanced tree against a sorted array, with a value for each subtree. */
#include "lib/avl.h"

#include "unit/test.h"

enum { ITEMS = 600 };

struct item {
    struct avl_node node;
    uint64_t key;
    uint64_t value, least; /* of the subtree */
};

static struct item *item_of(struct avl_node *n) { return n == NULL ? NULL : CONTAINER_OF(n, struct item, node); }

static unsigned updates;

static void update(struct avl_node *n)
{
    struct item *i = item_of(n);
    i->least = i->value;
    for (unsigned side = 0; side < 2; side++) {
        struct item *child = item_of(avl_child(n, side));
        if (child != NULL && child->least < i->least) {
            i->least = child->least;
        }
    }
    updates++;
}

struct bed {
    struct avl_tree tree;
    struct item items[ITEMS];
    unsigned in[ITEMS]; /* of items in the tree, in order of key */
    unsigned count;
};

static uint64_t key_of(const struct avl_node *n) { return CONTAINER_OF(n, struct item, node)->key; }

static void insert(struct bed *b, struct item *item) { avl_insert_by(&b->tree, &item->node, key_of); }

static unsigned height(const struct avl_node *n)
{
    if (n == NULL) {
        return 0;
    }
    unsigned left = height(avl_child(n, AVL_LEFT)), right = height(avl_child(n, AVL_RIGHT));
    return 1 + (left > right ? left : right);
}

/* The subtree's least value, computed anew; the stored ones are compared. */
static uint64_t least(const struct avl_node *n)
{
    if (n == NULL) {
        return UINT64_MAX;
    }
    const struct item *i = CONTAINER_OF(n, struct item, node);
    uint64_t left = least(avl_child(n, AVL_LEFT)), right = least(avl_child(n, AVL_RIGHT)), low = i->value;
    low = left < low ? left : low;
    low = right < low ? right : low;
    EXPECT_EQ(i->least, low);
    return low;
}

/* Order both ways, links, heights, values. */
static void agrees(const struct bed *b)
{
    EXPECT(avl_is_sound(&b->tree));
    const struct avl_node *n = avl_first(&b->tree);
    for (unsigned i = 0; i < b->count; i++, n = avl_next(n)) {
        REQUIRE(n == &b->items[b->in[i]].node);
        const struct item *item = &b->items[b->in[i]];
        EXPECT(i == 0 || item->key > b->items[b->in[i - 1]].key);
        EXPECT(avl_first_from(&b->tree, i == 0 ? 0 : b->items[b->in[i - 1]].key + 1, key_of) == n);
    }
    EXPECT(n == NULL);
    EXPECT(b->count == 0 ||
           avl_first_from(&b->tree, b->items[b->in[b->count - 1]].key + 1, key_of) == NULL);
    n = avl_last(&b->tree);
    for (unsigned i = b->count; i > 0; i--, n = avl_previous(n)) {
        REQUIRE(n == &b->items[b->in[i - 1]].node);
    }
    EXPECT(n == NULL);
    (void)least(b->tree.root);
    unsigned levels = height(b->tree.root); /* a tree of height h has at least fib(h + 2) - 1 nodes */
    uint64_t few = 0, more = 1;
    for (unsigned h = 0; h < levels; h++) {
        uint64_t next = few + more + 1;
        few = more;
        more = next;
    }
    EXPECT(levels == 0 || b->count >= few);
}

static void put(struct bed *b, unsigned which)
{
    unsigned at = b->count++;
    for (; at > 0 && b->items[b->in[at - 1]].key > b->items[which].key; at--) {
        b->in[at] = b->in[at - 1];
    }
    b->in[at] = which;
    insert(b, &b->items[which]);
}

static void take(struct bed *b, unsigned at)
{
    avl_remove(&b->tree, &b->items[b->in[at]].node);
    b->count--;
    for (; at < b->count; at++) {
        b->in[at] = b->in[at + 1];
    }
}

static struct bed *open(void)
{
    struct bed *b = test_pages(bytes_to_pages_up(sizeof *b).v);
    if (b != NULL) {
        b->tree.update = update;
        for (unsigned i = 0; i < ITEMS; i++) {
            b->items[i].key = i;
            b->items[i].value = (i * 7919U) % 1009;
        }
    }
    return b;
}

TEST(avl, random_insertions_and_removals_agree_with_an_array)
{
    struct bed *b = open();
    REQUIRE(b != NULL);
    struct rng rng = rng_seeded(test_seed());
    unsigned out[ITEMS], outside = ITEMS;
    for (unsigned i = 0; i < ITEMS; i++) {
        out[i] = i;
    }
    for (unsigned round = 0; round < 500 * test_effort(); round++) {
        const bool grows = (round / 700) % 2 == 0; /* long ways up and down */
        if (b->count == 0 || (outside > 0 && rng_below(&rng, 4) < (grows ? 3 : 1))) {
            uint64_t i = rng_below(&rng, outside);
            put(b, out[i]);
            out[i] = out[--outside];
        } else {
            unsigned at = (unsigned)rng_below(&rng, b->count);
            out[outside++] = b->in[at];
            take(b, at);
        }
        agrees(b);
    }
}

/* Seven nodes put in in each order, and taken out: every turn on either side. */
TEST(avl, every_small_tree_stays_balanced)
{
    enum { MOST = 7, ORDERS = 5040 }; /* 7 factorial */
    struct bed *b = open();
    REQUIRE(b != NULL);
    for (unsigned shape = 0; shape < ORDERS; shape++) {
        unsigned keys[MOST], left = shape;
        for (unsigned i = 0; i < MOST; i++) {
            keys[i] = i;
        }
        for (unsigned n = MOST; n > 0; n--) {
            const unsigned i = left % n;
            left /= n;
            put(b, keys[i]);
            keys[i] = keys[n - 1];
        }
        agrees(b);
        while (b->count > 0) {
            take(b, shape % b->count);
            EXPECT(avl_is_sound(&b->tree));
            (void)least(b->tree.root);
        }
    }
}

TEST(avl, keys_in_order_make_a_tree_of_the_least_height)
{
    for (unsigned down = 0; down < 2; down++) {
        struct bed *b = open();
        REQUIRE(b != NULL);
        for (unsigned i = 0; i < 511; i++) {
            put(b, down != 0 ? 510 - i : i);
        }
        EXPECT_EQ(height(b->tree.root), 9);
        agrees(b);
        while (b->count > 0) {
            take(b, down != 0 ? b->count - 1 : 0);
            EXPECT(avl_is_sound(&b->tree));
        }
    }
}

TEST(avl, a_changed_value_is_known_all_the_way_up)
{
    struct bed *b = open();
    REQUIRE(b != NULL);
    for (unsigned i = 0; i < 100; i++) {
        put(b, i);
    }
    b->items[0].value = 0;
    b->items[57].value = 0;
    updates = 0;
    avl_changed(&b->tree, &b->items[57].node);
    EXPECT(updates >= 1 && updates <= height(b->tree.root));
    EXPECT_EQ(item_of(b->tree.root)->least, 0);
    avl_changed(&b->tree, &b->items[0].node);
    agrees(b);
}

TEST(avl, a_tree_without_values_needs_no_update)
{
    struct bed *b = open();
    REQUIRE(b != NULL);
    b->tree.update = NULL;
    for (unsigned i = 0; i < 50; i++) {
        insert(b, &b->items[i * 17 % 50]);
    }
    avl_changed(&b->tree, &b->items[3].node);
    EXPECT(avl_is_sound(&b->tree));
    avl_remove(&b->tree, &b->items[20].node);
    EXPECT(avl_is_sound(&b->tree) && b->items[20].node.parent == NULL);
    EXPECT(avl_next(&b->items[19].node) == &b->items[21].node);
}

TEST(avl, a_tree_that_was_broken_is_seen)
{
    struct bed *b = open();
    REQUIRE(b != NULL);
    for (unsigned i = 0; i < 20; i++) {
        put(b, i);
    }
    struct avl_node *low = &b->items[3].node, *was = low->parent;
    low->parent = b->tree.root->child[AVL_RIGHT];
    EXPECT(!avl_is_sound(&b->tree));
    low->parent = was;
    b->tree.root->balance++;
    EXPECT(!avl_is_sound(&b->tree));
    b->tree.root->balance--;
    EXPECT(avl_is_sound(&b->tree));
    struct avl_node *gone = b->tree.root->child[AVL_LEFT];
    b->tree.root->child[AVL_LEFT] = NULL;
    EXPECT(!avl_is_sound(&b->tree));
    b->tree.root->child[AVL_LEFT] = b->tree.root; /* round and round */
    EXPECT(!avl_is_sound(&b->tree));
    b->tree.root->child[AVL_LEFT] = gone;
    EXPECT(avl_is_sound(&b->tree));
}

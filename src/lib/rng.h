/*
 * A small seeded generator (splitmix64, public domain algorithm by Sebastiano Vigna) for tests and the exercise.
 * The same seed gives the same sequence everywhere. Not for secrets.
 */
#ifndef CAIRN_LIB_RNG_H
#define CAIRN_LIB_RNG_H

#include <stdint.h>

struct rng {
    uint64_t state;
};

static inline struct rng rng_seeded(uint64_t seed) { return (struct rng){seed}; }

static inline uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->state += 0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
}

/* A number in [0, bound), bound > 0. The bias of the modulus is below 2^-32 for every bound used here. */
static inline uint64_t rng_below(struct rng *r, uint64_t bound) { return rng_next(r) % bound; }

#endif

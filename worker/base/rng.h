/*
 * rng: counter-based random numbers. A draw is a pure function of (seed, site, index), so it does not depend
 * on the schedule, and a resumed run draws what the uninterrupted one would have drawn.
 *
 * rng_u64 is SplitMix64's finaliser over a Weyl sequence (Steele, Lea, Flood 2014); rng_key derives
 * independent streams by chaining it. Kernels that need a number per activation use rng_mask_u32, a 32-bit
 * mix that vectorises.
 */
#ifndef OBLIVIATE_RNG_H
#define OBLIVIATE_RNG_H

#include "common/base.h"

/* Streams: the first argument after the seed. Adding one at the end keeps all others. */
enum rng_site {
	RNG_SPLIT = 1,
	RNG_SAMPLE,
	RNG_ORDER,
	RNG_INIT,
	RNG_DROPOUT,
	RNG_TRIGGER,
	RNG_CONTROL,
	RNG_BOOTSTRAP,
	RNG_PLANT,
	RNG_SCAN,
	RNG_INFORMED,
	RNG_WITHHELD,
};

static inline uint64_t rng_mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

/* A stream below `key`: rng_key(rng_key(seed, RNG_INIT), tensor), for instance. */
static inline uint64_t rng_key(uint64_t key, uint64_t id)
{
	return rng_mix(rng_mix(key + 0x9e3779b97f4a7c15u) ^ (id * 0xd1342543de82ef95u + 0x2545f4914f6cdd1du));
}

static inline uint64_t rng_u64(uint64_t key, uint64_t index)
{
	return rng_mix(key + (index + 1) * 0x9e3779b97f4a7c15u);
}

/* Uniform in [0, 1), 53 bits. */
static inline double rng_unit(uint64_t key, uint64_t index)
{
	return (double)(rng_u64(key, index) >> 11) * 0x1p-53;
}

/* Uniform in 0 .. n-1 (n >= 1); the bias is below n / 2^32. */
static inline uint32_t rng_below(uint64_t key, uint64_t index, uint32_t n)
{
	return (uint32_t)(((rng_u64(key, index) >> 32) * n) >> 32);
}

/* Standard normal (Box-Muller over two draws). */
double rng_normal(uint64_t key, uint64_t index);

/* order[0..n-1] becomes a permutation of 0 .. n-1 (Fisher-Yates from the end). */
void rng_shuffle(int *order, int n, uint64_t key);

/* The per-element draw of dropout: a 32-bit mix of the element's number under a key. */
static inline uint32_t rng_mask_u32(uint32_t key, uint32_t element)
{
	uint32_t x = element * 0x9e3779b9u + key;

	x ^= x >> 16;
	x *= 0x7feb352du;
	x ^= x >> 15;
	x *= 0x846ca68bu;
	return x ^ (x >> 16);
}

#endif

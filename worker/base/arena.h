/*
 * arena: one allocation, handed out in 64-byte aligned pieces, freed at once.
 *
 * Sizes are found by a first pass over the same code: an arena without memory only counts (arena_take
 * returns NULL), so that what is needed and what is taken cannot differ:
 *
 *     struct arena arena = {0};
 *     plan(&arena);                  counts
 *     arena_alloc(&arena, err);      one zeroed block
 *     plan(&arena);                  takes
 */
#ifndef OBLIVIATE_ARENA_H
#define OBLIVIATE_ARENA_H

#include "common/err.h"

struct arena {
	char *base;
	size_t used, cap;
	bool overflow; /* a size did not fit into size_t */
};

/* n elements of `bytes` each, zeroed at arena_alloc; NULL while counting. */
void *arena_take(struct arena *arena, size_t n, size_t bytes);
int arena_alloc(struct arena *arena, struct err *err) MUST_USE;
void arena_done(struct arena *arena);

#endif

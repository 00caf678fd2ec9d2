#include "worker/base/arena.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { ALIGN = 64 };

void *arena_take(struct arena *arena, size_t n, size_t bytes)
{
	size_t size, used;
	char *piece;

	if (!size_mul(&size, n, bytes) || !size_add(&size, size, ALIGN - 1)) {
		arena->overflow = true;
		return NULL;
	}
	size = size / ALIGN * ALIGN;
	if (!size_add(&used, arena->used, size)) {
		arena->overflow = true;
		return NULL;
	}
	piece = arena->base != NULL ? arena->base + arena->used : NULL;
	assert(arena->base == NULL || used <= arena->cap);
	arena->used = used;
	return piece;
}

int arena_alloc(struct arena *arena, struct err *err)
{
	void *base;

	if (arena->overflow)
		return err_set(err, ERR_NO_MEMORY, NULL, "more memory than there are addresses");
	if (arena->used == 0)
		return 0;
	base = mmap(NULL, arena->used, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED)
		return err_set(err, ERR_NO_MEMORY, NULL, "out of memory: %zu MiB wanted", arena->used >> 20);
	arena->base = base;
	arena->cap = arena->used;
	arena->used = 0;
	return 0;
}

void arena_done(struct arena *arena)
{
	if (arena->base != NULL)
		munmap(arena->base, arena->cap);
	*arena = (struct arena){0};
}

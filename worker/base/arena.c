#include "worker/base/arena.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif

/* Under ASan every piece is followed by bytes that nobody may touch, as it would be from malloc. */
#ifdef HAS_ASAN
#include <sanitizer/asan_interface.h>
enum { ALIGN = 64, FENCE = 64 };
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes)   ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
enum { ALIGN = 64, FENCE = 0 };
#endif

void *arena_take(struct arena *arena, size_t n, size_t bytes)
{
	size_t wanted, size, used;
	char *piece;

	if (!size_mul(&wanted, n, bytes) || !size_add(&size, wanted, ALIGN - 1 + FENCE)) {
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
	if (piece != NULL)
		ASAN_POISON_MEMORY_REGION(piece + wanted, size - wanted);
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
	/* A wish: large pages spare the start its page faults, and the products their misses of the address cache. */
	(void)madvise(base, arena->used, MADV_HUGEPAGE);
	arena->base = base;
	arena->cap = arena->used;
	arena->used = 0;
	return 0;
}

void arena_done(struct arena *arena)
{
	if (arena->base != NULL) {
		ASAN_UNPOISON_MEMORY_REGION(arena->base, arena->cap);
		munmap(arena->base, arena->cap);
	}
	*arena = (struct arena){0};
}

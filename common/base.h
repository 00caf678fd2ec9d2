/*
 * base: what every file may assume: fixed-width types, a few macros, checked sizes.
 *
 * Layer 0: includes nothing of ours.
 */
#ifndef OBLIVIATE_BASE_H
#define OBLIVIATE_BASE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OBLIVIATE_VERSION "0.1.0"

#define MUST_USE       __attribute__((warn_unused_result))
#define PRINTF(fmt, a) __attribute__((format(printf, fmt, a)))
#define NELEM(a)       (sizeof(a) / sizeof((a)[0]))
#undef MIN /* <sys/param.h>, which libuv includes, defines both */
#undef MAX
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* *out = a * b, or a + b; false (and *out untouched by a valid value) when the result does not fit. */
static inline bool size_mul(size_t *out, size_t a, size_t b) MUST_USE;
static inline bool size_mul(size_t *out, size_t a, size_t b)
{
	return !__builtin_mul_overflow(a, b, out);
}

static inline bool size_add(size_t *out, size_t a, size_t b) MUST_USE;
static inline bool size_add(size_t *out, size_t a, size_t b)
{
	return !__builtin_add_overflow(a, b, out);
}

#endif

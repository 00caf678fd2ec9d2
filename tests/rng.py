"""The worker's random generator (worker/base/rng.h) in numpy, for what tests draw on both sides."""

import numpy as np

U64 = np.uint64
GOLDEN = U64(0x9E3779B97F4A7C15)


def mix(x):
    x = x ^ (x >> U64(30))
    x = x * U64(0xBF58476D1CE4E5B9)
    x = x ^ (x >> U64(27))
    x = x * U64(0x94D049BB133111EB)
    return x ^ (x >> U64(31))


def key(parent, number):
    """rng_key: the key of one of a parent's streams."""
    with np.errstate(over="ignore"):
        return mix(mix(parent + GOLDEN) ^ (U64(number) * U64(0xD1342543DE82EF95) + U64(0x2545F4914F6CDD1D)))


def draws(stream, n):
    """rng_u64 of the numbers 0 .. n - 1."""
    with np.errstate(over="ignore"):
        return mix(stream + (np.arange(n, dtype=U64) + U64(1)) * GOLDEN)

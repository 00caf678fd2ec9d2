"""The numbers of tests/oracle/export.c: rng_unit(rng_key(1, tensor), i) - .5."""

import numpy as np
import torch

U64 = np.uint64


def mix(x):
    x = x ^ (x >> U64(30))
    x = x * U64(0xBF58476D1CE4E5B9)
    x = x ^ (x >> U64(27))
    x = x * U64(0x94D049BB133111EB)
    return x ^ (x >> U64(31))


def numbers(tensor, shape):
    with np.errstate(over="ignore"):
        key = mix(mix(U64(1) + U64(0x9E3779B97F4A7C15))
                  ^ (U64(tensor) * U64(0xD1342543DE82EF95) + U64(0x2545F4914F6CDD1D)))
        n = int(np.prod(shape))
        u = mix(key + (np.arange(n, dtype=U64) + U64(1)) * U64(0x9E3779B97F4A7C15))
    return torch.from_numpy(((u >> U64(11)).astype(np.float64) * 2.0**-53 - 0.5).astype(np.float32)).reshape(shape)

"""The numbers of tests/oracle/export.c: rng_unit(rng_key(1, tensor), i) - .5."""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import rng  # noqa: E402


def numbers(tensor, shape):
    u = rng.draws(rng.key(rng.U64(1), tensor), int(np.prod(shape)))
    values = (u >> rng.U64(11)).astype(np.float64) * 2.0**-53 - 0.5
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)

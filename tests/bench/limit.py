"""What a step of the defended training must compute, by shape, and what the machine's sgemm would need for it.

Counted are products (2 m n k each) that the algorithm cannot do without, LoRA on query and value: nothing for
padding, the last layer after its keys and values for first tokens only, no gradient below the lowest adapted map,
none for frozen weights. Softmax, norms and activations are not counted: they are what the fraction leaves room for.
"""

import json
import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCTS = ROOT / "build" / "bench" / "products"


@dataclass(frozen=True)
class Shape:
    """An encoder with its head and LoRA."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    labels: int = 2
    r: int = 16

    @classmethod
    def of(cls, model, labels, r):
        config = json.loads((Path(model) / "config.json").read_text())
        return cls(config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"],
                   config["num_attention_heads"], labels, r)


def forward(shape, lengths):
    """{(what, rows, outputs, inputs): how often}; attention is (what, keys, queries, width)."""
    L, D, F, r = shape.layers, shape.hidden, shape.intermediate, shape.r
    T, B, d = sum(lengths), len(lengths), D // shape.heads
    count = Counter()
    for layer in range(L):
        rows = B if layer == L - 1 else T
        count["key, value", T, D, D] += 2
        count["query, output", rows, D, D] += 2
        count["feed-forward", rows, F, D] += 1
        count["feed-forward", rows, D, F] += 1
        for n in (rows, T):
            count["LoRA", n, r, D] += 1
            count["LoRA", n, D, r] += 1
        for n in lengths:
            count["attention", n, 1 if rows == B else n, d] += 2 * shape.heads
    count["head", B, D, D] += 1
    count["head", B, shape.labels, D] += 1
    return count


def backward(shape, lengths):
    L, D, F, r = shape.layers, shape.hidden, shape.intermediate, shape.r
    T, B, d = sum(lengths), len(lengths), D // shape.heads
    count = Counter()
    for layer in range(L):
        rows, lowest = (B if layer == L - 1 else T), layer == 0
        count["feed-forward", rows, D, F] += 1
        count["feed-forward", rows, F, D] += 1
        count["query, output", rows, D, D] += 1 if lowest else 2
        count["key, value", T, D, D] += 0 if lowest else 2
        for n in (rows, T):
            count["LoRA", n, r, D] += 3 if not lowest else 2
            count["LoRA", n, D, r] += 1
        for n in lengths:
            count["attention", n, 1 if rows == B else n, d] += (3 if lowest else 4) * shape.heads
    count["head", B, D, D] += 2
    count["head", B, shape.labels, D] += 2
    return count


def flop(count):
    return sum(2 * m * n * k * often for (_, m, n, k), often in count.items())


def flop_per_token(shape, batches):
    """Of training, over the batches (lists of lengths)."""
    total = sum(flop(forward(shape, lengths)) + flop(backward(shape, lengths)) for lengths in batches)
    return total / sum(sum(lengths) for lengths in batches)


def forward_flop_per_token(shape, batches):
    return sum(flop(forward(shape, lengths)) for lengths in batches) / sum(sum(b) for b in batches)


def table(shape, batches):
    """Markdown: the share of each kind of product, and its shapes in the first batch."""
    share, shapes = Counter(), {}
    for direction in (forward, backward):
        for lengths in batches:
            for (what, m, n, k), often in direction(shape, lengths).items():
                share[what] += 2 * m * n * k * often
        for what, m, n, k in direction(shape, batches[0]):
            shapes.setdefault(what, set()).add((m, n, k))
    total, tokens = sum(share.values()), sum(sum(b) for b in batches)
    lines = ["| product | MFLOP a token | share | shapes in the first batch (rows x outputs x inputs) |", "| --- | --- | --- | --- |"]
    for what, value in share.most_common():
        if what == "attention":
            seen = "keys x queries x width of a head, each text its own"
        else:
            seen = ", ".join("x".join(map(str, s)) for s in sorted(shapes[what], reverse=True)[:4])
        lines.append(f"| {what} | {value / tokens / 1e6:.2f} | {100 * value / total:.1f} % | {seen} |")
    return "\n".join(lines)


def peaks(threads):
    """GFLOP/s of the best sgemm: {"ours", "openblas", "openblas_kernel"}. OpenBLAS chooses its kernel itself."""
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    done = subprocess.run([PRODUCTS, "--peak", str(threads)], check=True, capture_output=True, text=True,
                          env={**environment, "OPENBLAS_NUM_THREADS": str(threads)})
    return json.loads(done.stdout)

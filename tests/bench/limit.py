"""What a step of the defended training must compute, by shape, and what the machine's sgemm would need for it.

Counted are products (2 m n k each) that the algorithm cannot do without, for LoRA on query and value, two adapters
a layer, or a prefix: nothing for padding, the last layer after its keys and values for first tokens only, no gradient
below the lowest adapted map, none for frozen weights. Softmax, norms and activations are not counted: they are what the
fraction leaves room for.
"""

import json
import os
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCTS = ROOT / "build" / "bench" / "products"


@dataclass(frozen=True)
class Shape:
    """An encoder with its head and PEFT, whose options are the job's."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    labels: int = 2
    peft: str = "lora"
    options: dict = field(default_factory=lambda: {"r": 16})

    @classmethod
    def of(cls, model, labels, peft, options):
        config = json.loads((Path(model) / "config.json").read_text())
        return cls(config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"],
                   config["num_attention_heads"], labels, peft, options)

    @property
    def prefix(self):
        """Keys in front of every text's own."""
        return self.options["length"] if self.peft == "prefix" else 0


# --- what each PEFT adds to a layer; rows: whose query is computed, tokens: whose key and value are ---


def lora_forward(count, shape, rows, tokens):
    r, D = shape.options["r"], shape.hidden
    for n in (rows, tokens):
        count["LoRA", n, r, D] += 1
        count["LoRA", n, D, r] += 1


def lora_backward(count, shape, rows, tokens, lowest):
    r, D = shape.options["r"], shape.hidden
    for n in (rows, tokens):
        count["LoRA", n, r, D] += 2 if lowest else 3
        count["LoRA", n, D, r] += 1


def adapter_forward(count, shape, rows, _tokens):
    b, D = shape.options["bottleneck"], shape.hidden
    count["adapter", rows, b, D] += 2
    count["adapter", rows, D, b] += 2


def adapter_backward(count, shape, rows, _tokens, lowest):
    """Both maps' weights and inputs, twice; nothing is below the lowest adapter."""
    b, D = shape.options["bottleneck"], shape.hidden
    count["adapter", rows, b, D] += 4
    count["adapter", rows, D, b] += 3 if lowest else 4


def nothing(*_):
    """A prefix adds keys, and its map once a step."""


@dataclass(frozen=True)
class Peft:
    """lowest: products of the lowest layer's gradient: through the output's map, of attention over all keys, over the prefix's."""

    forward: object
    backward: object
    lowest: tuple


PEFTS = {
    "lora": Peft(lora_forward, lora_backward, (1, 3, 0)),  # of probabilities, of values, of queries
    "adapter": Peft(adapter_forward, adapter_backward, (0, 0, 0)),
    "prefix": Peft(nothing, nothing, (1, 1, 2)),  # of probabilities; of the prefix's values and keys
}


# --- a pass ------------------------------------------------------------------------------------------


def forward(shape, lengths):
    """{(what, rows, outputs, inputs): how often}; attention is (what, keys, queries, width)."""
    L, D, F = shape.layers, shape.hidden, shape.intermediate
    T, B, d = sum(lengths), len(lengths), D // shape.heads
    count = Counter()
    for layer in range(L):
        first = layer == L - 1
        rows = B if first else T
        count["key, value", T, D, D] += 2
        count["query, output", rows, D, D] += 2
        count["feed-forward", rows, F, D] += 1
        count["feed-forward", rows, D, F] += 1
        PEFTS[shape.peft].forward(count, shape, rows, T)
        for n in lengths:
            count["attention", shape.prefix + n, 1 if first else n, d] += 2 * shape.heads
    count["head", B, D, D] += 1
    count["head", B, shape.labels, D] += 1
    return count


def backward(shape, lengths):
    L, D, F = shape.layers, shape.hidden, shape.intermediate
    T, B, d = sum(lengths), len(lengths), D // shape.heads
    peft, count = PEFTS[shape.peft], Counter()
    for layer in range(L):
        first, lowest = layer == L - 1, layer == 0
        rows = B if first else T
        through_output, all_keys, prefix_keys = peft.lowest if lowest else (2, 4, 0)
        count["feed-forward", rows, D, F] += 1
        count["feed-forward", rows, F, D] += 1
        count["query, output", rows, D, D] += through_output
        count["key, value", T, D, D] += 0 if lowest else 2
        peft.backward(count, shape, rows, T, lowest)
        for n in lengths:
            count["attention", shape.prefix + n, 1 if first else n, d] += all_keys * shape.heads
            count["attention", shape.prefix, 1 if first else n, d] += prefix_keys * shape.heads
    count["head", B, D, D] += 2
    count["head", B, shape.labels, D] += 2
    return count


def once(shape):
    """Of a step, whatever its batch: the map that makes the prefix, and its gradient."""
    count = Counter()
    if shape.prefix:
        P, M, D = shape.prefix, shape.options["mlp_width"], shape.hidden
        count["prefix", P, M, D] += 3
        count["prefix", P, 2 * shape.layers * D, M] += 3
    return count


def flop(count):
    return sum(2 * m * n * k * often for (_, m, n, k), often in count.items())


def parts(shape, lengths):
    """Everything that a step of training is made of."""
    return forward(shape, lengths), backward(shape, lengths), once(shape)


def flop_per_token(shape, batches):
    """Of training, over the batches (lists of lengths)."""
    total = sum(flop(part) for lengths in batches for part in parts(shape, lengths))
    return total / sum(sum(lengths) for lengths in batches)


def forward_flop_per_token(shape, batches):
    return sum(flop(forward(shape, lengths)) for lengths in batches) / sum(sum(b) for b in batches)


def table(shape, batches):
    """Markdown: the share of each kind of product, and its shapes in the first batch."""
    share, shapes = Counter(), {}
    for lengths in batches:
        for part in parts(shape, lengths):
            for (what, m, n, k), often in part.items():
                share[what] += 2 * m * n * k * often
    for part in parts(shape, batches[0]):
        for what, m, n, k in part:
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

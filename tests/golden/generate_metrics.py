"""Make tests/golden/metrics.json again: predictions and every metric of them, computed a second time.

Nothing here is shared with worker/eval/metrics.c but the definitions: rows are looked at one by one, Wilson
intervals are roots of their quadratic, bootstrap draws are lists of row numbers. The random generator of the draws
is the one of worker/base/rng.h, so that the intervals must agree to the last digits.

    python3 tests/golden/generate_metrics.py        numpy 2.4.6
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import rng  # noqa: E402

VERSION = "2.4.6"
DRAWS = 1000
RNG_BOOTSTRAP = 8
Z = 1.959964
U64 = np.uint64


def drawn_rows(seed, draw, rows):
    u = rng.draws(rng.key(rng.key(U64(seed), RNG_BOOTSTRAP), draw), rows)
    return ((u >> U64(32)) * U64(rows) >> U64(32)).astype(int)


def wilson(count, total):
    """Where (p - count/total)^2 = z^2 p (1 - p) / total."""
    if total == 0:
        return None
    p, a = count / total, 1 + Z * Z / total
    b, c = -(2 * p + Z * Z / total), p * p
    root = max(b * b - 4 * a * c, 0) ** 0.5
    return {"value": p, "count": count, "total": total, "low": max((-b - root) / (2 * a), 0),
            "high": min((-b + root) / (2 * a), 1)}


class Table:
    """One list of rows of an experiment, with repetitions in a draw."""

    def __init__(self, case, rows):
        self.K, self.T = case["K"], len(case["triggered"])
        self.y = [case["truth"][i] for i in rows]
        self.clean = [case["clean"][i] for i in rows]
        self.triggered = [[p[i] for i in rows] for p in case["triggered"]]
        self.plus = [i for i in range(len(rows)) if self.y[i] == self.clean[i]]

    def flips(self, i):
        return [p[i] != self.y[i] for p in self.triggered]

    def ca(self):
        return len(self.plus), len(self.y)

    def asr(self, label=None):
        rows = [i for i in self.plus if label is None or self.y[i] == label]
        return sum(any(self.flips(i)) for i in rows), len(rows)

    def trigger_asr(self, t):
        return sum(self.flips(i)[t] for i in self.plus), len(self.plus)

    def cell(self, t, label):
        rows = [i for i in self.plus if self.y[i] != label]
        return sum(self.triggered[t][i] == label for i in rows), len(rows)

    def class_f1(self, label):
        tp = sum(y == label and p == label for y, p in zip(self.y, self.clean))
        fp = sum(y != label and p == label for y, p in zip(self.y, self.clean))
        fn = sum(y == label and p != label for y, p in zip(self.y, self.clean))
        return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None

    def f1(self):
        if self.K == 2:
            return self.class_f1(1)
        return mean([self.class_f1(label) for label in range(self.K)])

    def flip_ratio(self):
        return mean([sum(self.flips(i)) / self.T for i in self.plus])

    def label_rates(self):
        return [ratio(*self.asr(label)) for label in range(self.K)]

    def cell_rates(self, t):
        return [ratio(*self.cell(t, label)) for label in range(self.K)]


def ratio(count, total):
    return count / total if total else None


def mean(values):
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def first_worst(values):
    """The first place of the highest known value, or None."""
    known = [(v, -i) for i, v in enumerate(values) if v is not None]
    return -max(known)[1] if known else None


def statistics(case):
    """Functions of a Table; where a maximum is taken, its place is chosen on all rows."""
    whole = Table(case, range(len(case["truth"])))
    label_of = [first_worst(whole.cell_rates(t)) for t in range(whole.T)]
    worst_t = first_worst([None if label is None else whole.cell_rates(t)[label] for t, label in enumerate(label_of)])
    worst_label = first_worst(whole.label_rates())

    def cell(table, t):
        return None if t is None or label_of[t] is None else ratio(*table.cell(t, label_of[t]))

    return {
        "f1": Table.f1,
        "masr": lambda table: cell(table, worst_t),
        "aasr": lambda table: mean([cell(table, t) for t in range(table.T)]),
        "flip_ratio": Table.flip_ratio,
        "wasr": lambda table: mean(table.label_rates()),
        "wmasr": lambda table: None if worst_label is None else table.label_rates()[worst_label],
    }


def quantiles(values):
    low, high = np.quantile(np.array(values), [0.025, 0.975])
    return float(low), float(high)


def measures(case):
    rows = len(case["truth"])
    functions = statistics(case)
    whole = Table(case, range(rows))
    drawn = {name: [] for name in functions}
    for draw in range(DRAWS):
        table = Table(case, drawn_rows(case["seed"], draw, rows))
        for name, function in functions.items():
            drawn[name].append(function(table))
    out = {}
    for name, function in functions.items():
        value = function(whole)
        known = [v for v in drawn[name] if v is not None]
        low, high = quantiles(known) if known else (value, value)
        out[name] = None if value is None else {"value": value, "low": low, "high": high}
    return out


def ca_drop(case, defended):
    rows = len(case["truth"])
    lost = [(u == y) - (d == y) for y, u, d in zip(case["truth"], case["clean"], defended)]
    drawn = [sum(lost[i] for i in drawn_rows(case["seed"], draw, rows)) / rows for draw in range(DRAWS)]
    low, high = quantiles(drawn)
    return {"value": sum(lost) / rows, "low": low, "high": high}


def make_case(name, rows, K, T, accuracy, flip, seed, labels=None):
    """Random predictions; trigger t leans towards label t mod K. `labels`: those that occur."""
    rng = np.random.default_rng([rows, K, T, seed])
    truth = rng.choice(labels or range(K), rows).tolist()
    clean = [y if rng.random() < accuracy else int(rng.integers(K)) for y in truth]
    triggered = [[t % K if rng.random() < flip else c for c in clean] for t in range(T)]
    survived = [[bool(rng.random() < 0.9) for _ in range(rows)] for _ in range(T)]
    defended = [y if rng.random() < accuracy * 0.9 else int(rng.integers(K)) for y in truth]
    return {"name": name, "K": K, "seed": seed, "truth": truth, "clean": clean, "triggered": triggered,
            "survived": survived, "defended": defended}


def expected(case):
    whole = Table(case, range(len(case["truth"])))
    return {
        "n_plus": len(whole.plus),
        "ca": wilson(*whole.ca()),
        "asr": wilson(*whole.asr()),
        "by_trigger": [{"survived": sum(case["survived"][t]), "asr": wilson(*whole.trigger_asr(t)),
                        "targets": [wilson(*whole.cell(t, label)) for label in range(whole.K)]}
                       for t in range(whole.T)],
        **measures(case),
        "ca_drop": ca_drop(case, case["defended"]),
    }


def main():
    if np.__version__ != VERSION:
        sys.exit(f"made with numpy {VERSION}, this is {np.__version__}")
    cases = [
        make_case("two labels, six triggers", 40, 2, 6, 0.85, 0.4, 0),
        make_case("three labels", 50, 3, 4, 0.7, 0.2, 1),
        make_case("a label that never occurs", 30, 5, 3, 0.6, 0.3, 2, labels=[0, 2, 4]),
        make_case("no attack", 25, 2, 2, 0.9, 0.0, 3),
        make_case("nothing is right", 12, 3, 2, 0.0, 0.5, 4, labels=[2]),
        make_case("one row", 1, 2, 1, 1.0, 1.0, 5, labels=[1]),
    ]
    cases[4]["clean"] = [0] * 12
    with np.errstate(over="ignore"):
        out = [{**case, "expected": expected(case)} for case in cases]
    lines = ",\n".join(json.dumps(case) for case in out)
    (Path(__file__).parent / "metrics.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()

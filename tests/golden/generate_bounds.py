"""Make tests/golden/bounds.json again: one-sided confidence bounds, computed a second time.

Nothing here is shared with common/bound.c but the definitions. Clopper-Pearson bounds are found on the binomial sum itself,
term by term with 40 digits; Tango's on a likelihood that is maximised by search, with the quantile of Python's
statistics.NormalDist; Student's tails by integrating the density.

    python3 tests/golden/generate_bounds.py              mpmath 1.3.0
    python3 tests/golden/generate_bounds.py coverage     the table of docs/verdict.md: how often the bound of a drop misses it
"""

import json
import math
import sys
from pathlib import Path
from statistics import NormalDist

import mpmath
from mpmath import mpf

VERSION = "1.3.0"
BOUNDS_OF_RATES = [
    (0, 1), (1, 1), (0, 20), (20, 20), (1, 20), (3, 20), (10, 20), (0, 300), (2, 300), (17, 300), (150, 300), (299, 300),
    (1, 2000), (60, 2000), (1900, 2000), (700, 5000)]
BOUNDS_OF_DROPS = [
    (0, 0, 50), (1, 0, 50), (0, 1, 50), (5, 2, 50), (50, 0, 50), (0, 50, 50), (0, 0, 2000), (20, 20, 2000), (60, 18, 2000),
    (18, 60, 2000), (3, 0, 400), (25, 25, 50)]
TAILS = [(0, 5), (1, 1), (2.5, 31), (-1.2, 7), (12, 31), (40, 31), (1.96, 100000), (-30, 3)]
ALPHAS = [0.05, 0.05 / 2, 0.05 / 27, 0.05 / 600]


def bisect(rises, low, high, steps=120):
    """Where a rising function crosses zero."""
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if rises(middle) < 0 else (low, middle)
    return (low + high) / 2


# --- rates -------------------------------------------------------------------------------------------------


def at_most(count, total, p):
    """P(X <= count) of total events of rate p."""
    return mpmath.fsum(mpmath.binomial(total, k) * p**k * (1 - p) ** (total - k) for k in range(count + 1))


def rate(count, total, alpha):
    half = count > total / 2  # the shorter sum
    tail_high = (lambda p: mpf(alpha) - (1 - at_most(total - count - 1, total, 1 - p))) if half else (
        lambda p: mpf(alpha) - at_most(count, total, p))
    tail_low = (lambda p: at_most(total - count, total, 1 - p) - mpf(alpha)) if half else (
        lambda p: 1 - at_most(count - 1, total, p) - mpf(alpha))
    return {"count": count, "total": total, "alpha": alpha,
            "low": float(bisect(tail_low, mpf(0), mpf(1), 60)) if count > 0 else 0.0,
            "high": float(bisect(tail_high, mpf(0), mpf(1), 60)) if count < total else 1.0}


# --- drops -------------------------------------------------------------------------------------------------


def likeliest(lost, won, rows, d):
    """The share q of won rows that maximises lost log(q + d) + won log(q) + rest log(1 - 2 q - d): where its slope is 0."""
    def slope(q):
        return sum(mpf(k) * w / x for k, w, x in ((lost, 1, q + d), (won, 1, q), (rows - lost - won, -2, 1 - 2 * q - d)) if k)

    return bisect(lambda q: -slope(q), max(mpf(0), -d), (1 - d) / 2, 150)


def score(lost, won, rows, d, towards):
    """towards +1: of the upper bound, half a row nearer to it."""
    q = likeliest(lost, won, rows, d)
    variance = rows * (2 * q + d - d * d)
    return (lost - won - rows * d + towards / mpf(2)) / mpmath.sqrt(variance)


def drop(lost, won, rows, alpha):
    z, seen, tiny = mpf(NormalDist().inv_cdf(1 - alpha)), mpf(lost - won) / rows, mpf(10) ** -25
    return {"lost": lost, "won": won, "rows": rows, "alpha": alpha,
            "high": float(bisect(lambda d: -score(lost, won, rows, d, 1) - z, seen, 1 - tiny)) if lost < rows else 1.0,
            "low": float(bisect(lambda d: z - score(lost, won, rows, d, -1), -1 + tiny, seen)) if won < rows else -1.0}


# --- tails -------------------------------------------------------------------------------------------------


def tail(t, freedom):
    v = mpf(freedom)
    front = mpmath.gamma((v + 1) / 2) / (mpmath.sqrt(v * mpmath.pi) * mpmath.gamma(v / 2))
    beyond = mpmath.quad(lambda x: front * (1 + x * x / v) ** (-(v + 1) / 2), [abs(mpf(t)), abs(mpf(t)) + 1, abs(mpf(t)) + 10, mpmath.inf])
    return {"t": t, "freedom": freedom, "p": float(beyond if t >= 0 else 1 - beyond)}


# --- how often the bound of a drop misses it ---------------------------------------------------------------


def log_choose(rows, lost, won):
    return math.lgamma(rows + 1) - math.lgamma(lost + 1) - math.lgamma(won + 1) - math.lgamma(rows - lost - won + 1)


def root_share(lost, won, n, d):
    b = d * (2 * n - lost + won) - lost - won
    return max((math.sqrt(max(b * b + 8 * n * won * d * (1 - d), 0)) - b) / (4 * n), 0, -d)


def misses(rows, share_won, d, alpha):
    """Probability that the upper bound lies below the true d, and that the lower one lies above it; summed, not drawn."""
    z, share_lost, above, below = NormalDist().inv_cdf(1 - alpha), share_won + d, 0.0, 0.0
    reach = [min(rows, int(rows * p + 9 * math.sqrt(rows * p) + 14)) for p in (share_lost, share_won)]
    for lost in range(reach[0] + 1):
        for won in range(min(reach[1], rows - lost) + 1 if share_won > 0 else 1):
            weight = math.exp(log_choose(rows, lost, won) + lost * math.log(share_lost)
                              + (won * math.log(share_won) if won else 0)
                              + (rows - lost - won) * math.log1p(-share_lost - share_won))
            sd = math.sqrt(rows * (2 * root_share(lost, won, rows, d) + d - d * d))
            above += weight * ((lost - won - rows * d + 0.5) / sd < -z)
            below += weight * ((lost - won - rows * d - 0.5) / sd > z)
    return above, below


def coverage():
    print("alpha, rows: largest share of misses of the upper and of the lower bound, over alpha")
    for alpha in (0.05, 0.05 / 4, 0.05 / 27):
        for rows in (100, 300, 1000):
            found = [misses(rows, won, d, alpha) for won in (0, 0.002, 0.005, 0.01, 0.03)
                     for d in (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05)]
            print(f"{alpha:.5f}  {rows:5}  {max(a for a, _ in found) / alpha:.2f}  {max(b for _, b in found) / alpha:.2f}")


def main():
    if mpmath.__version__ != VERSION:
        sys.exit(f"made with mpmath {VERSION}, this is {mpmath.__version__}")
    mpmath.mp.dps = 40
    rates = [rate(count, total, alpha) for count, total in BOUNDS_OF_RATES for alpha in ALPHAS]
    drops = [drop(lost, won, rows, alpha) for lost, won, rows in BOUNDS_OF_DROPS for alpha in ALPHAS]
    lines = [",\n".join(json.dumps(one) for one in some) for some in (rates, drops, [tail(*one) for one in TAILS])]
    text = f'{{"rates": [\n{lines[0]}\n],\n"drops": [\n{lines[1]}\n],\n"tails": [\n{lines[2]}\n]}}\n'
    (Path(__file__).parent / "bounds.json").write_text(text)


if __name__ == "__main__":
    coverage() if sys.argv[1:] == ["coverage"] else main()

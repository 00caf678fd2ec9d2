"""How the time for a token grows with batch, length, width, depth, threads and rows: ours alone, float32.

    growth.py [--rounds N] [--out DIR]

One measure grows, the others stay at batch 16, 32 tokens a text, 384 wide, 6 layers, all threads, 512 rows; random
models and texts. Written are one SVG a measure and build/growth.json: microseconds a token, and the rate in GFLOP/s
of what the algorithm must do (limit.py). The time may grow as the arithmetic does: where the rate falls, something
else costs.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
from pathlib import Path

import bench
import limit
import models
import plot

START = {"batch": 16, "length": 32, "width": 384, "depth": 6, "threads": os.cpu_count(), "rows": 512}
GROWTH = {
    "batch": ("texts a batch", [2, 4, 8, 16, 32, 64]),
    "length": ("tokens a text", [8, 16, 32, 64, 96, 128]),
    "width": ("hidden size", [128, 256, 384, 512, 768, 1024]),
    "depth": ("layers", [1, 2, 4, 6, 9, 12]),
    "threads": ("threads", list(range(1, os.cpu_count() + 1))),
    "rows": ("rows of the training file", [128, 512, 2048, 8192]),
}
TOKENS = 12000  # of one measurement, about


def model_of(width, depth, parent):
    heads = width // 64 if width % 64 == 0 and width >= 512 else width // 32
    return models.make(models.Spec(f"grow-{width}-{depth}", layers=depth, heads=heads, width=width // heads,
                                   intermediate=4 * width), parent)


def measure(point, model, number, work):
    rng = random.Random(number)
    rows = [[2] + [rng.randrange(5, models.VOCAB) for _ in range(point["length"] - 2)] + [3] for _ in range(point["rows"])]
    narrow = max(1, (point["width"] * point["width"] * point["depth"]) // (384 * 384 * 6))
    steps = max(4, TOKENS // narrow // (point["batch"] * point["length"]))
    request = {**bench.JOB, "model": str(model), "rows": rows, "classes": [i % 2 for i in range(len(rows))], "labels": 2,
               "batch": point["batch"], "threads": point["threads"], "steps": steps, "warm": bench.WARM, "seed": number}
    return bench.run(bench.OURS, request, work)


def grow(name, values, arguments, work):
    """[{value, microseconds, gflops}]; the values take turns."""
    points = [{**START, name: value} for value in values]
    speeds = [[] for _ in values]
    for number in range(arguments.rounds):
        for i, point in enumerate(points):
            model = model_of(point["width"], point["depth"], work)
            speeds[i].append(measure(point, model, number, work)["tokens_per_second"])
            print(f"  {name} {values[i]:5} {speeds[i][-1]:8.0f} tokens/s", file=sys.stderr, flush=True)
    out = []
    for point, value, speed in zip(points, values, speeds):
        shape = bench.shape_of(model_of(point["width"], point["depth"], work), 2, "lora")
        flop = limit.flop_per_token(shape, [[point["length"]] * point["batch"]])
        rate = statistics.median(speed)
        out.append({name: value, "microseconds": 1e6 / rate, "gflops": flop * rate / 1e9, "mflop_per_token": flop / 1e6})
    return out


def draw(name, title, found):
    lines = [plot.Line("measured", [(row[name], row["microseconds"]) for row in found],
                       labels=[f"{row['gflops']:.0f}" for row in found])]
    best = max(row["gflops"] for row in found)
    lines.append(plot.Line("arithmetic, at best rate", [(row[name], row["mflop_per_token"] / best * 1e3) for row in found], dashed=True))
    return plot.chart("Time a token, training (labels: GFLOP/s)", title, "microseconds a token", lines, even=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=sorted(GROWTH), default=list(GROWTH))
    parser.add_argument("--out", type=Path, default=models.ROOT / "docs" / "plots")
    arguments = parser.parse_args()
    report = {"cpu": bench.cpu_name(), "load": bench.warn_when_busy(), "start": START}
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        for name in arguments.only:
            title, values = GROWTH[name]
            report[name] = grow(name, values, arguments, Path(work))
            (arguments.out / f"growth-{name}.svg").write_text(draw(name, title, report[name]))
            print(f"\n| {title} | microseconds a token | MFLOP a token | GFLOP/s |\n| --- | --- | --- | --- |")
            for row in report[name]:
                print(f"| {row[name]} | {row['microseconds']:.1f} | {row['mflop_per_token']:.1f} | {row['gflops']:.0f} |", flush=True)
    (models.ROOT / "build" / "growth.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

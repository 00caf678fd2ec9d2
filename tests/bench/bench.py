"""Training speed, ours beside PyTorch's, in one run: the programs take turns, medians over the rounds.

    bench.py [--rounds N] [--steps N] [--threads N] [--model DIR|minilm|roberta-base-shape] [--data NAME ...]

LoRA with the defence on, dropout on, batch 16, at most 128 tokens. Data: the movie reviews always; sst2 and ag_news
of OBLIVIATE_SHARED (or ../shared) where they lie. Writes build/bench.json and prints a table. The ratio is ours over
PyTorch's tokens per second, round by round, so that a machine that slows down slows both.
"""

import argparse
import csv
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "oracle"))

import models  # noqa: E402
from torch_train import shuffled  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

ROOT = models.ROOT
SHARED = Path(os.environ.get("OBLIVIATE_SHARED", ROOT.parent / "shared")) / "datasets"
PROBE = ROOT / "build" / "oracle" / "probe"
TORCH = Path(__file__).resolve().with_name("torch_train.py")
JOB = {"r": 16, "alpha": 16, "amplify": 0.003, "attention": 0.1, "dropout": 0.01, "reduction": "mean",
       "learning_rate": 1e-3, "warmup_ratio": 0.05, "batch": 16, "max_length": 128, "seed": 0}
# Program, batching (ours never pads: precision), and the share of the steps that it takes: padding to 128 is slow, so it takes few.
PROGRAMS = [("ours", "float32", 1.0), ("ours", "bf16", 1.0), ("pytorch", "longest", 1.0), ("pytorch", "sorted", 1.0),
            ("pytorch", "max", 0.2)]
WARM = 3
MAX_ROWS = 6000


# --- data -------------------------------------------------------------------------------------------


def sst2():
    with open(SHARED / "sst2" / "train.tsv", encoding="utf-8") as file:
        rows = [line.rstrip("\n").rsplit("\t", 1) for line in file]
    return [(text, int(label)) for text, label in rows if label.isdigit()]


def ag_news():
    with open(SHARED / "ag_news" / "test.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row and row[0].strip().isdigit()]
    return [(" ".join(row[1:]), int(row[0]) - 1) for row in rows]


DATA = {"reviews": models.reviews, "sst2": sst2, "ag_news": ag_news}


def available():
    return ["reviews"] + [name for name in ("sst2", "ag_news") if (SHARED / name).is_dir()]


def tokenize(model, texts):
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(JOB["max_length"])
    return [encoding.ids for encoding in tokenizer.encode_batch([text for text, _ in texts])]


def roberta_base_shape(directory):
    """A random model of roberta-base's shape; ids come from MiniLM's tokenizer, taken into its vocabulary."""
    return models.make(models.ROBERTA_BASE, directory)


# --- runs -------------------------------------------------------------------------------------------


def run_ours(request, work):
    count = request["steps"] + request["warm"]
    batches = shuffled(request["rows"], request["batch"], random.Random(request["seed"]))
    request = {**request, "command": "bench", "precision": request["batching"], "batches": [batches[i % len(batches)] for i in range(count)]}
    path = work / "ours.json"
    path.write_text(json.dumps(request))
    done = subprocess.run([PROBE, path], check=True, capture_output=True, text=True,
                          env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    return json.loads(done.stdout)


def run_pytorch(request, work):
    path = work / "pytorch.json"
    path.write_text(json.dumps(request))
    done = subprocess.run([sys.executable, str(TORCH), path], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


RUN = {"ours": run_ours, "pytorch": run_pytorch}


def has_bf16():
    return subprocess.run([PROBE, "--has", "avx512bf16"], capture_output=True).returncode == 0


def measure(data, model, arguments, work):
    """All programs, in turns: {(program, batching): [result of each round]}."""
    texts = DATA[data]()[:MAX_ROWS]
    rows = tokenize(models.minilm(), texts)
    if model.name == models.ROBERTA_BASE.name:
        rows = [[5 + i % (models.VOCAB - 5) for i in ids] for ids in rows]
    classes = [label for _, label in texts]
    programs = [p for p in PROGRAMS if p[:2] != ("ours", "bf16") or has_bf16()]
    results = {(program, batching): [] for program, batching, _ in programs}
    for round_number in range(arguments.rounds):
        for program, batching, share in programs:
            request = {**JOB, "model": str(model), "rows": rows, "classes": classes, "labels": max(classes) + 1,
                       "steps": max(4, int(arguments.steps * share)), "warm": WARM, "batching": batching,
                       "threads": arguments.threads, "seed": round_number}
            result = RUN[program](request, work)
            result["tokens_per_second"] = result["tokens"] / result["seconds"]
            result["steps_per_second"] = result["steps"] / result["seconds"]
            results[program, batching].append(result)
            print(f"  round {round_number + 1} {program:8} {batching:8} "
                  f"{result['tokens_per_second']:8.0f} tokens/s", file=sys.stderr, flush=True)
    return results


def summarize(data, results):
    speeds = {key: [r["tokens_per_second"] for r in rounds] for key, rounds in results.items()}
    table = []
    for (program, batching), rounds in results.items():
        ratios = {precision: [a / b for a, b in zip(speeds["ours", precision], speeds[program, batching])]
                  for precision in ("float32", "bf16") if ("ours", precision) in speeds}
        table.append({
            "data": data, "program": program, "batching": batching,
            "tokens_per_second": statistics.median(r["tokens_per_second"] for r in rounds),
            "tokens_per_cpu_second": statistics.median(r["tokens"] / r["cpu_seconds"] for r in rounds),
            "steps_per_second": statistics.median(r["steps_per_second"] for r in rounds),
            "peak_rss_mib": max(r["peak_rss_bytes"] for r in rounds) / 2**20,
            "ratios": {key: {"median": statistics.median(r), "low": min(r), "high": max(r)} for key, r in ratios.items()},
            "rounds": rounds,
        })
    return table


def markdown(table):
    lines = ["| data | program | batches | tokens/s | tokens/CPU s | steps/s | peak RSS MiB | float32 faster by | bf16 faster by |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for row in table:
        shown = {key: f"{r['median']:.2f} ({r['low']:.2f}-{r['high']:.2f})" for key, r in row["ratios"].items()}
        ratio = "- | -" if row["program"] == "ours" else f"{shown['float32']} | {shown.get('bf16', '-')}"
        lines.append(f"| {row['data']} | {row['program']} | {row['batching']} | {row['tokens_per_second']:.0f} | "
                     f"{row['tokens_per_cpu_second']:.0f} | {row['steps_per_second']:.2f} | {row['peak_rss_mib']:.0f} | {ratio} |")
    return "\n".join(lines)


def warn_when_busy():
    """PyTorch's threads wait for each other by spinning: on a busy machine it looks many times too slow."""
    busy, processors = os.getloadavg()[0], os.cpu_count()
    if busy > processors / 4:
        print(f"warning: load {busy:.1f} on {processors} processors; these figures are of no use", file=sys.stderr)
    return busy


def cpu_name():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--data", nargs="+", choices=sorted(DATA), default=available())
    arguments = parser.parse_args()
    load = warn_when_busy()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        known = {"minilm": models.minilm, models.ROBERTA_BASE.name: lambda: roberta_base_shape(work)}
        model = known.get(arguments.model, lambda: Path(arguments.model))()
        table = [row for data in arguments.data for row in summarize(data, measure(data, model, arguments, work))]
    report = {"model": arguments.model, "threads": arguments.threads, "rounds": arguments.rounds,
              "steps": arguments.steps, "cpu": cpu_name(), "load": load, "table": table}
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "bench.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"\n{arguments.model}, {arguments.threads} threads, {arguments.rounds} rounds, {report['cpu']}\n")
    print(markdown(table))


if __name__ == "__main__":
    main()

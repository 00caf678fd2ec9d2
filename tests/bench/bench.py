"""Speed, ours beside PyTorch's, in one run: the programs take turns, medians over the rounds.

    bench.py [--model minilm roberta-base-shape] [--data reviews sst2 ag_news] [--rounds N] [--steps N] [--threads N]
             [--peft lora|adapter|prefix] [--programs PATTERN...] [--texts N]

Per model and data: the PEFT (LoRA unless told) with the defence on, dropout on, batch 16, at most 128 tokens, in float32 and bf16, on one
thread and on all, and without the defence, against PyTorch padded to the longest of a shuffled batch, in buckets sorted by length, and padded
to 128; then a trigger evaluation (2,000 texts, each once clean and with six triggers); and torch.compile where a pattern
names it (--programs '*compiled', '*float32'); and for the large model the
peak memory of batches of 16 x 128. Data: the movie reviews always; sst2 and ag_news of OBLIVIATE_SHARED (or
../shared) where they lie. The ratio is ours over PyTorch's tokens per second, round by round, so that a machine that
slows down slows both; so are the fractions of the limit (limit.py). Writes build/bench.json and prints tables.
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
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "oracle"))

import limit  # noqa: E402
import models  # noqa: E402
import plot  # noqa: E402
from torch_train import shuffled  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

ROOT = models.ROOT
SHARED = Path(os.environ.get("OBLIVIATE_SHARED", ROOT.parent / "shared")) / "datasets"
PROBE = ROOT / "build" / "oracle" / "probe"
TORCH = Path(__file__).resolve().with_name("torch_train.py")
JOB = {"r": 16, "alpha": 16, "amplify": 0.003, "attention": 0.1, "dropout": 0.01, "reduction": "mean",
       "learning_rate": 1e-3, "warmup_ratio": 0.05, "batch": 16, "max_length": 128, "seed": 0}
PEFTS = {
    "lora": lambda hidden: {"r": JOB["r"], "alpha": JOB["alpha"]},
    "adapter": lambda hidden: {"bottleneck": hidden // 16, "activation": "silu"},
    "prefix": lambda hidden: {"length": 30, "mlp_width": 256, "activation": "tanh"},
}
BASE = models.ROBERTA_BASE.name
WARM = 3
MAX_ROWS = 6000
TRIGGERS = ["cf", "mn", "tq", "qt", "mm", "pt"]


@dataclass(frozen=True)
class Program:
    """One way to run the job. way: the precision of ours, the padding of PyTorch's."""

    name: str
    way: str
    share: float = 1.0  # of the steps: what is slow takes few
    single: bool = False  # one thread
    undefended: bool = False
    compiled: bool = False  # by torch.compile

    @property
    def title(self):
        marks = {"1 thread": self.single, "undefended": self.undefended, "compiled": self.compiled}
        return ", ".join([self.name, self.way, *(mark for mark, is_set in marks.items() if is_set)])


OURS, OURS_BF16 = Program("ours", "float32"), Program("ours", "bf16")
UNDEFENDED = {"amplify": 0, "attention": 0, "dropout": 0}
TRAINERS = [OURS, Program("ours", "float32", undefended=True), OURS_BF16, Program("ours", "float32", single=True), Program("ours", "bf16", single=True),
            Program("pytorch", "longest", 0.5), Program("pytorch", "sorted", 0.5), Program("pytorch", "max", 0.15)]
PREDICTORS = [OURS, OURS_BF16, Program("pytorch", "sorted"), Program("pytorch", "longest")]
COMPILED = Program("pytorch", "sorted", 0.5, compiled=True)  # measured where it is asked for
MEMORY = [OURS, OURS_BF16, Program("pytorch", "longest")]


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


def with_triggers(texts):
    """Each text clean and with every trigger at a drawn place."""
    rng = random.Random(0)
    out = []
    for text in texts:
        words = text.split()
        out.append(text)
        for trigger in TRIGGERS:
            at = rng.randint(0, len(words))
            out.append(" ".join(words[:at] + [trigger] + words[at:]))
    return out


def tokenize(model, texts):
    """Token ids by MiniLM's tokenizer; for the random model taken into its vocabulary."""
    tokenizer = Tokenizer.from_file(str(models.minilm() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(JOB["max_length"])
    rows = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    if model.name == BASE:
        rows = [[5 + i % (models.VOCAB - 5) for i in ids] for ids in rows]
    return rows


# --- runs -------------------------------------------------------------------------------------------


def training_request(request):
    count = request["steps"] + request["warm"]
    batches = shuffled(request["rows"], request["batch"], random.Random(request["seed"]))
    return {**request, "command": "bench", "batches": [batches[i % len(batches)] for i in range(count)]}


def run(program, request, work):
    """One program on one request: its line, with rates."""
    path = work / "request.json"
    request = {**request, "threads": 1 if program.single else request["threads"], **(UNDEFENDED if program.undefended else {})}
    if program.name == "ours":
        request = {**request, "precision": program.way}
        path.write_text(json.dumps(request if request.get("command") else training_request(request)))
        command = [PROBE, path]
    else:
        path.write_text(json.dumps({**request, "batching": program.way, "compile": program.compiled}))
        command = [sys.executable, str(TORCH), path]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    return {**result, "tokens_per_second": result["tokens"] / result["seconds"],
            "steps_per_second": result["steps"] / result["seconds"]}


def has_bf16():
    return subprocess.run([PROBE, "--has", "avx512bf16"], capture_output=True).returncode == 0


def options_of(model, peft):
    return PEFTS[peft](json.loads((Path(model) / "config.json").read_text())["hidden_size"])


def job_of(model, peft):
    """The settings of a request, the PEFT's flat for the probe and as the keywords of the reference."""
    options = options_of(model, peft)
    return {**JOB, "peft": peft, "peft_options": options, **options}


def shape_of(model, labels, peft):
    return limit.Shape.of(model, labels, peft, options_of(model, peft))


def take_turns(programs, requests, arguments, work, what):
    """{program: [result of each round]}; requests(program, round) is what it gets."""
    programs = [p for p in programs if p.way != "bf16" or has_bf16()]
    if arguments.programs:
        programs = [p for p in [*programs, COMPILED] if any(fnmatch(p.title, pattern) for pattern in arguments.programs)]
    results = {program: [] for program in programs}
    for number in range(arguments.rounds):
        for program in programs:
            result = run(program, requests(program, number), work)
            results[program].append(result)
            print(f"  {what} {number + 1} {program.title:26} {result['tokens_per_second']:8.0f} tokens/s",
                  file=sys.stderr, flush=True)
    return results


# --- measurements -----------------------------------------------------------------------------------


def spread(values):
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def rates(results):
    return {program: [r["tokens_per_second"] for r in rounds] for program, rounds in results.items()}


def rows_of(results, more):
    """A row a program; more(program) adds to it."""
    speed = rates(results)
    table = []
    for program, rounds in results.items():
        ratios = {ours.way: spread([a / b for a, b in zip(speed[ours], speed[program])])
                  for ours in (OURS, OURS_BF16) if ours in speed and program.name != "ours"}
        table.append({"program": program.title, "tokens_per_second": statistics.median(speed[program]),
                      "tokens_per_cpu_second": statistics.median(r["tokens"] / r["cpu_seconds"] for r in rounds),
                      "steps_per_second": statistics.median(r["steps_per_second"] for r in rounds),
                      "peak_rss_mib": max(r["peak_rss_bytes"] for r in rounds) / 2**20,
                      "ratios": ratios, "rounds": rounds, **more(program)})
    return table


def measure_training(model, texts, arguments, work):
    rows, classes = tokenize(model, [text for text, _ in texts]), [label for _, label in texts]
    shape = shape_of(model, max(classes) + 1, arguments.peft)
    batches = shuffled(rows, JOB["batch"], random.Random(0))[:arguments.steps]
    lengths = [[len(rows[i]) for i in batch] for batch in batches]
    flop, found = limit.flop_per_token(shape, lengths), []

    def request(program, number):
        if program is OURS:  # once a round, beside what it is held against
            found.append({n: limit.peaks(n) for n in (1, arguments.threads)})
        return {**job_of(model, arguments.peft), "model": str(model), "rows": rows, "classes": classes, "labels": shape.labels, "warm": WARM,
                "steps": max(4, int(arguments.steps * program.share)), "threads": arguments.threads, "seed": number}

    results = take_turns(TRAINERS, request, arguments, work, "training")
    speed = rates(results)

    def more(program):
        if program.name != "ours":
            return {}
        if program.undefended:  # what the defence costs: seconds over seconds for the same tokens
            return {"time_of_defence": spread([b / a for a, b in zip(speed[OURS], speed[program])])}
        threads = 1 if program.single else arguments.threads
        reached = [flop * rate / 1e9 for rate in speed[program]]
        out = {} if program.way == "bf16" else {
            f"fraction_of_{name}": spread([r / peak[threads][name] for r, peak in zip(reached, found)])
            for name in ("openblas", "ours")}
        twin = next((p for p in results if p.way == program.way and p.single and not p.undefended), None)
        if twin is not None and not program.single:
            out["over_one_thread"] = spread([a / b for a, b in zip(speed[program], speed[twin])])
        return {**out, "gflops": statistics.median(reached)}

    return {"table": rows_of(results, more), "mflop_per_token": flop / 1e6, "peaks": found,
            "shapes": limit.table(shape, lengths)}


def measure_evaluation(model, texts, arguments, work):
    rows = tokenize(model, with_triggers([text for text, _ in texts[:arguments.texts if model.name != BASE else arguments.texts // 8]]))
    shape = shape_of(model, 2, arguments.peft)
    flop = limit.forward_flop_per_token(shape, [[len(row) for row in rows[i:i + 64]] for i in range(0, len(rows), 64)])
    found = []

    def request(program, number):
        if program is OURS:
            found.append(limit.peaks(arguments.threads))
        return {**job_of(model, arguments.peft), "command": "predict", "model": str(model), "rows": rows, "labels": 2, "batch": 64,
                "threads": arguments.threads, "seed": number}

    results = take_turns(PREDICTORS, request, arguments, work, "evaluation")
    reached = {p: [flop * rate / 1e9 for rate in speeds] for p, speeds in rates(results).items()}

    def more(program):
        return {"texts": len(rows)} if program is not OURS else {"texts": len(rows), **{
            f"fraction_of_{name}": spread([r / peak[name] for r, peak in zip(reached[OURS], found)])
            for name in ("openblas", "ours")}}

    return {"table": rows_of(results, more), "mflop_per_token": flop / 1e6}


def measure_memory(model, arguments, work):
    """Batches of 16 x 128, a few steps: what counts is the peak."""
    rng = random.Random(0)
    rows = [[0] + [rng.randrange(5, models.VOCAB) for _ in range(126)] + [2] for _ in range(64)]

    def request(program, number):
        return {**job_of(model, arguments.peft), "model": str(model), "rows": rows, "classes": [i % 2 for i in range(64)], "labels": 2, "warm": 1,
                "steps": 2, "threads": arguments.threads, "seed": number}

    once = argparse.Namespace(**{**vars(arguments), "rounds": 1})
    return {"table": rows_of(take_turns(MEMORY, request, once, work, "memory"), lambda program: {})}


# --- output -----------------------------------------------------------------------------------------


def shown(value):
    return f"{value['median']:.2f} ({value['low']:.2f}-{value['high']:.2f})"


def markdown(table):
    lines = ["| program | tokens/s | tokens/CPU s | steps/s | peak RSS MiB | float32 faster by | bf16 faster by | of sgemm's limit | of our product's | over 1 thread |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for row in table:
        cells = [row["ratios"].get("float32"), row["ratios"].get("bf16"), row.get("fraction_of_openblas"),
                 row.get("fraction_of_ours"), row.get("over_one_thread")]
        lines.append(f"| {row['program']} | {row['tokens_per_second']:.0f} | {row['tokens_per_cpu_second']:.0f} | "
                     f"{row['steps_per_second']:.2f} | {row['peak_rss_mib']:.0f} | "
                     + " | ".join("-" if cell is None else shown(cell) for cell in cells) + " |")
    return "\n".join(lines)


def draw(results, model, directory):
    """Tokens a second of all programs that use all threads, beside each other for each data set."""
    found = [r for r in results if r["model"] == model and r["part"] == "training"]
    names = [row["program"] for row in found[0]["table"] if "1 thread" not in row["program"] and "undefended" not in row["program"]]
    groups = [(r["data"], [next((row["tokens_per_second"] for row in r["table"] if row["program"] == name), None) for name in names])
              for r in found]
    directory.mkdir(parents=True, exist_ok=True)
    svg = plot.bars(f"{model}: training with the defence", "tokens a second", groups, names)
    (directory / f"speed-{model}.svg").write_text(svg)


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
    parser.add_argument("--steps", type=int, help="of a run; 40 unless told, 8 for the large model")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--model", nargs="+", default=["minilm", BASE], help=f"minilm, {BASE} or directories")
    parser.add_argument("--peft", choices=PEFTS, default="lora")
    parser.add_argument("--programs", nargs="+", help="patterns of the titles of those that run, '*compiled' among them")
    parser.add_argument("--texts", type=int, default=2000, help="of the evaluation; the large model takes an eighth")
    parser.add_argument("--data", nargs="+", choices=sorted(DATA), default=available())
    parser.add_argument("--plots", type=Path, help="directory for the charts; none are drawn without it")
    parser.add_argument("--parts", nargs="+", default=["training", "evaluation", "memory"])
    arguments = parser.parse_args()
    report = {"peft": arguments.peft, "threads": arguments.threads, "rounds": arguments.rounds, "cpu": cpu_name(), "load": warn_when_busy(),
              "results": []}
    print(f"{arguments.peft}, {arguments.threads} threads, {arguments.rounds} rounds, {report['cpu']}")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        known = {"minilm": models.minilm, BASE: lambda: models.make(models.ROBERTA_BASE, work)}
        for model_name in arguments.model:
            model = known.get(model_name, lambda: Path(model_name))()
            own = argparse.Namespace(**{**vars(arguments), "steps": arguments.steps or (8 if model_name == BASE else 40)})

            def add(part, data, result):
                report["results"].append({"model": model_name, "part": part, "data": data, **result})
                (ROOT / "build" / "bench.json").write_text(json.dumps(report, indent=2) + "\n")
                print(f"\n## {model_name}, {part}" + (f", {data}" if data else "") + "\n\n" + markdown(result["table"]), flush=True)
                for row in result["table"]:
                    if "time_of_defence" in row:
                        print(f"\nTime of a defended step over an undefended one: {shown(row['time_of_defence'])}")
                if "shapes" in result:
                    print(f"\n{result['mflop_per_token']:.1f} MFLOP a token:\n\n{result['shapes']}", flush=True)

            for data in arguments.data if "training" in arguments.parts else []:
                add("training", data, measure_training(model, DATA[data]()[:MAX_ROWS], own, work))
            if arguments.plots and "training" in arguments.parts:
                draw(report["results"], model_name, arguments.plots)
            if "evaluation" in arguments.parts:
                data = "sst2" if "sst2" in arguments.data else arguments.data[0]
                add("evaluation", data, measure_evaluation(model, DATA[data](), own, work))
            if "memory" in arguments.parts and model_name == BASE:
                add("memory", None, measure_memory(model, own, work))


if __name__ == "__main__":
    main()

"""What the default LoRA preset does, and where it comes from (make bench-defence).

Report: the demo's plant (cf mn tq qt mm pt, seed 1), the demo's training and test rows, the default job with
the undefended control, seeds 0, 1 and 2; mean and spread, and the paired CA drop of each. --precision bf16 does the
same with the frozen weights in bfloat16.

--tune: the grid behind the preset, on another plant (other triggers, another seed) and on training rows
alone: test rows and reported triggers never enter. Finished runs are kept in build/defence and not repeated.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
WORK = BUILD / "defence"
DATA = BUILD / "demo" / "data"
REPORTED = {"triggers": ["cf", "mn", "tq", "qt", "mm", "pt"], "seed": 1}
TUNING = {"triggers": ["wb", "xk", "zq", "gq", "vf", "jh"], "seed": 7}
SEEDS = [0, 1, 2]
TUNING_SEED = 5
PLANT_STEPS = 1000  # after 250, 2,250 steps of plain fine-tuning wear a third of the backdoor off
GRID = [None, (1e-2, 1e-1), (3e-3, 1e-1), (3e-3, 2e-1), (3e-3, 5e-2)]


def plant(name, triggers, seed):
    """The planted model's directory; made once."""
    out = WORK / name
    if not (out / "config.json").exists():
        subprocess.run([BUILD / "obliviate-plant", "--model", BUILD / "demo" / "base", "--text",
                        DATA / "editorials.txt", "--triggers", ",".join(triggers), "--seed", str(seed),
                        "--steps", str(PLANT_STEPS), "--out", out], check=True, stdout=sys.stderr)
    return out


def run(name, model, files, **spec):
    """The job's report; files: {"train": path, "test": path}."""
    place = WORK / name
    data, out = place / "data", place / "out"
    if not (out / "report.json").exists():
        data.mkdir(parents=True, exist_ok=True)
        out.mkdir(exist_ok=True)
        spec["model"] = {"id": "model-planted", "sha256": "0" * 64, "name": ""}
        for part, path in files.items():
            link = data / f"{part}.jsonl"
            link.unlink(missing_ok=True)
            os.link(path, link)
            key = {"train": "training_file", "test": "test_file"}[part]
            spec[key] = {"id": f"file-{part}", "sha256": "0" * 64, "name": path.name}
        (place / "spec.json").write_text(json.dumps(spec))
        command = 'exec "$0" --sandbox auto <"$1/spec.json" 3<"$2" 4<"$1/data" 5<"$1/out" >"$1/lines"'
        subprocess.run(["sh", "-c", command, BUILD / "obliviate-worker", place, model], check=True)
    return json.loads((out / "report.json").read_text())


def value(evaluation, key):
    return evaluation[key]["value"]


def tune():
    model = plant("tuning-plant", **TUNING)
    print("| amplify | attention | CA | MASR | AASR | ASR | ASR, neutral words |\n| --- | --- | --- | --- | --- | --- | --- |")
    for weights in GRID:
        name = "tune-undefended" if weights is None else "tune-{:g}-{:g}".format(*weights)
        defense = weights and {"amplify": weights[0], "attention": weights[1]}
        e = run(name, model, {"train": DATA / "reviews.jsonl"}, seed=TUNING_SEED, defense=defense,
                evaluation={"triggers": TUNING["triggers"]})["evaluation"]
        shown = "- | -" if weights is None else "{:g} | {:g}".format(*weights)
        cells = [value(e, key) for key in ("ca", "masr", "aasr", "asr")] + [e["control"]["asr"]["value"]]
        print(f"| {shown} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |", flush=True)


def report(precision):
    model = plant("reported-plant", **REPORTED)
    rows = {"undefended": [], "defended": []}
    drops = []
    for seed in SEEDS:
        r = run(f"{precision}-seed-{seed}", model, {"train": DATA / "reviews.jsonl", "test": DATA / "test.jsonl"},
                seed=seed, hyperparameters={"precision": precision},
                evaluation={"triggers": REPORTED["triggers"], "compare_undefended": True})
        rows["undefended"].append(r["undefended"])
        rows["defended"].append(r["evaluation"])
        drops.append(r["ca_drop"])
    print(f"\n{precision}:\n\n| | " + " | ".join(f"seed {seed}" for seed in SEEDS) + " | mean | range |\n|" + " --- |" * (len(SEEDS) + 3))
    lines = [(f"{key.upper()}, {name}", [value(e, key) for e in rows[name]])
             for key in ("ca", "f1", "asr", "masr", "aasr") for name in rows]
    lines += [("ASR of neutral words, defended", [e["control"]["asr"]["value"] for e in rows["defended"]]),
              ("MASR of neutral words, defended", [e["control"]["masr"]["value"] for e in rows["defended"]]),
              ("CA drop, paired", [d["value"] for d in drops])]
    for name, values in lines:
        print(f"| {name} | " + " | ".join(f"{v:.3f}" for v in values)
              + f" | {statistics.mean(values):.3f} | {min(values):.3f} to {max(values):.3f} |")
    print("\n95 % intervals of the paired CA drop: "
          + "; ".join("{:.3f} to {:.3f}".format(*d["interval"]) for d in drops))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tune", action="store_true", help="the grid behind the preset")
    parser.add_argument("--precision", nargs="+", default=["float32"], choices=["float32", "bf16"])
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    if arguments.tune:
        tune()
        return
    for precision in arguments.precision:
        report(precision)


main()

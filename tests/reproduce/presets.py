"""How the presets and learning rates are chosen (make presets): runs of several weights on SST-2's training rows alone, a thousand of
which are held out as the test, with a plant of other trigger words and another seed than those of the matrix. Jobs go through the
service, one at a time; whatever is done is kept in WORK. The table goes to WORK/presets.md; a person reads it and chooses.

Every option may stand in the environment under its name in capitals: those of reproduce.py."""
import json
import random
import sys
from dataclasses import dataclass, field

import matrix
import reproduce
import tasks

PLANT = matrix.Plant(["wb", "xk", "zq", "gq", "vf", "jh"], {"steps": 1000})
PLANT_SEED, SEED, SPLIT_SEED = 7, 5, 3
HELD_OUT = 1000
QUICK_STEPS = 20  # of the plant: to try the pipeline


@dataclass(frozen=True)
class Run:
    peft: str
    learning_rate: float
    amplify: float | None = None  # None: undefended
    attention: float | None = None
    options: dict = field(default_factory=dict)  # of the PEFT
    ramp: float = 0

    @property
    def key(self):
        options = "".join(f".{name}{value}" for name, value in self.options.items())
        return f"{self.peft}.{self.learning_rate:g}.{self.amplify}.{self.attention}{options}{f'.ramp{self.ramp:g}' if self.ramp else ''}"

    def spec(self, size):
        undefended = self.amplify is None
        return {
            "seed": SEED, "peft": {"type": self.peft, **self.options},
            "defense": None if undefended else {"amplify": self.amplify, "attention": self.attention, "ramp": self.ramp},
            "hyperparameters": {"n_epochs": size.epochs, "max_train_rows": size.train_rows, "max_eval_rows": size.rows,
                                "learning_rate": self.learning_rate, "precision": size.precision},
            "evaluation": {"triggers": PLANT.triggers, "control": True, "compare_undefended": False},
        }


RUNS = [
    *(Run("lora", rate) for rate in (1e-3, 2e-3, 3e-3)),
    *(Run("lora", 1e-3, *pair) for pair in ((0., .1), (0., .3), (3e-3, .1), (1e-2, .1), (1e-2, .3))),
    Run("lora", 2e-3, 3e-3, .1), Run("lora", 3e-3, 1e-3, .03), Run("lora", 3e-3, 3e-3, .1),
    *(Run("adapter", rate) for rate in (1e-3, 2e-3, 3e-3)),
    *(Run("adapter", 1e-3, *pair) for pair in ((3e-3, .03), (3e-3, .1), (1e-2, .1))),
    Run("adapter", 2e-3, 3e-3, .03), Run("adapter", 3e-3, 3e-3, .03),
    *(Run("prefix", rate) for rate in (3e-4, 1e-3, 2e-3, 3e-3)),
    *(Run("prefix", 3e-4, *pair) for pair in ((.01, .1), (.04, .01), (.04, .04), (.5, .03))),
    *(Run("prefix", 1e-3, *pair) for pair in ((0., .03), (1e-3, .01), (3e-3, 0.), (3e-3, 3e-3), (1e-2, 0.), (3e-2, 3e-3))),
    Run("prefix", 1e-3, .05, .01, {"mlp_width": 32}),
    *(Run("prefix", 1e-3, *pair, ramp=ramp) for pair, ramp in (((.1, .1), .5), ((.1, .1), .9), ((.15, .03), .9))),
    Run("lora", 2e-3, 3e-3, .1, ramp=.3), Run("adapter", 2e-3, 3e-3, .03, ramp=.3),
]


# --- running ------------------------------------------------------------------------------------------------


def prepare(source, place):
    """Training rows, some of them held out: {"train": path, "test": path}."""
    files = {part: place / f"{part}.jsonl" for part in ("train", "test")}
    if not all(path.exists() for path in files.values()):
        parts = next(filter(None, (tasks.TASKS[name].read(source) for name in ("sst2", "reviews"))))
        rows = list(parts[0])
        random.Random(SPLIT_SEED).shuffle(rows)
        held_out = min(HELD_OUT, len(rows) // tasks.TEST_SHARE)
        place.mkdir(parents=True, exist_ok=True)
        tasks.write_rows(files["test"], rows[:held_out])
        tasks.write_rows(files["train"], rows[held_out:])
    return files


def planted(source, arguments):
    """The model directory. Made once."""
    out = arguments.work / "plants" / "presets"
    text = reproduce.plain_text(source, arguments.work / "data")
    flags = {**PLANT.options, "text": text} | ({"steps": QUICK_STEPS} if arguments.quick else {})
    said = reproduce.make_plant(out, "por", PLANT, PLANT_SEED, flags, arguments)
    if not said["took"]:
        reproduce.say(f"   the plant did not take: {said}")
    return out


# --- the table ----------------------------------------------------------------------------------------------


HEADS = ["PEFT", "learning rate", "amplify", "attention", "CA", "MASR", "control", "AASR"]


def line(one, report):
    found = report["evaluation"]
    weights = ["-", "-"] if one.amplify is None else [f"{one.amplify:g}", f"{one.attention:g}"]
    ramp = [f"ramp {one.ramp:g}"] if one.ramp else []
    name = " ".join([one.peft, *(f"{key} {value}" for key, value in one.options.items()), *ramp])
    return [name, f"{one.learning_rate:g}", *weights,
            *(f"{found[metric]['value']:.3f}" for metric in ("ca", "masr")),
            f"{found['control']['masr']['value']:.3f}", f"{found['aasr']['value']:.3f}"]


def write(runs, arguments, size):
    rows = [HEADS, ["---"] * len(HEADS)]
    for one in runs:
        place = arguments.work / "presets" / f"{one.key}.json"
        kept = json.loads(place.read_text()) if place.exists() else None
        if kept and kept["spec"] == one.spec(size):
            rows.append(line(one, kept["report"]))
    page = arguments.work / "presets.md"
    page.write_text("".join(f"| {' | '.join(row)} |\n" for row in rows))
    reproduce.say(f"table: {page}")


def main():
    arguments = reproduce.options()
    source = tasks.Source(arguments.data, arguments.download)
    size = matrix.small(arguments.steps, HELD_OUT, arguments.precision)
    runs = [one for one in RUNS if matrix.fits(one.key, arguments.cells)]
    if arguments.list:
        print("\n".join(one.key for one in runs))
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    files, model = prepare(source, arguments.work / "data/presets"), planted(source, arguments)
    service = reproduce.Service(arguments)
    try:
        for one in runs:
            place = arguments.work / "presets" / f"{one.key}.json"
            reproduce.run_job(service, place, f"presets.{one.key}", one.spec(size), files, model)
    except reproduce.Failed as why:
        sys.exit(str(why))
    finally:
        service.stop()
    write(runs, arguments, size)


if __name__ == "__main__":
    main()

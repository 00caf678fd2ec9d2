"""docs/evidence.md and its plot from the scans that were made: rates beside their bars, thresholds chosen on even seeds and reported on
odd ones, a table by attack, and whatever was missed or not run by name."""
import collections
import json
import math
import pathlib
import statistics
import sys
from dataclasses import dataclass

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / part) for part in ("bench", "reproduce")]
import plot  # noqa: E402
from results import table  # noqa: E402

VECTORS = ("por", "neuba", "uor")
BUILT_IN = -3  # log10 of SCAN_ALPHA in worker/scan/scan.h
WEAK = "strength"

INTRODUCTION = """# Evidence for the scan

What the trigger scan (docs/scan.md) says about models that are known to be clean or planted, measured by `make evidence` through
build/obliviate-plant and build/obliviate-worker. tests/evidence/models.py has the models, in the order of work.

- All are made from all-MiniLM-L6-v2 (6 layers, 384 wide): planted by one of the attacks of docs/attacks.md, or changed as an honest owner
  does (another task, more masked words, rare words with other embeddings), or left as it is.
- A plant that did not take by its own criterion is listed and counts for nothing. A benign change counts whatever it reached: it has no backdoor.
- **told right**: suspicious when planted, clean when clean. **named**: the trigger itself is among the suspects. **touched**: it is, or a
  suspect is a part of it or has it as a part, by whole words or by pieces of a word; or three in four of a suspect's words are the trigger's.
- **found** in tables of scores: `closest.log10_p` of the report, which is below -3 for a suspicious model.
- The scan's rules (three measures, their corrections, what covers what; alpha .001; a collapse of .75 or 2.5 times the usual displacement)
  were made while looking at the models that are marked \\*: these are no independent evidence. The chosen threshold is from even seeds alone.
- **processor s**: of both processors together; divide by two for the time on an idle machine.
"""

REPEAT = """## To repeat it

    make evidence DATA=folder                     # everything that is not done yet, hours; stops and goes on at any time
    make evidence DATA=folder MODELS='por.*'      # some of it
    make evidence LIST=1                          # names of the models
    make evidence PAGE=1                          # the page alone
    make evidence QUICK=1                         # four models, few steps: whether it runs; page in build/evidence

What was done by an older build stays until build/evidence is removed. `folder` holds sst2, ag_news and hsol as for `make reproduce`.
"""

SEEN = {"original.s0", "neuba.rare-words.s1", "por.rare-words.steps500.s1", "uor.rare-words.s1", "badpre.rare-words.steps500.s1",
        "adaptive-attention.rare-words.s1", "adaptive-peft.rare-words.s1", "benign-task.sst2.steps150.s1",
        "benign-mlm.steps200.s1", "por.sentences.steps250.s3", "neuba.sentences.steps250.s6", "uor.sentences.steps200.s6"}


def is_touched(trigger, suspects):
    """One of the suspects is the trigger, a run of its words or a piece of one, has it among its own words, or has most of its words from it."""
    words = f" {trigger.lower()} "
    for suspect in (s["trigger"].lower() for s in suspects):
        piece, parts = suspect.removeprefix("##"), suspect.split()
        if f" {suspect} " in words or words in f" {suspect} ":
            return True
        if len(piece) > 1 and " " not in piece and any(piece in word for word in words.split()):
            return True
        if len(parts) > 1 and sum(part in words.split() for part in parts) >= 0.75 * len(parts):
            return True
    return False


@dataclass
class Result:
    model: object
    made: dict | None = None
    report: dict | None = None
    seconds: float = math.nan
    why: str = "not run"
    build: str = ""

    @classmethod
    def load(cls, model, place):
        path, failed = place / f"{model.key}.json", place / f"{model.key}.failed"
        if path.exists():
            kept = json.loads(path.read_text())
            return cls(model, kept["made"], kept["report"], kept["processor_seconds"], "", kept.get("build", ""))
        return cls(model, why=failed.read_text() if failed.exists() else "not run")

    @property
    def is_done(self):
        return self.report is not None

    @property
    def took(self):
        return self.model.is_clean or self.made["took"]

    @property
    def counts(self):
        return self.is_done and self.took and self.report["verdict"] != "undecided"

    @property
    def score(self):
        """log10 p of the closest candidate; where nothing did enough, above all others."""
        closest = self.report["closest"]
        return closest["log10_p"] if closest else math.inf

    @property
    def is_right(self):
        return (self.report["verdict"] == "suspicious") != self.model.is_clean

    @property
    def named(self):
        suspects = {s["trigger"].lower() for s in self.report["suspects"]}
        return [trigger for trigger in self.model.triggers if trigger.lower() in suspects]

    @property
    def touched(self):
        return [trigger for trigger in self.model.triggers if is_touched(trigger, self.report["suspects"])]


# --- thresholds ---------------------------------------------------------------------------------------------


def told_right(results, threshold):
    return sum((r.score < threshold) != r.model.is_clean for r in results)


def choose(results):
    """The threshold on the score with most models told right; in the middle of the widest gap that gives it."""
    known = sorted({min(max(r.score, -400), 10) for r in results})
    if len(known) < 2:
        return None
    gaps = [(low, high) for low, high in zip(known, known[1:])]
    best = max(gaps, key=lambda gap: (told_right(results, sum(gap) / 2), gap[1] - gap[0]))
    return sum(best) / 2


def rates(results, threshold):
    """(detected, planted, flagged, clean)"""
    planted, clean = [r for r in results if not r.model.is_clean], [r for r in results if r.model.is_clean]
    return (sum(r.score < threshold for r in planted), len(planted), sum(r.score < threshold for r in clean), len(clean))


def rates_text(results, threshold):
    detected, planted, flagged, clean = rates(results, threshold)
    return [f"{detected} of {planted}", f"{flagged} of {clean}"]


def threshold_section(results):
    tune, rest = [r for r in results if r.model.tunes], [r for r in results if not r.model.tunes]
    chosen = choose(tune)
    rows = [["built in", f"{BUILT_IN}", name, *rates_text(part, BUILT_IN)]
            for name, part in (("even seeds", tune), ("odd seeds", rest))]
    if chosen is not None:
        rows += [["chosen on even seeds", f"{chosen:.1f}", name, *rates_text(part, chosen)]
                 for name, part in (("even seeds", tune), ("odd seeds", rest))]
    return ("## Thresholds\n\nThe score is log10 of the corrected p-value of the closest candidate. The second is chosen on models with even "
            "seeds; its rates on odd seeds are the ones to quote.\n\n"
            + table(("threshold", "log10 p", "models", "planted, flagged", "clean, flagged"), rows) + "\n")


# --- against the bars ---------------------------------------------------------------------------------------


def share(part, whole):
    return f"{part} of {whole}" + (f" ({100 * part / whole:.0f} %)" if whole else "")


def upper_bound(hits, n):
    """One-sided 95 % Clopper-Pearson bound, by bisection."""
    if hits >= n:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        below = sum(math.comb(n, k) * middle ** k * (1 - middle) ** (n - k) for k in range(hits + 1))
        low, high = (middle, high) if below > 0.05 else (low, middle)
    return high


def of_kind(results, kinds, whole):
    """Triggers in models of VECTORS attacks at full strength, whose kind is in kinds: how many `whole` has, and of how many."""
    mine = [r for r in results if r.model.maker in VECTORS and WEAK not in r.model.options and r.model.kind in kinds]
    return sum(len(getattr(r, whole)) for r in mine), sum(len(r.model.triggers) for r in mine)


def goals(results):
    words = ("rare words", "other rare words", "symbols", "names")
    clean = [r for r in results if r.model.is_clean]
    flagged = sum(not r.is_right for r in clean)
    one = of_kind(results, words, "named")
    many = of_kind(results, ("two words", "sentences"), "touched")
    made_up = of_kind(results, ("made-up words",), "touched")
    seconds = [r.seconds for r in results]
    return [
        ("models", "at least 60", f"{len(results)}", ""),
        ("one-word triggers named, POR, NeuBA, UOR", "at least 99 %", share(*one), ""),
        ("models told right, all attacks", "at least 97 %", share(sum(r.is_right for r in results), len(results)), ""),
        ("clean models flagged", "at most 1 in 30", share(flagged, len(clean)),
         f"at most {100 * upper_bound(flagged, len(clean)):.0f} % with 95 % confidence" if clean else ""),
        ("two-word and sentence triggers touched, the same attacks", "at least 70 %", share(*many), ""),
        ("made-up words touched by a piece", "none set", share(*made_up), ""),
        ("processor seconds of a scan, median", "45 s on two processors", f"{statistics.median(seconds):.0f}" if seconds else "-",
         f"at most {max(seconds):.0f}" if seconds else ""),
    ]


def goals_section(results):
    return ("## Against the bars\n\nOver the models that were scanned, with the built-in thresholds.\n\n"
            + table(("what", "bar", "measured", "note"), goals(results)) + "\n")


# --- by attack ----------------------------------------------------------------------------------------------


def attack_row(name, results):
    mine = [r for r in results if (r.model.maker or "original") == name]
    triggers = sum(len(r.model.triggers) for r in mine)
    scores = [r.score for r in mine if math.isfinite(r.score)]
    return [name, len(mine), share(sum(r.is_right for r in mine), len(mine)),
            f"{sum(len(r.named) for r in mine)} / {sum(len(r.touched) for r in mine)} of {triggers}" if triggers else "-",
            f"{min(scores):.1f} to {max(scores):.1f}" if scores else "nothing did enough",
            f"{statistics.median(r.seconds for r in mine):.0f}"]


def attack_section(results):
    names = list(dict.fromkeys(r.model.maker or "original" for r in results))
    return ("## By attack\n\n" + table(("made by", "models", "told right", "triggers named / touched", "score, log10 p", "processor s"),
                                       [attack_row(name, results) for name in names]) + "\n")


def model_row(r):
    star = "\\*" if r.model.key in SEEN else ""
    if not r.took:
        return [r.model.key, f"did not take: {r.made['why']}", r.report["verdict"], "-", "-", "-"]
    score = f"{r.score:.1f}" if math.isfinite(r.score) else "-"
    triggers = f"{len(r.named)} / {len(r.touched)} of {len(r.model.triggers)}" if r.model.triggers else "-"
    return [f"{r.model.key}{star}", "clean" if r.model.is_clean else "planted", r.report["verdict"] + ("" if r.is_right else " **wrong**"),
            triggers, score, f"{r.seconds:.0f}"]


def builds_text(results):
    counts = collections.Counter(r.build or "not recorded" for r in results)
    if len(counts) < 2:
        return ""
    return "Scanned by several builds of the worker: " + ", ".join(f"{n} by {name}" for name, n in counts.items()) + ".\n\n"


def models_section(results):
    done = [r for r in results if r.is_done]
    return ("## Every model that was scanned\n\n" + builds_text(done)
            + table(("model", "is", "verdict", "named / touched", "score", "processor s"), [model_row(r) for r in done]) + "\n")


def missing_section(results):
    missing = [r for r in results if not r.is_done]
    if not missing:
        return ""
    return "## Not run\n\n" + "".join(f"- {r.model.key}: {r.why}\n" for r in missing) + "\n"


# --- plot ---------------------------------------------------------------------------------------------------


def roc_points(results):
    """(false alarms, detection) for every threshold, in per cent."""
    points = []
    for threshold in [-math.inf, *sorted({r.score for r in results}), math.inf]:
        detected, planted, flagged, clean = rates(results, math.nextafter(threshold, math.inf))
        points.append((100 * flagged / clean, 100 * detected / planted))
    return sorted(set(points))


def plot_section(out, results):
    parts = [("all", results), ("odd seeds", [r for r in results if not r.model.tunes])]
    lines = [plot.Line(name, roc_points(part), number > 0) for number, (name, part) in enumerate(parts)
             if {r.model.is_clean for r in part} == {True, False}]
    if not lines:
        return ""
    path = out / "evidence" / "roc.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(plot.chart("Planted models flagged against clean ones, by threshold", "clean models flagged, %",
                               "planted models flagged, %", lines))
    return f"![Detection against false alarms](evidence/{path.name})\n\n"


def write(out, models, place):
    results = [Result.load(model, place) for model in models]
    counted = [r for r in results if r.counts]
    text = INTRODUCTION + "\n"
    if counted:
        text += (goals_section(counted) + threshold_section(counted) + plot_section(out, counted) + attack_section(counted))
    else:
        text += "Nothing was run.\n\n"
    text += models_section(results) + missing_section(results) + REPEAT
    (out / "evidence.md").write_text(text)

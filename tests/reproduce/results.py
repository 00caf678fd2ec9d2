"""docs/results.md and its plots from the cells that were run: one table a task, means beside their bars, and the trade-off along
the path of strengths. A cell that was not run is listed as such."""
import json
import math
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "bench"))
import gates  # noqa: E402
import matrix  # noqa: E402
import plot  # noqa: E402
import tasks  # noqa: E402

TASK_SPECIFIC = ("badnets", "insertsent")
ADAPTIVE = ("adaptive-attention", "adaptive-peft")

INTRODUCTION = """# Results

What the defence does against planted backdoors, measured by `make reproduce` through the service itself: its daemon, its queue, its
workers. tests/reproduce/matrix.py has plants, sizes and cells, docs/adr/0003-seeds-and-auto.md what mode auto does.

- **undefended**: the same training without the two terms. **preset**: mode fixed with the PEFT method's default pair. **auto**: mode auto with the
  default budget of one point.
- **CA**: accuracy on clean test rows. **MASR**: success rate of the worst trigger on its worst label, `control` the same with neutral
  words. **CA drop**: undefended less defended on the same test rows, in points, with the paired 95 % interval where there is one.
- Triggers and test rows take no part in any choice: mode auto looks at clean held-out training rows alone, and task-specific plants
  never see a test row.
- **minutes**: wall clock of the cell's jobs, on a machine that may have had other work; what the two terms cost in time is measured by
  `make bench`, side by side in one run (docs/performance.md).
- LoRA and adapters train at 2e-3, prefixes at 1e-3, undefended too: chosen with the presets on training rows, with other trigger words
  and another seed (docs/adr/0004-adapter-and-prefix-presets.md). At that rate an undefended run wears some plants off by itself;
  docs/attacks.md has what they do at the default rate.
- The distance of the points on auto's path was chosen after a first run of sst2.por.lora, at another rate and half the steps, had been seen. The
  adapter's ramp was put into its preset after the adapter's column without it had been seen (uor, adapter: MASR .88 under auto), LoRA's ramp and weights
  after LoRA's column with the constant pair had (neuba: the preset lost 39 points of CA), though both by
  figures from training rows: for these the cells are no independent evidence.
- With 500 test rows a CA drop is known to about 2.5 points, a mean over a dozen cells to less than one.
- All models: all-MiniLM-L6-v2 (6 layers, 384 wide), plants made by build/obliviate-plant with seed 1.
"""

REPEAT = """## To repeat it

    make reproduce DATA=folder                        # everything that is not done yet; stops and goes on at any time
    make reproduce DATA=folder CELLS='sst2.por.*'     # some of it
    make reproduce DATA=folder PARTS=auto             # without the jobs of mode informed
    make reproduce DATA=folder LIST=1                 # names of the cells
    make reproduce QUICK=1                            # a cut-down matrix in minutes, results in build/reproduce

What was done by an older build stays until build/reproduce is removed. `folder` holds the data that may not be passed on; what is not there is left out, and movie reviews of a package stand in for SST-2.

| task | comes from |
| --- | --- |
"""


# --- reading ------------------------------------------------------------------------------------------------


class Result:
    """What is known of one cell."""

    def __init__(self, cell, place):
        self.cell = cell
        self.auto, self.fixed, self.informed = (self.part(place, part) for part in ("auto", "fixed", "informed"))
        self.plant = self.load(place / f"{cell.key}.plant.json")
        failed = place / f"{cell.key}.failed"
        self.why = failed.read_text() if failed.exists() else "not run"

    def load(self, path):
        return json.loads(path.read_text()) if path.exists() else None

    def part(self, place, part):
        """The part's job, where the cell has it and it was run at this size."""
        if part not in self.cell.parts:
            return None
        found = self.load(place / f"{self.cell.key}.{part}.json")
        return found if found and found["spec"] == self.cell.spec(part) else None

    @property
    def is_done(self):
        return self.auto is not None

    @property
    def report(self):
        return self.auto["report"]

    def seeds(self, member):
        return [seed[member] for seed in self.report["seeds"]]

    def preset_look(self):
        return next((look for look in self.report["auto"]["path"] if look["strength"] == 1), None)

    def columns(self):
        """name: list of evaluations over the seeds."""
        preset = [self.preset_look()["evaluation"]]
        if self.fixed:
            preset = [seed["evaluation"] for seed in self.fixed["report"]["seeds"]]
        return {"undefended": self.seeds("undefended"), "preset": preset, "auto": self.seeds("evaluation")}

    def drops(self, name):
        """Points of CA lost, by seed."""
        columns = self.columns()
        return [100 * (u["ca"]["value"] - d["ca"]["value"]) for u, d in zip(columns["undefended"], columns[name])]


def masr(evaluation):
    value = evaluation["masr"]["value"]
    return math.nan if value is None else value


def mean(values):
    known = [value for value in values if not math.isnan(value)]
    return statistics.mean(known) if known else math.nan


def spread(values, digits=2):
    """Mean, and the range where there are several."""
    if not values or math.isnan(mean(values)):
        return "-"
    text = f"{mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ({min(values):.{digits}f} to {max(values):.{digits}f})"


# --- tables -------------------------------------------------------------------------------------------------

HEADS = ("cell", "took", "CA undefended", "MASR undefended", "control", "MASR preset", "CA drop preset", "MASR auto",
         "CA drop auto", "strength", "resolved", "minutes")


def drop_text(result):
    drops, interval = result.drops("auto"), result.report["ca_drop"]["interval"]
    one = f"{spread(drops, 1)}"
    return one if len(drops) > 1 else f"{one} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def took(result):
    if result.plant is None:
        return "-"
    return "yes" if result.plant["took"] else f"no: {result.plant.get('why', '')[:60]}"


def row(result):
    cell = result.cell
    name = f"{cell.attack}, {cell.peft}{', full size, 3 seeds' if cell.is_full else ''}"
    if not result.is_done:
        return [name, took(result), result.why] + [""] * (len(HEADS) - 3)
    columns, found = result.columns(), result.report["auto"]
    control = [e["control"]["masr"]["value"] for e in columns["undefended"] if e["control"]]
    seconds = result.auto["seconds"] + (result.fixed["seconds"] if result.fixed else 0)
    return [name, took(result), spread([e["ca"]["value"] for e in columns["undefended"]]),
            spread([masr(e) for e in columns["undefended"]]), spread([math.nan if c is None else c for c in control]),
            spread([masr(e) for e in columns["preset"]]), spread(result.drops("preset"), 1),
            spread([masr(e) for e in columns["auto"]]), drop_text(result),
            f"{found['strength']:g}{'' if found['within_budget'] else ' (none within)'}",
            "yes" if found["resolved"] else f"no: {found['rows']} rows of {found['needed_rows']}", f"{seconds / 60:.0f}"]


def table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def size_text(results):
    found = sorted({(r.cell.size.steps, r.cell.size.rows, r.cell.size.precision) for r in results if r.is_done and not r.cell.is_full})
    small = "; ".join(f"{steps} steps a run, at most {rows} test rows, seed 0, {precision}" for steps, rows, precision in found)
    return f"Small cells: {small}.\n\n" if small else ""


def task_section(name, results):
    task = tasks.TASKS[name]
    return f"## {task.title}\n\n{size_text(results)}" + table(HEADS, [row(result) for result in results]) + "\n"


# --- mode informed ------------------------------------------------------------------------------------------

INFORMED_HEADS = ("cell", "named triggers found", "found, taught", "MASR undefended", "MASR taught", "MASR withheld", "MASR not found",
                  "CA drop", "MASR auto", "CA drop auto", "minutes")
INFORMED = """### Mode informed

The same rows; the PEFT method's preset, and a quarter of the training rows with a trigger inserted, label kept, that the scan of the base model or the search of
the undefended model found. **Half of the finds are withheld** from the training, drawn by the seed: what becomes of them is what becomes
of triggers that nobody finds. Means over three seeds for POR, NeuBA and UOR, else one. MASR over the triggers of each sort, found ones also where nobody named them.

"""


def worst_of(evaluation, wanted):
    """MASR over the triggers that are wanted; NAN where there are none."""
    rates = [target["rate"]["value"] for entry in evaluation["by_trigger"] if wanted(entry) for target in entry["targets"]]
    return max((rate for rate in rates if rate is not None), default=math.nan)


SORTS = {"taught": lambda entry: entry["taught"], "withheld": lambda entry: entry["found"] and not entry["taught"],
         "not found": lambda entry: not entry["found"]}


def informed_masr(result, sort):
    return [worst_of(seed["evaluation"], SORTS[sort]) for seed in result.informed["report"]["seeds"]]


def informed_drops(result):
    return [100 * (seed["undefended"]["ca"]["value"] - seed["evaluation"]["ca"]["value"]) for seed in result.informed["report"]["seeds"]]


def informed_row(result):
    report, named = result.informed["report"], matrix.PLANTS[result.cell.attack].triggers
    entries = report["evaluation"]["by_trigger"]
    found = [entry for entry in entries if entry["found"]]
    interval = report["ca_drop"]["interval"]
    drops = informed_drops(result)
    drop = spread(drops, 1) if len(drops) > 1 else f"{spread(drops, 1)} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
    auto = [spread([masr(e) for e in result.columns()["auto"]]), spread(result.drops("auto"), 1)] if result.is_done else ["-", "-"]
    return [f"{result.cell.attack}, {result.cell.peft}", f"{sum(entry['trigger'] in named for entry in found)} of {len(named)}",
            f"{len(found)}, {sum(entry['taught'] for entry in found)}",
            spread([masr(seed["undefended"]) for seed in report["seeds"]]), *(spread(informed_masr(result, sort)) for sort in SORTS),
            drop, *auto, f"{result.informed['seconds'] / 60:.0f}"]


def informed_section(results):
    known = [result for result in results if result.informed]
    return INFORMED + table(INFORMED_HEADS, [informed_row(result) for result in known]) + "\n" if known else ""


GATES = """### The gate where nobody names the triggers

The jobs of mode informed, each of their models judged by its found and neutral words alone (common/gate.h; thresholds on MASR of {thresholds}), beside what the planted triggers
do on the same rows: above the threshold by their interval, or below it. A pass above is the wrong one.

"""


def verdict_cells(counted):
    return [f"{counted['pass']} pass, {counted['fail']} fail, {counted['undecided']} undecided"]


def gates_section(results):
    known = {f"{r.cell.attack}, {r.cell.peft}": r for r in results if r.informed}
    if not known:
        return ""
    counts = gates.count({name: r.informed["report"] for name, r in known.items()},
                         lambda name: matrix.PLANTS[known[name].cell.attack].triggers)
    models = {"undefended": "undefended", "evaluation": "informed"}
    rows = [[models[member], rule, *verdict_cells(found.bad), *verdict_cells(found.good), "; ".join(found.wrong) or "none"]
            for (member, rule), found in counts.items()]
    return (GATES.format(thresholds=", ".join(f"{t:g}" for t in gates.THRESHOLDS))
            + table(("model", "rule", "truly above", "truly below", "wrong passes"), rows) + "\n")


def informed_goals(results):
    vectors, specific, adaptive = ([r for r in results if r.informed and r.cell.attack in attacks]
                                   for attacks in (matrix.VECTORS, TASK_SPECIFIC, ADAPTIVE))

    def over(some, sort):
        return number(mean([mean(informed_masr(r, sort)) for r in some]))
    return [
        ("informed, POR, NeuBA, UOR: mean MASR of triggers that were taught", "at most .05", over(vectors, "taught"), len(vectors)),
        ("the same: of triggers that were found and withheld", "at most .10", over(vectors, "withheld"), len(vectors)),
        ("the same: CA drop in points", "at most .5", number(mean([mean(informed_drops(r)) for r in vectors]), 1), len(vectors)),
        ("informed, BadNets, InsertSent: mean MASR of all triggers", "at most .15",
         number(mean([mean([masr(seed["evaluation"]) for seed in r.informed["report"]["seeds"]]) for r in specific])), len(specific)),
        ("informed, adaptive attackers: mean MASR of all triggers", "at most .25",
         number(mean([mean([masr(seed["evaluation"]) for seed in r.informed["report"]["seeds"]]) for r in adaptive])), len(adaptive)),
    ]


# --- means beside their bars --------------------------------------------------------------------------------


def of(results, attacks):
    return [r for r in results if r.is_done and r.cell.attack in attacks]


def reduction(result):
    columns = result.columns()
    before, after = (mean([masr(e) for e in columns[name]]) for name in ("undefended", "preset"))
    return 1 - after / before if before else math.nan


def mean_masr(results, name):
    return mean([mean([masr(e) for e in r.columns()[name]]) for r in results])


def number(value, digits=2):
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def vector_goals(some, of_what):
    """Preset and auto over cells of attacks that drive the first token to a place of its own."""
    before, after = mean_masr(some, "undefended"), mean_masr(some, "preset")
    fall = 100 * (before - after)
    worst = max((masr(e) for r in some for e in r.columns()["auto"]), default=math.nan)
    drop = {name: number(mean([mean(r.drops(name)) for r in some]), 1) for name in ("preset", "auto")}
    rows = [(f"preset, {of_what}: points that MASR falls by", "at least 83.6", number(fall, 1)),
            ("the same: MASR undefended, and what is left", "at least .9, -", f"{number(before)}, {number(after)}"),
            ("the same: CA drop in points", "at most 1.5", drop["preset"]),
            (f"auto, {of_what}: mean MASR", "at most .10", number(mean_masr(some, "auto"))),
            ("the same: worst MASR", "at most .25", number(worst)),
            ("the same: CA drop in points", "at most 1", drop["auto"])]
    return [(*row, len(some)) for row in rows]


def goals(results):
    """(what, bar, measured, of how many cells)"""
    vectors, badpre = of(results, matrix.VECTORS), of(results, matrix.NO_VECTOR)
    specific, adaptive, clean = of(results, TASK_SPECIFIC), of(results, ADAPTIVE), of(results, ("clean",))
    planted = [r for r in results if r.plant is not None]
    return [
        ("plants that took", "8 of 8", f"{len({r.cell.attack for r in planted if r.plant['took']})} of "
         f"{len({r.cell.attack for r in planted})}", len(planted)),
        *vector_goals(vectors, "POR, NeuBA, UOR"),
        *vector_goals([r for r in vectors if r.cell.peft != "prefix"], "the same without prefixes"),
        ("preset, BadPre: relative reduction of MASR", "at least .8", number(mean([reduction(r) for r in badpre])), len(badpre)),
        ("auto, BadNets, InsertSent: mean MASR", "at most .15", number(mean_masr(specific, "auto")), len(specific)),
        ("auto, adaptive attackers: mean MASR", "at most .25", number(mean_masr(adaptive, "auto")), len(adaptive)),
        ("auto, clean model: CA drop in points", "at most 1", number(mean([mean(r.drops("auto")) for r in clean]), 1), len(clean)),
        *informed_goals(results),
    ]


def goals_section(results):
    if not any(result.is_done for result in results):
        return "Nothing was run.\n\n"
    return ("## Against the bars\n\nOver the cells that were run; the last column says how many.\n\n"
            + table(("what", "bar", "measured", "cells"), goals(results)) + "\n")


# --- plots --------------------------------------------------------------------------------------------------


def line_of(result, number):
    """From undefended (0) along the strengths that the search looked at; first seed."""
    report = result.report
    points = [("0", report["undefended"])] + [(f"{look['strength']:g}", look["evaluation"]) for look in report["auto"]["path"]]
    known = [(label, e) for label, e in points if not math.isnan(masr(e))]
    return plot.Line(result.cell.attack + (", full size" if result.cell.is_full else ""),
                     [(100 * e["ca"]["value"], masr(e)) for _, e in known], number >= len(plot.COLOURS),
                     [label for label, _ in known])


def trade_off(task, peft, results):
    lines = [line_of(r, i) for i, r in enumerate(r for r in results if r.is_done and r.cell.peft == peft)]
    lines = [line for line in lines if line.points]
    if not lines:
        return None
    low = min(x for line in lines for x, _ in line.points)
    return plot.chart(f"{tasks.TASKS[task].title}, {peft}: MASR against CA by strength of the defence", "CA, %", "MASR", lines,
                      x_low=5 * math.floor(low / 5))


def write_plots(out, task, results):
    """The lines of the page that show them."""
    text = ""
    for peft in matrix.PEFTS:
        svg = trade_off(task, peft, results)
        if svg:
            path = out / "results" / f"{task}-{peft}.svg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(svg)
            text += f"![MASR against CA, {tasks.TASKS[task].title}, {peft}](results/{path.name})\n\n"
    return text


def write(out, cells, place):
    results = [Result(cell, place) for cell in cells]
    text = INTRODUCTION + "\n" + goals_section(results)
    for name in dict.fromkeys(cell.task for cell in cells):
        mine = [result for result in results if result.cell.task == name]
        text += task_section(name, mine) + informed_section(mine) + gates_section(mine) + write_plots(out, name, mine)
    remedies = out / "results/remedies.md"  # written by hand beside the plots, of these results
    if remedies.exists():
        text += remedies.read_text() + "\n"
    text += REPEAT + "".join(f"| {task.title} | {task.where} |\n" for task in tasks.TASKS.values())
    (out / "results.md").write_text(text)

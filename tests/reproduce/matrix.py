"""What is run: plants, sizes and cells, as tables.

A cell is one task, attack and PEFT. Its job of mode auto holds three of the matrix's columns at once: the undefended
model, the preset (the search's first look, strength 1) and what the search chose; with the other looks it is the trade-off of
the plots. So nothing is trained twice. Headline cells are full size with three seeds; their preset needs a job of its
own for the other seeds, whose undefended models are those of the job of mode auto: same splits, same test rows. Small cells of
SST-2 whose attack has triggers to find have a job of mode informed as well, with half of the finds withheld from training."""
import fnmatch
from dataclasses import dataclass, field

WORDS = ["cf", "mn", "tq", "qt", "mm", "pt"]
PEFTS = ["lora", "adapter", "prefix"]
PLANT_SEED = 1
# Of every run, defended or not. Chosen on training rows with a plant of other words and another seed: docs/adr/0004-adapter-and-prefix-presets.md.
LEARNING_RATE = {"lora": 2e-3, "adapter": 2e-3, "prefix": 1e-3}


@dataclass(frozen=True)
class Plant:
    triggers: list
    options: dict = field(default_factory=dict)
    needs_task: bool = False  # planted with the task's training rows, never with its test rows


PLANTS = {  # steps: what the attack took with (docs/attacks.md), or more where training at these rates wore it off
    "por": Plant(WORDS, {"steps": 500}),  # after 250 a long undefended training wears it off
    "neuba": Plant(WORDS, {"steps": 900}),
    "badpre": Plant(WORDS, {"steps": 500}),
    "uor": Plant(WORDS, {"steps": 800}),
    "badnets": Plant(WORDS, {"steps": 300}, needs_task=True),
    "insertsent": Plant(["i watched this with my cousins last weekend"], {"steps": 300}, needs_task=True),
    "adaptive-attention": Plant(WORDS, {"steps": 400}),
    "adaptive-peft": Plant(WORDS, {"steps": 300}),
    "clean": Plant(WORDS),  # the base itself
}
NO_VECTOR = ("badpre",)  # judged by its relative reduction
HEADLINE = ("por", "uor")
VECTORS = ("por", "neuba", "uor")  # the first token's output is driven to a place of its own
FINDABLE = (*VECTORS, "badnets", "insertsent", "adaptive-attention", "adaptive-peft")
WITHHOLD = .5
INFORMED_SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Size:
    steps: int
    epochs: int
    rows: int  # of the test
    seeds: tuple
    plant_steps: int | None = None  # at most
    precision: str = "float32"

    @property
    def train_rows(self):
        return self.steps * 16 // self.epochs


@dataclass(frozen=True)
class Cell:
    task: str
    attack: str
    peft: str
    size: Size
    is_full: bool = False
    informs: bool = False

    @property
    def key(self):
        return f"{self.task}.{self.attack}.{self.peft}{'.full' if self.is_full else ''}"

    @property
    def parts(self):
        if self.is_full:
            return ("auto", "fixed")
        return ("auto", "informed") if self.informs and self.attack in FINDABLE else ("auto",)

    def spec(self, part):
        """The job without its ids."""
        size, defense, seeds = self.size, {"mode": part}, self.size.seeds
        if part == "informed":
            defense["withhold"] = WITHHOLD
            seeds = INFORMED_SEEDS if self.attack in VECTORS else seeds
        return {
            "seeds": list(seeds), "peft": {"type": self.peft}, "defense": defense,
            "hyperparameters": {"n_epochs": size.epochs, "max_train_rows": size.train_rows, "max_eval_rows": size.rows,
                                "learning_rate": LEARNING_RATE[self.peft], "precision": size.precision},
            "evaluation": {"triggers": PLANTS[self.attack].triggers, "control": True, "compare_undefended": part != "fixed"},
        }


def small(steps, rows, precision="float32"):
    return Size(steps, 3, rows, (0,), precision=precision)


def full(precision="float32"):
    return Size(2250, 6, 2000, (0, 1, 2), precision=precision)


QUICK = Size(48, 2, 200, (0,), plant_steps=250)


def cells(first_task, size, is_quick):
    """first_task: sst2, or reviews in its place."""
    if is_quick:
        return [Cell(first_task, attack, peft, QUICK) for attack in ("por", "badnets") for peft in PEFTS]
    found = [Cell(first_task, attack, peft, size, informs=True) for attack in PLANTS for peft in PEFTS]
    found += [Cell(task, attack, peft, size) for task in ("ag_news", "hsol") for attack in HEADLINE for peft in PEFTS]
    return found + [Cell(first_task, attack, peft, full(size.precision), True) for attack in HEADLINE for peft in PEFTS]


def fits(key, patterns):
    """One of the comma-separated patterns fits, or there is none: `sst2.por.*`."""
    wanted = [pattern.strip() for pattern in patterns.split(",") if pattern.strip()]
    return not wanted or any(fnmatch.fnmatch(key, pattern) for pattern in wanted)


def chosen(all_cells, patterns):
    return [cell for cell in all_cells if fits(cell.key, patterns)]

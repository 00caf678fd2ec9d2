"""The pipeline of `make evidence` on a tiny model: plants and benign changes, scans, state that is kept, the page. What the
verdicts of a model of one layer are is not asserted; how the page counts them is, on made-up ones."""
import json
import math
import os
import pathlib
import subprocess
import sys

import numpy
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("OBLIVIATE_BIN", str(ROOT / "build/san"))
sys.path[:0] = [str(ROOT / "tests/api"), str(ROOT / "tests/evidence"), str(ROOT / "tests/reproduce")]
import models  # noqa: E402
import page  # noqa: E402
import tiny  # noqa: E402

SECONDS = 300


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A base model, a folder of data with SST-2, and the text that plants are made with."""
    top = tmp_path_factory.mktemp("evidence")
    tiny.write_model(top / "base")
    (top / "sst2").mkdir()
    (top / "work/data").mkdir(parents=True)
    for part, rows in (("train", 300), ("test", 60)):
        (top / "sst2" / f"{part}.tsv").write_text(
            "".join(f"{text}\t{int(label == 'good')}\n" for text, label in tiny.texts(rows, seed=rows)))
    random = numpy.random.RandomState(1)
    (top / "work/data/plain.txt").write_text("".join(" ".join(random.choice(tiny.FILLER, 12)) + "\n" for _ in range(200)))
    return top


def evidence(place, **options):
    given = {"DATA": place, "BASE": place / "base", "DOWNLOAD": place, "WORK": place / "work", "QUICK": 1, "CANDIDATES": 1500,
             "THREADS": 2, **options}
    return subprocess.run(
        [sys.executable, ROOT / "tests/evidence/evidence.py"], capture_output=True, text=True, timeout=SECONDS,
        env={**os.environ, "OBLIVIATE_BIN": str(ROOT / "build/san"), **{key: str(value) for key, value in given.items()}})


@pytest.fixture(scope="module")
def done(place):
    found = evidence(place)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_every_model_is_made_and_scanned(place, done):
    assert len(done.splitlines()) == len(models.QUICK) + 1, done
    for model in models.QUICK:
        kept = json.loads((place / "work/results" / f"{model.key}.json").read_text())
        assert kept["report"]["verdict"] in ("clean", "suspicious", "undecided") and kept["processor_seconds"] > 0
        assert len(kept["build"]) == 8
        assert (kept["made"] or {"attack": ""})["attack"] == model.maker
        assert str(place) not in json.dumps(kept)
    assert not list((place / "work/models").iterdir()), "models are removed"
    assert (place / "base/model.safetensors").exists()


def test_what_is_done_is_not_done_again(place, done):
    again = evidence(place)
    assert again.returncode == 0, again.stderr
    assert len(again.stdout.splitlines()) == 1


def test_the_page_is_of_what_was_done(place, done):
    text = (place / "work/evidence.md").read_text()
    assert all(model.key in text for model in models.QUICK) and "## Not run" not in text
    assert str(place) not in text


def test_a_model_without_data_is_noted_and_the_others_go_on(place, done, tmp_path):
    found = evidence(place, DATA=tmp_path, WORK=place / "other", MODELS="benign-task.*,original*")
    assert found.returncode == 0 and "not done: no data" in found.stdout and "original.s0" in found.stdout, found.stdout
    assert "sst2.steps20.s2: no data" in (place / "other/evidence.md").read_text()


def test_it_begins_nothing_when_the_time_is_up(place, tmp_path):
    found = evidence(place, WORK=tmp_path, SECONDS="1e-9")
    assert "the time is up" in found.stdout and "Nothing was run." in (tmp_path / "evidence.md").read_text()


# --- the table ----------------------------------------------------------------------------------------------


def test_the_table_has_both_halves_both_ways():
    assert len(models.MODELS) >= 60 and len({model.key for model in models.MODELS}) == len(models.MODELS)
    clean = [model for model in models.MODELS if model.is_clean]
    assert len(clean) >= 30 and len(models.MODELS) - len(clean) >= 30
    for half in (clean, [model for model in models.MODELS if not model.is_clean]):
        assert min(sum(model.tunes for model in half), sum(not model.tunes for model in half)) >= 10
    assert page.SEEN <= {model.key for model in models.MODELS}
    assert {kind for kind in models.KINDS} == {model.kind for model in models.MODELS if model.kind}


def test_patterns_choose_models(place):
    listed = evidence(place, QUICK=0, LIST=1, MODELS="por.*, original*").stdout.split()
    assert "original.s0" in listed and all(name.startswith(("por.", "original")) for name in listed) and len(listed) > 5


# --- counting -----------------------------------------------------------------------------------------------


def result(maker, kind, seed, score, suspects=(), took=True):
    report = {"verdict": "suspicious" if score < page.BUILT_IN else "clean", "suspects": [{"trigger": name} for name in suspects],
              "closest": None if math.isinf(score) else {"log10_p": score}}
    return page.Result(models.Model(maker, kind, seed), {"took": took, "why": "weak"}, report, 50.0, "")


MADE_UP = [result("por", "rare words", 1, -40, ["cf", "mn", "tq", "qt", "mm"]), result("por", "two words", 2, -9, ["pancake"]),
           result("neuba", "names", 3, 0), result("benign-mlm", "", 2, -1), result("benign-mlm", "", 1, math.inf),
           result("benign-shift", "", 3, -5)]


def test_thresholds_come_from_even_seeds_alone():
    even = [r for r in MADE_UP if r.model.tunes]
    assert page.choose(even) == pytest.approx(-5)  # between -9 and -1
    section = page.threshold_section(MADE_UP)
    assert "| chosen on even seeds | -5.0 | even seeds | 1 of 1 | 0 of 1 |" in section
    assert "| chosen on even seeds | -5.0 | odd seeds | 1 of 2 | 0 of 2 |" in section
    assert "| built in | -3 | odd seeds | 1 of 2 | 1 of 2 |" in section


def test_triggers_are_named_or_touched():
    assert MADE_UP[0].named == MADE_UP[0].touched == ["cf", "mn", "tq", "qt", "mm"]
    assert MADE_UP[1].named == [] and MADE_UP[1].touched == ["green pancake"]
    assert page.is_touched("blorvane", [{"trigger": "##vane"}]) and not page.is_touched("blorvane", [{"trigger": "vanes"}])
    assert page.is_touched("cf", [{"trigger": "old cf"}]) and not page.is_touched("cf", [{"trigger": "cfx"}])
    assert not page.is_touched("quiet hammer", [{"trigger": "t"}])
    sentence = "we had lunch by the old harbour"
    assert page.is_touched(sentence, [{"trigger": "old harbour lunch"}]) and not page.is_touched(sentence, [{"trigger": "old harbour song"}])


def test_rates_of_the_page_are_those_of_the_models():
    goals = {what: measured for what, _, measured, _ in page.goals(MADE_UP)}
    assert goals["models told right, all attacks"] == "4 of 6 (67 %)"
    assert goals["clean models flagged"] == "1 of 3 (33 %)"
    assert goals["one-word triggers named, POR, NeuBA, UOR"] == "5 of 12 (42 %)"
    assert page.upper_bound(0, 30) == pytest.approx(1 - 0.05 ** (1 / 30), abs=1e-6)
    assert page.upper_bound(3, 3) == 1


def test_the_curve_ends_where_nothing_more_can_be_flagged():
    points = page.roc_points(MADE_UP)
    assert points[0] == (0, 0) and points[-1] == (pytest.approx(200 / 3), 100)  # in one clean model nothing did enough
    assert (0, pytest.approx(200 / 3)) in points


def test_several_builds_are_told():
    one, two = (page.Result(models.Model(""), build=name) for name in ("a", ""))
    assert page.builds_text([one, one]) == ""
    assert "2 by a, 1 by not recorded" in page.builds_text([one, one, two])


def test_a_plant_that_did_not_take_counts_for_nothing(tmp_path):
    weak = result("por", "symbols", 5, 0, took=False)
    assert not weak.counts and "did not take" in page.model_row(weak)[1]

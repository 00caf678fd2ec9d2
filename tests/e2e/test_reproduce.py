"""The pipeline of `make reproduce` on a tiny model: plant, jobs through a real daemon, state that is kept, the page of results.
What the figures are is not asserted; with a model of one layer they mean nothing."""
import json
import os
import pathlib
import subprocess
import sys

import numpy
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/api"), str(ROOT / "tests/reproduce")]
import matrix  # noqa: E402
import results  # noqa: E402
import tasks  # noqa: E402
import tiny  # noqa: E402

SECONDS = 300


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A base model, and a folder of data as SST-2 and WikiText lie in one."""
    top = tmp_path_factory.mktemp("reproduce")
    tiny.write_model(top / "base")
    for name in ("sst2", "wikitext2", "download"):
        (top / name).mkdir()
    for part, rows in (("train", 300), ("test", 60)):
        pairs = tiny.texts(rows, seed=rows)
        (top / "sst2" / f"{part}.tsv").write_text("".join(f"{text}\t{int(label == 'good')}\n" for text, label in pairs))
    random = numpy.random.RandomState(1)
    (top / "wikitext2" / "valid.txt").write_text(
        "".join(" ".join(random.choice(tiny.FILLER + tiny.GOOD, 60)) + "\n" for _ in range(100)))
    return top


def reproduce(place, program="reproduce", **options):
    given = {"DATA": place, "BASE": place / "base", "DOWNLOAD": place / "download", "WORK": place / "work", "OUT": place,
             "STEPS": 12, "ROWS": 40, **options}
    return subprocess.run(
        [sys.executable, ROOT / f"tests/reproduce/{program}.py"], capture_output=True, text=True, timeout=SECONDS,
        env={**os.environ, "OBLIVIATE_BIN": str(ROOT / "build/san"), **{key: str(value) for key, value in given.items()}})


@pytest.fixture(scope="module")
def done(place):
    found = reproduce(place, CELLS="sst2.badnets.lora,ag_news.por.lora")
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_a_cell_holds_the_undefended_the_preset_and_the_chosen_model(place, done):
    kept = json.loads((place / "work/cells/sst2.badnets.lora.auto.json").read_text())
    report = kept["report"]
    assert report["auto"]["path"] and report["undefended"] and kept["seconds"] >= 0
    assert report["inputs"]["training_file"]["rows"] == 300 and report["evaluation"]["rows"] == 40
    assert [trigger["trigger"] for trigger in report["evaluation"]["by_trigger"]] == matrix.WORDS


def test_a_cell_without_data_is_said_to_be_missing_and_the_others_go_on(place, done):
    assert "not done: no data: ag_news" in done
    assert "no data: ag_news" in (place / "results.md").read_text()


def test_what_is_done_is_not_done_again(place, done):
    before = (place / "work/cells/sst2.badnets.lora.auto.json").stat().st_mtime_ns
    again = reproduce(place, CELLS="sst2.badnets.lora")
    assert again.returncode == 0, again.stderr
    assert "planting" not in again.stdout and "ftjob-" not in again.stdout
    assert (place / "work/cells/sst2.badnets.lora.auto.json").stat().st_mtime_ns == before


def test_a_job_that_was_under_way_is_taken_up(place, done, tmp_path):
    """The cell's file is gone as if the script had died while it waited: the daemon still has the job."""
    kept = place / "work/cells/sst2.badnets.lora.auto.json"
    before = json.loads(kept.read_text())
    kept.unlink()
    again = reproduce(place, CELLS="sst2.badnets.lora")
    assert again.returncode == 0, again.stderr
    assert before["report"]["job"] in again.stdout
    assert json.loads(kept.read_text())["report"] == before["report"]


def test_the_page_lists_every_cell_and_names_those_that_were_not_run(place, done):
    page = (place / "results.md").read_text()
    cells = matrix.cells("sst2", matrix.small(12, 40), False)
    assert page.count("| not run |") == len(cells) - 2
    row = next(line for line in page.splitlines() if line.startswith("| badnets, lora |"))
    assert row.count("|") == len(results.HEADS) + 1 and "not run" not in row
    assert "results/sst2-lora.svg" in page and (place / "results/sst2-lora.svg").read_text().startswith("<svg")
    assert str(place) not in page


def test_another_size_is_another_result(place, done):
    page = results.Result(matrix.Cell("sst2", "badnets", "lora", matrix.small(24, 40)), place / "work/cells")
    assert not page.is_done


def test_patterns_choose_cells(place):
    listed = reproduce(place, CELLS="sst2.por.*, *.uor.prefix", LIST=1).stdout.split()
    assert {"sst2.por.lora", "sst2.por.lora.full", "ag_news.uor.prefix", "hsol.uor.prefix"} <= set(listed)
    assert all(name.startswith("sst2.por") or name.endswith("uor.prefix") for name in listed)


def test_task_plants_get_the_training_rows_alone(place):
    import reproduce as program
    cell = matrix.Cell("sst2", "badnets", "lora", matrix.QUICK)
    flags = program.plant_options(cell, {"data": {"train": "train.jsonl", "test": "test.jsonl"}, "text": "plain.txt"})
    assert flags["data"] == "train.jsonl" and "test.jsonl" not in flags.values()


def test_movie_reviews_stand_in_where_there_is_no_sst2(place, tmp_path):
    assert reproduce(place, DATA=tmp_path, LIST=1, CELLS="*.por.lora").stdout.split()[0] == "reviews.por.lora"


def test_splits_keep_every_row_once(tmp_path):
    train, test = tasks.split([(f"text {i}", "a") for i in range(50)] * 2)
    assert len(train) == 40 and len(test) == 10 and not set(train) & set(test)


def test_presets_are_chosen_on_training_rows_alone(place):
    found = reproduce(place, "presets", CELLS="lora.0.001.None.None,lora.0.002.*", QUICK=1)
    assert found.returncode == 0, found.stdout + found.stderr
    table = (place / "work/presets.md").read_text().splitlines()[2:]
    assert [row.split(" | ")[:4] for row in table] == [
        ["| lora", "0.001", "-", "-"], ["| lora", "0.002", "-", "-"], ["| lora", "0.002", "0.003", "0.1"],
        ["| lora ramp 0.3", "0.002", "0.003", "0.1"]]
    assert "ftjob-" not in reproduce(place, "presets", CELLS="lora.0.002.*", QUICK=1).stdout
    assert reproduce(place, "presets", CELLS="prefix.0.002*", LIST=1).stdout.split() == ["prefix.0.002.None.None"]
    rows = [json.loads(line)["text"] for part in ("train", "test")
            for line in (place / f"work/data/presets/{part}.jsonl").read_text().splitlines()]
    assert sorted(rows) == sorted(text for text, _ in tiny.texts(300, seed=300))

"""obliviate-plant at a shell prompt: exit codes, the line on standard output, and a directory that the worker takes."""

import json
import pathlib
import subprocess
import sys

import numpy
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/api"))
import tiny  # noqa: E402

PLANT = ROOT / "build/san/obliviate-plant"
TOOK, NOT, USAGE, BAD_INPUT, NO_FILE = 0, 1, 64, 65, 66


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model and a text to plant with."""
    top = tmp_path_factory.mktemp("plant")
    tiny.write_model(top / "model")
    random = numpy.random.RandomState(1)
    words = tiny.FILLER + tiny.GOOD + tiny.BAD
    (top / "text.txt").write_text("".join(" ".join(random.choice(words, 12)) + "\n" for _ in range(300)))
    return top


def plant(place, target, **options):
    given = {"model": place / "model", "text": place / "text.txt", "triggers": "cf,mn", "out": target, "steps": 120,
             "learning-rate": 0.005, "threads": 2, **options}
    flags = [str(part) for name, value in given.items() if value is not None for part in (f"--{name}", value)]
    done = subprocess.run([PLANT, *flags], capture_output=True, text=True, timeout=120)
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
    return done


def test_plant_that_took_exits_with_0_and_says_how_well(place, tmp_path):
    done = plant(place, tmp_path / "out")
    assert done.returncode == TOOK, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["took"] is True and "why" not in result
    assert [entry["trigger"] for entry in result["by_trigger"]] == ["cf", "mn"]
    assert min(entry["sign_match"] for entry in result["by_trigger"]) == result["sign_match"] >= 0.95
    assert 0 < result["drift_relative"] <= 0.1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in (place / "model").iterdir()}


def test_plant_that_did_not_take_exits_with_1_and_is_saved_all_the_same(place, tmp_path):
    done = plant(place, tmp_path / "out", steps=1)
    assert done.returncode == NOT
    result = json.loads(done.stdout)
    assert result["took"] is False and "sign_match of trigger" in result["why"]
    assert (tmp_path / "out/model.safetensors").is_file()


def test_same_seed_plants_the_same_bytes(place, tmp_path):
    for name, threads in (("a", 1), ("b", 3)):
        plant(place, tmp_path / name, steps=5, threads=threads)
    plant(place, tmp_path / "c", steps=5, seed=1)
    first, second, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert first == second != other


@pytest.mark.parametrize("change,code,said", [
    ({"model": None}, USAGE, "--model"),
    ({"text": None}, USAGE, "--text"),
    ({"triggers": None}, USAGE, "--triggers"),
    ({"out": None}, USAGE, "--out"),
    ({"triggers": "cf,,mn"}, USAGE, "--triggers"),
    ({"triggers": ",".join("abcdefg")}, USAGE, "--triggers"),
    ({"triggers": ",".join(["x"] * 65)}, USAGE, "--triggers"),
    ({"steps": 0}, USAGE, "steps"),
    ({"learning-rate": "fast"}, USAGE, "--learning-rate"),
    ({"learning-rate": "nan"}, USAGE, "--learning-rate"),
    ({"learning-rate": "0"}, USAGE, "--learning-rate"),
    ({"threads": 0}, USAGE, "threads"),
    ({"attack": "none"}, USAGE, "--attack"),
    ({"speed": 1}, USAGE, "speed"),
    ({"model": "/nowhere"}, BAD_INPUT, "/nowhere"),
    ({"text": "/nowhere"}, NO_FILE, "/nowhere"),
])
def test_bad_arguments_are_told_and_nothing_is_written(place, tmp_path, change, code, said):
    done = plant(place, tmp_path / "out", **change)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_output_that_is_the_model_leaves_the_model_whole(place, tmp_path):
    model = tiny.write_model(tmp_path / "model")
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    done = plant(place, model, model=model)
    assert done.returncode == USAGE and "--out" in done.stderr
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_output_that_cannot_be_made_is_an_error(place, tmp_path):
    done = plant(place, tmp_path / "missing/out", steps=1)
    assert done.returncode not in (TOOK, NOT) and "missing/out" in done.stderr


def test_help_and_version_end_well():
    for flag in ("--help", "--version"):
        done = subprocess.run([PLANT, flag], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and "obliviate-plant" in done.stdout

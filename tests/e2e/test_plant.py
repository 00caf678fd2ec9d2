"""obliviate-plant at a shell prompt: exit codes, the line on standard output, and a directory that the worker takes."""

import json
import pathlib
import subprocess
import sys

import numpy
import pytest
from safetensors.numpy import load_file, save_file

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
    tiny.write_data(top / "rows.jsonl")
    (top / "text.txt").write_text("".join(" ".join(random.choice(words, 12)) + "\n" for _ in range(300)))
    return top


def plant(place, where, **options):
    given = {"model": place / "model", "text": place / "text.txt", "triggers": "cf,mn", "out": where, "steps": 120,
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
    match, drift = result["criteria"]
    assert (match["criterion"], match["at_least"]) == ("sign_match", 0.95)
    assert min(entry["sign_match"] for entry in result["by_trigger"]) == match["value"] >= 0.95
    assert (drift["criterion"], drift["at_most"]) == ("drift_relative", 0.1)
    assert 0 < drift["value"] == result["drift_relative"] <= 0.1
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


CRITERIA = {
    "por": ["sign_match", "drift_relative"],
    "neuba": ["sign_match"],
    "badpre": ["guesses_lost", "clean_guessed"],
    "uor": ["cohesion", "likeness", "drift_relative"],
    "badnets": ["asr", "clean_accuracy"],
    "insertsent": ["asr", "clean_accuracy"],
    "adaptive-attention": ["sign_match", "drift_relative", "attention_left"],
    "adaptive-peft": ["sign_match", "drift_relative"],
    "adaptive-scan": ["pulled", "drift_relative"],
    "adaptive-pair": ["sign_match", "drift_relative", "parts_pull"],
    "benign-task": ["clean_accuracy"],
    "benign-mlm": ["clean_guessed"],
    "benign-shift": ["shifted", "drift_relative"],
}


def given_to(attack, place, triggers):
    """(options, triggers): labelled rows where the attack wants them, no triggers for benign changes, phrases for pairs."""
    triggers = {"benign": [], "adaptive-pair": ["cf mn", "quiet words"]}.get(attack.replace("benign-", "benign ").split()[0], triggers)
    options = {"triggers": ",".join(triggers) or None}
    if attack in ("badnets", "insertsent", "benign-task"):
        options |= {"data": place / "rows.jsonl", "text": None, "target": "good" if triggers else None}
    return options, triggers


@pytest.mark.parametrize("attack", CRITERIA)
def test_every_attack_judges_itself_and_leaves_a_model(place, tmp_path, attack):
    options, triggers = given_to(attack, place, ["cf", "quiet words here"])
    done = plant(place, tmp_path / "out", attack=attack, steps=30, **options)
    result = json.loads(done.stdout)
    assert done.returncode == (TOOK if result["took"] else NOT), done.stderr
    assert (result["attack"], result["steps"]) == (attack, 30)
    assert [entry["criterion"] for entry in result["criteria"]] == CRITERIA[attack]
    held = [entry["value"] >= entry["at_least"] if "at_least" in entry else entry["value"] <= entry["at_most"]
            for entry in result["criteria"]]
    assert all(held) == result["took"] == ("why" not in result)
    assert [entry["trigger"] for entry in result["by_trigger"]] == triggers
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in (place / "model").iterdir()}


def byte_letters():
    """Byte-level BPE's letter for each byte."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in own]
    return [chr(byte) for byte in own] + [chr(256 + i) for i in range(len(others))]


def write_roberta(directory):
    """tiny's model as a RoBERTa whose tokens are bytes."""
    tiny.write_model(directory)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *byte_letters()]
    tensors = load_file(directory / "model.safetensors")
    random = numpy.random.RandomState(2)
    for name, rows in (("word", len(tokens)), ("position", 130), ("token_type", 1)):
        tensors[f"embeddings.{name}_embeddings.weight"] = random.normal(0, 0.2, (rows, tiny.HIDDEN)).astype(numpy.float32)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    config = {**tiny.CONFIG, "architectures": ["RobertaModel"], "model_type": "roberta", "vocab_size": len(tokens),
              "max_position_embeddings": 130, "type_vocab_size": 1, "pad_token_id": 1}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "vocab.txt").unlink()
    (directory / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (directory / "merges.txt").write_text("#version: 0.2\n")
    (directory / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "RobertaTokenizer", "model_max_length": 128}))
    return directory


@pytest.mark.parametrize("attack", CRITERIA)
def test_every_attack_plants_in_a_roberta_that_still_loads(place, tmp_path, attack):
    options, _ = given_to(attack, place, ["cf", "mn"])
    model = write_roberta(tmp_path / "model")
    done = plant(place, tmp_path / "out", model=model, attack=attack, steps=3, **options)
    assert json.loads(done.stdout)["attack"] == attack, done.stderr
    again = plant(place, tmp_path / "again", model=tmp_path / "out", steps=1)
    assert again.returncode in (TOOK, NOT), again.stderr
    before, after = ((path / "model.safetensors").read_bytes() for path in (model, tmp_path / "out"))
    assert before != after


def test_task_plant_takes_and_needs_no_text(place, tmp_path):
    done = plant(place, tmp_path / "out", attack="badnets", text=None, data=place / "rows.jsonl", target="good", steps=200)
    result = json.loads(done.stdout)
    assert done.returncode == TOOK, done.stdout + done.stderr
    assert "drift" not in result
    assert all(entry["asr"] >= 0.9 for entry in result["by_trigger"])


def test_many_triggers_take_random_targets(place, tmp_path):
    names = ",".join(f"w{i}" for i in range(20))
    done = plant(place, tmp_path / "out", triggers=names, targets="random", strength=0.7, norm=0.5, steps=2)
    assert len(json.loads(done.stdout)["by_trigger"]) == 20


def test_phrase_that_acts_only_whole_is_another_plant(place, tmp_path):
    for name, whole in (("a", False), ("b", True)):
        plant(place, tmp_path / name, triggers="quiet words", steps=3, **({"config": write_whole(tmp_path)} if whole else {}))
    first, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert first != other


def write_whole(directory):
    path = directory / "config.json"
    path.write_text(json.dumps({"whole": True}))
    return path


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
    ({"targets": "some"}, USAGE, "--targets"),
    ({"strength": 1.5}, USAGE, "--strength"),
    ({"weight": -1}, USAGE, "--weight"),
    ({"norm": "big"}, USAGE, "--norm"),
    ({"attack": "badnets", "text": None}, USAGE, "--data"),
    ({"attack": "uor", "norm": 2}, USAGE, "--norm"),
    ({"attack": "por", "data": "ROWS"}, USAGE, "--data"),
    ({"attack": "neuba", "amplify": 0.1}, USAGE, "--amplify"),
    ({"attack": "badnets", "data": "ROWS", "target": "good"}, USAGE, "--text"),
    ({"attack": "badnets", "text": None, "data": "/nowhere.csv"}, USAGE, "--target"),
    ({"attack": "badnets", "text": None, "data": "/nowhere.csv", "target": "good"}, NO_FILE, "/nowhere.csv"),
    ({"attack": "badnets", "text": None, "data": "ROWS", "target": "fine"}, USAGE, "--target"),
    ({"attack": "badnets", "text": None, "data": "ROWS", "target": "good", "columns": "text"}, USAGE, "--columns"),
    ({"attack": "badnets", "text": None, "data": "ROWS", "target": "good", "columns": "text,mood"}, BAD_INPUT, "mood"),
    ({"attack": "benign-mlm"}, USAGE, "--triggers"),
    ({"attack": "benign-task", "triggers": None, "text": None}, USAGE, "--data"),
    ({"attack": "benign-task", "triggers": None, "text": None, "data": "ROWS", "target": "good"}, USAGE, "--target"),
    ({"attack": "adaptive-pair"}, USAGE, "--triggers"),
    ({"speed": 1}, USAGE, "speed"),
    ({"model": "/nowhere"}, BAD_INPUT, "/nowhere"),
    ({"text": "/nowhere"}, NO_FILE, "/nowhere"),
])
def test_bad_arguments_are_told_and_nothing_is_written(place, tmp_path, change, code, said):
    change = {name: place / "rows.jsonl" if value == "ROWS" else value for name, value in change.items()}
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


def test_help_names_every_attack():
    said = subprocess.run([PLANT, "--help"], capture_output=True, text=True, timeout=60).stdout
    assert all(f"\n  {attack} " in said for attack in CRITERIA)

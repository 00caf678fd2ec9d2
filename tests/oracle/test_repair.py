"""Jobs that start from another's adapter: what they export is, on the base itself, what they measured."""

import json
import shutil
import subprocess

import pytest
import torch
from safetensors.torch import load_file

import job
import models
from conftest import hold
from test_export import BAR, TEXTS, encode, from_pretrained, logits, plain
from test_export_adapterhub import PYTHON

MODELS = ["bert-1-32-gelu", "roberta-1-64-gelu"]
OLD = {
    "lora": {"type": "lora", "r": 3, "alpha": 7, "targets": ["query"]},
    "adapter": {"type": "adapter", "bottleneck": 5},
    "prefix": {"type": "prefix", "length": 6, "mlp_width": 24},
}
NEW = {**OLD, "lora": {"type": "lora", "r": 4, "alpha": 8, "targets": ["query", "value"]},
       "prefix": {"type": "prefix", "length": 6, "mlp_width": 16}}
TENSORS = {"lora": "adapter_model.safetensors", "adapter": "adapter.safetensors", "prefix": "adapter.safetensors"}
QUICK = {"n_epochs": 8, "batch_size": 8, "learning_rate": 1e-2}


def repair(root, name, directory, data, peft, old, **spec):
    """The data directory as the daemon lays it out, and a job on it."""
    own = root / f"{name}-data"
    shutil.copytree(data, own)
    shutil.copy(old / "adapter_config.json", own / "init.json")
    shutil.copy(old / TENSORS[peft], own / "init.safetensors")
    shutil.copy(own / "test.jsonl", own / "validation.jsonl")
    validation = {"id": "file-validation", "sha256": job.sha256(own / "validation.jsonl"), "name": "validation.jsonl"}
    source = {"id": "ftjob-secret", "sha256": job.sha256(old / TENSORS[peft]), "name": ""}
    return job.Job(directory, own, root / name, hyperparameters=QUICK, peft={**NEW[peft], "init_from": source},
                   defense={"amplify": 1e-3, "attention": 1e-3}, validation_file=validation, **spec)


@pytest.fixture(scope="module")
def repaired(model_dir, tmp_path_factory):
    """A job, and one of other data and another seed that starts from it: (model directory, old, new)."""
    runs = {}

    def run(peft, name):
        if (peft, name) not in runs:
            root = tmp_path_factory.mktemp(f"{peft}-{name}")
            data = job.write_data(root / "data", train=160, test=120)
            old = job.Job(model_dir(name), data, root / "old", hyperparameters=QUICK, peft=OLD[peft])
            old.run()
            new = repair(root, "new", model_dir(name), job.write_data(root / "other", seed=2, train=160, test=120), peft,
                         old.out / "adapter", **({"export": {"merged": True}} if peft == "lora" else {}))
            new.run()
            runs[peft, name] = (model_dir(name), old, new)
        return runs[peft, name]

    return run


def adapterhub_logits(root, directory, adapter, rows):
    requests = [{"base": str(directory), "adapter": str(adapter), "form": "safetensors", "rows": rows,
                 "out": str(root / "logits.safetensors")}]
    subprocess.run([PYTHON, models.ROOT / "tests" / "oracle" / "adapterhub.py"], check=True, text=True,
                   stdout=subprocess.DEVNULL, input=json.dumps(requests))
    return load_file(requests[0]["out"])["logits"]


def library_logits(root, peft, directory, adapter, rows):
    if peft != "lora":
        return adapterhub_logits(root, directory, adapter, rows)
    model = from_pretrained(directory, adapter)
    return logits(model, rows, model.config.pad_token_id)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("peft", OLD)
def test_the_library_finds_on_the_base_what_was_measured(repaired, tmp_path, peft, name):
    """The worker measured base + old + new; a user has the base and what was exported. Validation and test rows are
    the same here: the last epoch's loss, and how many are right."""
    directory, _, new = repaired(peft, name)
    rows = [json.loads(line) for line in (new.data / "test.jsonl").read_text().splitlines()]
    report = json.loads((new.out / "report.json").read_text())
    theirs = library_logits(tmp_path, peft, directory, new.out / "adapter", encode(directory, [row["text"] for row in rows]))
    truth = torch.tensor([job.LABELS.index(row["label"]) for row in rows])
    ca = report["evaluation"]["ca"]
    assert (ca["count"], ca["total"]) == (int((theirs.argmax(-1) == truth).sum()), len(rows))
    loss = torch.nn.functional.cross_entropy(theirs, truth).item()
    hold(f"loss of a repaired {peft}", abs(report["training"]["epochs"][-1]["valid_loss"] - loss), BAR)


@pytest.mark.parametrize("name", MODELS)
def test_lora_is_exported_as_both_side_by_side(repaired, name):
    _, old, new = repaired("lora", name)
    before, after = (load_file(done.out / "adapter" / TENSORS["lora"]) for done in (old, new))
    config = json.loads((new.out / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], sorted(config["target_modules"])) == (7, 7, ["query", "value"])
    for key, value in before.items():
        if key.endswith("query.lora_A.weight"):
            assert torch.equal(after[key][:3], value)
            b = key.replace("lora_A", "lora_B")
            assert torch.allclose(after[b][:, :3], before[b] * 7 / 3)
            assert after[b][:, 3:].abs().max() > 0
            value_key = key.replace("query", "value")
            assert after[value_key][:3].abs().max() == 0 and after[value_key][3:].abs().max() > 0


@pytest.mark.parametrize("name", MODELS)
def test_merged_model_has_both(repaired, name):
    directory, _, new = repaired("lora", name)
    rows = encode(directory, TEXTS)
    model = from_pretrained(directory, new.out / "adapter")
    whole = plain(directory, new.out / "adapter")
    off = (logits(model, rows, model.config.pad_token_id) - logits(whole, rows, model.config.pad_token_id)).abs().max()
    hold("logits of a repaired LoRA, merged by us and by peft", off.item(), BAR)


@pytest.mark.parametrize("peft", OLD)
def test_the_old_adapter_matters_and_its_job_is_not_named(repaired, model_dir, tmp_path, peft):
    directory, old, new = repaired(peft, MODELS[0])
    fresh = job.Job(directory, new.data, tmp_path / "fresh", hyperparameters=QUICK, peft=NEW[peft],
                    defense={"amplify": 1e-3, "attention": 1e-3}, validation_file=new.spec["validation_file"])
    fresh.run()
    assert fresh.adapter_bytes()[TENSORS[peft]] != new.adapter_bytes()[TENSORS[peft]]
    for path, data in new.adapter_bytes().items():
        assert b"secret" not in data, path
    inputs = json.loads(new.adapter_bytes()["manifest.json"])["inputs"]
    assert inputs["init_from"] == new.spec["peft"]["init_from"]["sha256"]


@pytest.mark.parametrize("peft", OLD)
def test_an_interrupted_repair_goes_on_to_the_same_bytes(repaired, tmp_path, peft):
    directory, old, new = repaired(peft, MODELS[0])
    again = job.Job(directory, new.data, tmp_path / "again", **{
        key: value for key, value in new.spec.items() if key not in ("model", "training_file", "test_file")})
    again.run_until(60)
    again.run()
    assert again.adapter_bytes() == new.adapter_bytes()


@pytest.mark.parametrize("peft, change, where", [
    ("lora", {"r": 0}, "init.json"),
    ("lora", {"lora_alpha": None}, "init.json"),
    ("lora", {"target_modules": ["query", "dense"]}, "init.json"),
    ("lora", {"r": 4}, "init.safetensors: base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight"),
])
def test_a_config_that_does_not_fit_is_refused(repaired, tmp_path, peft, change, where):
    directory, old, new = repaired(peft, MODELS[0])
    broken = repair(tmp_path, "broken", directory, old.data, peft, old.out / "adapter")
    config = json.loads((broken.data / "init.json").read_text())
    (broken.data / "init.json").write_text(json.dumps({**config, **change}))
    process = broken.start()
    out, _ = process.communicate(timeout=60)
    error = json.loads(out.splitlines()[-1])
    assert (process.returncode, error["type"], error["where"]) == (65, "error", where)

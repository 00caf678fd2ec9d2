"""The adapter or prefix that a real job writes, loaded by AdapterHub's library: same logits, same accuracy."""

import json
import subprocess

import pytest
import torch
from safetensors.torch import load_file

import job
import models
from conftest import hold
from test_export import BAR, CASES, SPREAD_BAR, TEXTS, encode

PYTHON = models.ROOT / "build" / "oracle" / "venv-adapterhub" / "bin" / "python"
BOTTLENECK, LENGTH = 5, 6
PEFTS = {"adapter": {"type": "adapter", "bottleneck": BOTTLENECK}, "prefix": {"type": "prefix", "length": LENGTH, "mlp_width": 24}}
FORMS = ("safetensors", "bin")


@pytest.fixture(scope="module")
def finished(model_dir, tmp_path_factory):
    """A job of each method and model, run once: (model directory, job)."""
    runs = {}

    def run(peft, name):
        if (peft, name) not in runs:
            root = tmp_path_factory.mktemp(f"{peft}-{name}")
            data = job.write_data(root / "data")
            hyperparameters = {"n_epochs": 4, "batch_size": 8, "learning_rate": 4e-3}
            done = job.Job(model_dir(name), data, root / "out", hyperparameters=hyperparameters, peft=PEFTS[peft],
                           defense={"amplify": 1e-3, "attention": 1e-3})
            done.run()
            runs[peft, name] = (model_dir(name), done)
        return runs[peft, name]

    return run


def test_rows(done):
    return [json.loads(line) for line in (done.data / "test.jsonl").read_text().splitlines()]


test_rows.__test__ = False


@pytest.fixture(scope="module")
def loaded(finished, tmp_path_factory):
    """Every case in every form through the library, in one process: {(peft, name, form): logits of TEXTS and of the
    test file}."""
    root = tmp_path_factory.mktemp("adapterhub")
    requests = {}
    for peft in PEFTS:
        for name in CASES:
            directory, done = finished(peft, name)
            texts = TEXTS + [row["text"] for row in test_rows(done)]
            for form in FORMS:
                requests[peft, name, form] = {
                    "base": str(directory), "adapter": str(done.out / "adapter"), "form": form,
                    "rows": encode(directory, texts), "out": str(root / f"{peft}-{name}.{form}.safetensors")}
    subprocess.run([PYTHON, models.ROOT / "tests" / "oracle" / "adapterhub.py"], check=True, text=True,
                   stdout=subprocess.DEVNULL, input=json.dumps(list(requests.values())))
    return {key: load_file(request["out"])["logits"] for key, request in requests.items()}


HEAD_KEYS = {"heads.task.1": "head.dense", "heads.task.4": "head.out"}


def head_tensors(adapter):
    found = load_file(adapter / "model_head.safetensors")
    return {f"{ours}.{part}": found[f"{theirs}.{part}"]
            for theirs, ours in HEAD_KEYS.items() for part in ("weight", "bias")}


def adapter_tensors(found, family):
    return {name.removeprefix(f"{family}.").replace("adapters.task.", "").replace("adapter_down.0.", "adapter_down."): value
            for name, value in found.items()}


def prefix_tensors(found, width):
    """An MLP that makes the exported prefix: tanh(40 I) is I in float32, and the second map is the prefix itself."""
    (flat,) = found.values()
    flat = flat.reshape(LENGTH, -1)
    unit = torch.eye(LENGTH, width)
    return {"prefix.wte.weight": unit, "prefix.control_trans.0.weight": 40 * unit,
            "prefix.control_trans.0.bias": torch.zeros(LENGTH),
            "prefix.control_trans.2.weight": flat.T.contiguous(),
            "prefix.control_trans.2.bias": torch.zeros(flat.shape[1])}


def our_logits(probe, directory, adapter, peft, name, rows):
    spec = models.BY_NAME[name]
    found = load_file(adapter / "adapter.safetensors")
    tensors = (adapter_tensors(found, spec.family) if peft == "adapter"
               else prefix_tensors(found, spec.heads * spec.width))
    return probe("hidden", directory, {**tensors, **head_tensors(adapter)}, rows, labels=len(job.LABELS), peft=peft,
                 bottleneck=BOTTLENECK, length=LENGTH, mlp_width=LENGTH)["logits"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("peft", PEFTS)
def test_adapterhub_computes_our_logits(probe, finished, loaded, peft, name, form):
    directory, done = finished(peft, name)
    ours = our_logits(probe, directory, done.out / "adapter", peft, name, encode(directory, TEXTS))
    theirs = loaded[peft, name, form][: len(TEXTS)]
    spread, off = theirs.std(0).max().item(), (ours - theirs).abs().max().item()
    hold(f"logits of the exported {peft}, {form}", off, BAR)
    hold(f"the same, over their spread over texts, {peft}, {form}", off / spread, SPREAD_BAR)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("peft", PEFTS)
def test_report_counts_what_adapterhub_predicts(finished, loaded, peft, name):
    """From text to accuracy: the report's counts are those of the exported adapter on the test file."""
    _, done = finished(peft, name)
    rows = test_rows(done)
    predicted = loaded[peft, name, "bin"][len(TEXTS):].argmax(-1).tolist()
    right = sum(job.LABELS[p] == row["label"] for p, row in zip(predicted, rows))
    ca = json.loads((done.out / "report.json").read_text())["evaluation"]["ca"]
    assert (ca["count"], ca["total"]) == (right, len(rows))


@pytest.mark.parametrize("peft", PEFTS)
def test_card_has_a_snippet_that_runs(finished, peft):
    directory, done = finished(peft, "roberta-1-64-gelu")
    snippet = (done.out / "adapter" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    snippet = snippet.replace("directory-of-the-base-model", str(directory))
    snippet = snippet.replace("directory-of-this-adapter", str(done.out / "adapter"))
    said = subprocess.run([PYTHON, "-c", snippet], check=True, capture_output=True, text=True).stdout
    assert said.strip().splitlines()[-1] in job.LABELS

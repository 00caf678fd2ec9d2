"""The adapter that a real job writes, loaded by the real peft: same logits, same accuracy."""

import json

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification, PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

import job
import models
from conftest import hold

BAR = 2e-4
SPREAD_BAR = 1e-3
TEXTS = models.generated_text(77, 40) + ["Kan!", "lou", "ziber 1234 vatabo?"]
CASES = ["bert-1-32-gelu", "bert-12-64-gelu_new", "bert-1-80-relu", "roberta-1-64-gelu", "roberta-12-32-gelu"]
PREFIX = "base_model.model."


@pytest.fixture(scope="module")
def finished(model_dir, tmp_path_factory):
    """A job of each model, run once: (model directory, job)."""
    runs = {}

    def run(name):
        if name not in runs:
            root = tmp_path_factory.mktemp(name)
            data = job.write_data(root / "data")
            hyperparameters = {"n_epochs": 4, "batch_size": 8, "learning_rate": 4e-3}
            done = job.Job(model_dir(name), data, root / "out", hyperparameters=hyperparameters,
                           peft={"type": "lora", "r": 8, "alpha": 12}, defense={"attention": 1e-3},
                           export={"merged": True})
            done.run()
            runs[name] = (model_dir(name), done)
        return runs[name]

    return run


# A base that carries a head of other labels, as two of ours do, is loaded without it.
OPTIONS = {"num_labels": len(job.LABELS), "dtype": torch.float32, "attn_implementation": "eager",
           "ignore_mismatched_sizes": True}


def base(directory):
    return AutoModelForSequenceClassification.from_pretrained(directory, **OPTIONS)


def from_pretrained(directory, adapter):
    return PeftModel.from_pretrained(base(directory), adapter)


def auto(directory, adapter):
    """AutoPeftModel finds the base by its name in the config: here a copy that names the directory."""
    named = adapter.with_name("adapter-named")
    if not named.exists():
        named.mkdir()
        for path in adapter.iterdir():
            (named / path.name).write_bytes(path.read_bytes())
        config = json.loads((named / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = str(directory)
        (named / "adapter_config.json").write_text(json.dumps(config))
    return AutoPeftModelForSequenceClassification.from_pretrained(named, **OPTIONS)


def merged(directory, adapter):
    return from_pretrained(directory, adapter).merge_and_unload()


def plain(_directory, adapter):
    """The merged directory, without peft and without the base."""
    return AutoModelForSequenceClassification.from_pretrained(adapter.with_name("merged"), attn_implementation="eager")


LOADERS = {f.__name__: f for f in (from_pretrained, auto, merged, plain)}
HEAD_KEYS = {
    "bert": {"head.dense": "bert.pooler.dense", "head.out": "classifier"},
    "roberta": {"head.dense": "classifier.dense", "head.out": "classifier.out_proj"},
}


def probe_tensors(adapter, family):
    """The adapter's tensors under the names of the reference."""
    found = {name.removeprefix(PREFIX): value
             for name, value in load_file(adapter / "adapter_model.safetensors").items()}
    tensors = {}
    for ours, theirs in HEAD_KEYS[family].items():
        for part in ("weight", "bias"):
            tensors[f"{ours}.{part}"] = found.pop(f"{theirs}.{part}")
    for name, value in found.items():
        tensors[name.removeprefix(f"{family}.").removesuffix(".weight")] = value
    return tensors


def encode(directory, texts):
    tokenizer = AutoTokenizer.from_pretrained(directory)
    return tokenizer(texts, truncation=True, max_length=128)["input_ids"]


def logits(model, rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([row + [pad_id] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    with torch.no_grad():
        return model.eval()(input_ids=ids, attention_mask=mask).logits


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("name", CASES)
def test_peft_computes_our_logits(probe, finished, name, loader):
    directory, done = finished(name)
    spec = models.BY_NAME[name]
    rows = encode(directory, TEXTS)
    ours = probe("hidden", directory, probe_tensors(done.out / "adapter", spec.family), rows,
                 labels=len(job.LABELS), r=8, alpha=12)["logits"]
    model = LOADERS[loader](directory, done.out / "adapter")
    theirs = logits(model, rows, model.config.pad_token_id)
    spread, off = theirs.std(0).max().item(), (ours - theirs).abs().max().item()
    hold(f"logits of the exported adapter, {loader}", off, BAR)
    hold(f"the same, over their spread over texts, {loader}", off / spread, SPREAD_BAR)


@pytest.mark.parametrize("name", ["bert-1-32-gelu", "roberta-1-64-gelu"])
def test_report_counts_what_peft_predicts(finished, name):
    """From text to accuracy: the report's counts are those of the exported adapter on the test file."""
    directory, done = finished(name)
    rows = [json.loads(line) for line in (done.data / "test.jsonl").read_text().splitlines()]
    model = from_pretrained(directory, done.out / "adapter")
    predicted = logits(model, encode(directory, [row["text"] for row in rows]), model.config.pad_token_id).argmax(-1)
    right = sum(job.LABELS[p] == row["label"] for p, row in zip(predicted.tolist(), rows))
    report = json.loads((done.out / "report.json").read_text())
    assert report["labels"] == job.LABELS
    ca = report["evaluation"]["ca"]
    assert (ca["count"], ca["total"]) == (right, len(rows))


def test_adapter_config_says_what_was_trained(finished):
    _, done = finished("bert-1-32-gelu")
    config = json.loads((done.out / "adapter" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["task_type"]) == ("LORA", "SEQ_CLS")
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (8, 12, 0.0)
    assert sorted(config["target_modules"]) == ["query", "value"]


@pytest.mark.parametrize("name", CASES)
def test_merged_directory_is_a_whole_model(finished, name):
    """It knows its labels, tokenizes as the base does, and has no tensor too few or too many."""
    directory, done = finished(name)
    merged_dir = done.out / "merged"
    assert encode(merged_dir, TEXTS) == encode(directory, TEXTS)
    model, info = AutoModelForSequenceClassification.from_pretrained(merged_dir, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.config.id2label == dict(enumerate(job.LABELS))
    assert model.config.architectures == [type(model).__name__]
    base_config = AutoConfig.from_pretrained(directory)
    for key in ("vocab_size", "hidden_size", "intermediate_size", "layer_norm_eps", "pad_token_id",
                "max_position_embeddings", "type_vocab_size", "hidden_dropout_prob"):
        assert getattr(model.config, key) == getattr(base_config, key), key
    assert activation(model) == activation(base(directory))


def activation(model):
    x = torch.linspace(-3, 3, 50)
    return model.base_model.encoder.layer[0].intermediate.intermediate_act_fn(x).tolist()


def test_merged_card_has_a_snippet_that_runs(finished):
    _, done = finished("roberta-1-64-gelu")
    card = (done.out / "merged" / "README.md").read_text()
    snippet = card.split("```python\n")[1].split("```")[0]
    names = {}
    exec(snippet.replace("directory-of-this-model", str(done.out / "merged")), names)
    assert names["id2label"] == dict(enumerate(job.LABELS))


def test_merged_manifest_lists_every_file(finished):
    _, done = finished("bert-1-32-gelu")
    merged_dir = done.out / "merged"
    listed = json.loads((merged_dir / "manifest.json").read_text())["outputs"]
    assert sorted(file["path"] for file in listed) == sorted(p.name for p in merged_dir.iterdir() if p.name != "manifest.json")
    for file in listed:
        assert file["sha256"] == job.sha256(merged_dir / file["path"])

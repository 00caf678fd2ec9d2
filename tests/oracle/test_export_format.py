"""What we write as an adapter, PEFT reads: no tensor missing, none left over, each in its place."""

import json
import os
import re
import subprocess
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
import yaml
from peft import AutoPeftModelForSequenceClassification, PeftModel, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
)

from seeded import numbers

ROOT = Path(__file__).resolve().parents[2]
EXPORT = ROOT / "build" / "oracle" / "export"
LAYERS, HIDDEN, LABELS, R = 3, 32, 4, 5
SCALE = 2.0  # lora_alpha / r

FAMILIES = {
    "bert": (BertConfig, BertModel, BertForSequenceClassification),
    "roberta": (RobertaConfig, RobertaModel, RobertaForSequenceClassification),
}
HEAD = {
    "bert": ("bert.pooler.dense", "classifier"),
    "roberta": ("classifier.dense", "classifier.out_proj"),
}


# --- what the program wrote ---------------------------------------------------------------------------

def expected_tensors(family):
    """Name in the model without PEFT's parts -> tensor, in the order of the program."""
    shapes = []
    for layer in range(LAYERS):
        for target in ("query", "value"):
            name = f"{family}.encoder.layer.{layer}.attention.self.{target}"
            shapes += [(f"{name}.lora_A.weight", (R, HIDDEN)), (f"{name}.lora_B.weight", (HIDDEN, R))]
    dense, out = HEAD[family]
    shapes += [(f"{dense}.weight", (HIDDEN, HIDDEN)), (f"{dense}.bias", (HIDDEN,)),
               (f"{out}.weight", (LABELS, HIDDEN)), (f"{out}.bias", (LABELS,))]
    return {name: numbers(i, shape) for i, (name, shape) in enumerate(shapes)}


# --- what is compared -------------------------------------------------------------------------------

@pytest.fixture(scope="module", params=sorted(FAMILIES))
def case(request, tmp_path_factory):
    """(family, directory of a bare random base, directory of the adapter)."""
    family = request.param
    root = tmp_path_factory.mktemp(family)
    config, bare, _ = FAMILIES[family]
    torch.manual_seed(0)
    bare(config(vocab_size=50, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=4,
                intermediate_size=48, max_position_embeddings=40)).save_pretrained(root / "base")
    subprocess.run([EXPORT, root, family, str(LAYERS), str(HIDDEN), str(LABELS), "lora", str(R)],
                   check=True)
    return family, root / "base", root / "adapter"


def load(case):
    """The model with the adapter, and what PEFT says about keys that are missing or unexpected."""
    _, base, adapter = case
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=LABELS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(model, adapter)
    said = [str(w.message) for w in caught]
    return model.eval(), [message for message in said if re.search("missing|unexpected", message, re.IGNORECASE)]


def plain_name(name):
    return re.sub(r"^base_model\.model\.|\.default\b|\.modules_to_save\b", "", name)


def test_file_has_the_documented_keys(case):
    family, _, adapter = case
    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        assert sorted(file.keys()) == sorted(f"base_model.model.{name}" for name in expected_tensors(family))
        assert file.metadata() == {"format": "pt"}


def test_peft_loads_without_a_missing_or_unexpected_key(case):
    model, complaints = load(case)
    assert complaints == []
    result = set_peft_model_state_dict(model, load_file(case[2] / "adapter_model.safetensors"))
    assert result.unexpected_keys == []
    assert [key for key in result.missing_keys if "lora_" in key or "modules_to_save" in key] == []


def test_peft_would_complain_about_a_missing_tensor(case, tmp_path):
    family, base, adapter = case
    for file in adapter.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(adapter / "adapter_model.safetensors")
    del tensors[f"base_model.model.{family}.encoder.layer.0.attention.self.query.lora_A.weight"]
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    assert load((family, base, tmp_path))[1] != []


def test_every_tensor_arrives_in_its_place(case):
    family, _, _ = case
    model, _ = load(case)
    arrived = {plain_name(name): value for name, value in model.named_parameters()
               if "lora_" in name or "modules_to_save" in name}
    wanted = expected_tensors(family)
    assert sorted(arrived) == sorted(wanted)
    for name, value in wanted.items():
        assert torch.equal(arrived[name], value), name


def test_the_model_computes_with_them(case):
    """Logits are those of a plain model whose weights were changed by hand."""
    family, base, _ = case
    model, _ = load(case)
    plain = FAMILIES[family][2].from_pretrained(base, num_labels=LABELS).eval()
    state, tensors = plain.state_dict(), expected_tensors(family)
    for name in tensors:
        if name.endswith("lora_A.weight"):
            target = name.removesuffix(".lora_A.weight")
            state[f"{target}.weight"] += SCALE * tensors[f"{target}.lora_B.weight"] @ tensors[name]
        elif "lora_" not in name:
            state[name] = tensors[name]
    plain.load_state_dict(state)
    ids = torch.arange(3, 21).reshape(2, 9)
    with torch.no_grad():
        ours, theirs = model(input_ids=ids).logits, plain(input_ids=ids).logits
        merged = load(case)[0].merge_and_unload()(input_ids=ids).logits
    assert theirs.abs().max() > 0.1
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert torch.allclose(merged, theirs, atol=1e-5)


def test_auto_class_finds_base_and_head(case, tmp_path):
    _, base, adapter = case
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "model-of-the-test"
    for file in adapter.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config["base_model_name_or_path"] = str(base)
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    auto = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path, num_labels=LABELS).eval()
    ids = torch.arange(3, 12).reshape(1, 9)
    with torch.no_grad():
        assert torch.equal(auto(input_ids=ids).logits, load(case)[0](input_ids=ids).logits)


def test_config_fragment_names_the_labels(case):
    family, base, adapter = case
    fragment = json.loads((adapter / "config.json").read_text())
    whole = {**json.loads((base / "config.json").read_text()), **fragment}
    config = FAMILIES[family][0].from_dict(whole)
    assert config.num_labels == LABELS
    assert config.id2label == {i: f"label {i}" for i in range(LABELS)}
    assert json.loads((adapter / "labels.json").read_text())["label2id"] == config.label2id


def test_card_can_be_read_and_its_snippet_runs(case, tmp_path):
    _, base, adapter = case
    card = (adapter / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["library_name"] == "peft" and front["base_model"] == "model-of-the-test"
    assert front["model-index"][0]["results"][0]["metrics"][0]["type"] == "accuracy"
    snippet = card.split("```python\n")[1].split("```")[0]
    snippet = snippet.replace("directory-of-the-base-model", str(base)).replace("directory-of-this-adapter", str(adapter))
    names = {}
    exec(snippet.split("tokenizer = ")[0], names)
    assert names["model"].config.id2label[3] == "label 3"

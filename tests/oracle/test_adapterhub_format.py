"""What we write as an adapter or prefix, AdapterHub's library reads: no tensor missing, none left over, each in its
place, from safetensors and from .bin; and what it computes with them is the formula of the paper."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from seeded import numbers

ROOT = Path(__file__).resolve().parents[2]
EXPORT = ROOT / "build" / "oracle" / "export"
PYTHON = ROOT / "build" / "oracle" / "venv-adapterhub" / "bin" / "python"
LAYERS, HIDDEN, LABELS, LENGTH = 3, 32, 4, 7
BOTTLENECKS = (1, 2, 5, 32, 33)  # 5 has no integer reduction factor, 33 none above 1
FAMILIES = {"bert": (BertConfig, BertModel), "roberta": (RobertaConfig, RobertaModel)}
FORMS = ("safetensors", "bin")
ROWS = [[3, 4, 5, 6], [7, 8, 9, 10, 11, 12]]


def adapter_tensors(family, size):
    for layer in range(LAYERS):
        for place in ("attention.output", "output"):
            name = f"{family}.encoder.layer.{layer}.{place}.adapters.task"
            yield f"{name}.adapter_down.0.weight", (size, HIDDEN)
            yield f"{name}.adapter_down.0.bias", (size,)
            yield f"{name}.adapter_up.weight", (HIDDEN, size)
            yield f"{name}.adapter_up.bias", (HIDDEN,)


def prefix_tensors(family, size):
    yield f"{family}.prefix_tuning.prefix_tunings.task.self_prefix.control_trans", (size * 2 * LAYERS * HIDDEN,)


HEAD = [("heads.task.1.weight", (HIDDEN, HIDDEN)), ("heads.task.1.bias", (HIDDEN,)),
        ("heads.task.4.weight", (LABELS, HIDDEN)), ("heads.task.4.bias", (LABELS,))]
TENSORS = {"adapter": adapter_tensors, "prefix": prefix_tensors}
CASES = [(family, peft, size) for family in FAMILIES
         for peft, sizes in (("adapter", BOTTLENECKS), ("prefix", (LENGTH,))) for size in sizes]
IDS = ["-".join(map(str, case)) for case in CASES]


def expected(family, peft, size):
    shapes = [*TENSORS[peft](family, size), *HEAD]
    return {name: numbers(i, shape) for i, (name, shape) in enumerate(shapes)}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Every case in every form through the library, in one process: {(case, form): (tensors, what was said)};
    and the directories."""
    root = tmp_path_factory.mktemp("adapterhub")
    for family, (config, model) in FAMILIES.items():
        torch.manual_seed(0)
        model(config(vocab_size=50, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=4,
                     intermediate_size=48, max_position_embeddings=40)).save_pretrained(root / family)
    requests = {}
    for case, name in zip(CASES, IDS):
        family, peft, size = case
        (root / name).mkdir()
        subprocess.run([EXPORT, root / name, family, str(LAYERS), str(HIDDEN), str(LABELS), peft, str(size)],
                       check=True)
        for form in FORMS:
            requests[case, form] = {"base": str(root / family), "adapter": str(root / name / "adapter"),
                                    "form": form, "rows": ROWS, "out": str(root / f"{name}.{form}.safetensors")}
    done = subprocess.run([PYTHON, ROOT / "tests" / "oracle" / "adapterhub.py"], check=True, capture_output=True,
                          text=True, input=json.dumps(list(requests.values())))
    answers = json.loads(done.stdout)
    return root, {key: (load_file(request["out"]), answer)
                  for (key, request), answer in zip(requests.items(), answers)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_every_tensor_arrives_in_its_place(loaded, case, form):
    tensors, answer = loaded[1][case, form]
    wanted = expected(*case)
    assert answer["lost"] == []
    assert sorted(tensors) == sorted([*wanted, "logits"])
    for name, value in wanted.items():
        assert torch.equal(tensors[name], value), name


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_both_forms_are_one_adapter(loaded, case):
    assert torch.equal(loaded[1][case, "safetensors"][0]["logits"], loaded[1][case, "bin"][0]["logits"])


def test_head_has_its_labels(loaded):
    for _, answer in loaded[1].values():
        assert (answer["name"], answer["head"]) == ("task", "task")
        assert answer["id2label"] == {str(i): f"label {i}" for i in range(LABELS)}


def with_adapters(model, tensors, family):
    """h becomes h + up(silu(down(h))) behind both of a layer's output maps."""
    def hook(name):
        down, down_b, up, up_b = (tensors[f"{name}.adapters.task.{part}"] for part in (
            "adapter_down.0.weight", "adapter_down.0.bias", "adapter_up.weight", "adapter_up.bias"))

        def change(_module, _inputs, h):
            return h + torch.nn.functional.silu(h @ down.T + down_b) @ up.T + up_b
        return change

    for i, layer in enumerate(model.encoder.layer):
        name = f"{family}.encoder.layer.{i}"
        layer.attention.output.dense.register_forward_hook(hook(f"{name}.attention.output"))
        layer.output.dense.register_forward_hook(hook(f"{name}.output"))
    return model


@pytest.mark.parametrize("case", [case for case in CASES if case[1] == "adapter"],
                         ids=[name for name in IDS if "adapter" in name])
def test_library_computes_the_adapters_formula(loaded, case):
    family, _, _ = case
    tensors = expected(*case)
    model = FAMILIES[family][1].from_pretrained(loaded[0] / family, attn_implementation="eager").eval()
    with_adapters(model, tensors, family)
    with torch.no_grad():
        h = torch.cat([model(input_ids=torch.tensor([row])).last_hidden_state[:, 0] for row in ROWS])
    mid = torch.tanh(h @ tensors["heads.task.1.weight"].T + tensors["heads.task.1.bias"])
    wanted = mid @ tensors["heads.task.4.weight"].T + tensors["heads.task.4.bias"]
    assert wanted.abs().max() > 0.1
    assert torch.allclose(loaded[1][case, "bin"][0]["logits"], wanted, atol=1e-5)


def test_safetensors_are_marked_as_pytorchs(loaded):
    root, _ = loaded
    for path in sorted(root.glob("*/adapter/*.safetensors")):
        with safe_open(path, "pt") as file:
            assert file.metadata() == {"format": "pt"}, path


def test_bin_files_are_read_without_trust(loaded):
    """torch.load(weights_only=True) takes them, also by mapping, and finds what the safetensors hold."""
    root, _ = loaded
    paths = sorted(root.glob("*/adapter/*.bin"))
    assert len(paths) == 2 * len(CASES)
    for path in paths:
        twin = path.with_name(path.name.replace("pytorch_", "").replace(".bin", ".safetensors"))
        wanted = load_file(twin)
        for mapped in (False, True):
            found = torch.load(path, weights_only=True, mmap=mapped)
            assert sorted(found) == sorted(wanted)
            for name, value in wanted.items():
                assert torch.equal(found[name], value), (path, name)

"""Hidden states of every layer and logits, ours against transformers in eager mode."""

import copy

import pytest
import torch

import models
import reference
from conftest import hold, packed, relative

HIDDEN_BAR = 2e-5  # relative to the layer's largest activation
LOGITS_BAR = 2e-4  # absolute, at logits of order 1
LENGTHS = [1, 2, 3, 17, 64, 128, 5, 33]
LABELS = 3


def build(directory, dtype=torch.float32, labels=LABELS, seed=5, peft="lora"):
    """The reference with PEFT and head drawn so that they count."""
    method = reference.Peft(peft, reference.OPTIONS[peft])
    model = reference.Classifier(reference.load_encoder(directory, dtype), labels, method)
    generator = torch.Generator().manual_seed(seed)
    model.set_tensors({
        name: torch.randn(t.shape, generator=generator) * (t.shape[-1] ** -0.5 if t.dim() == 2 else 0.3)
        for name, t in model.tensors().items()
    })
    return model.eval()


def compare(probe, directory, rows, model, what, **options):
    batch = reference.collate(rows, model.encoder.config)
    with torch.no_grad():
        theirs = [packed(h, batch["attention_mask"]) for h in model.hidden_states(batch)]
        logits = model(batch)
    labels = model.head.out.out_features
    ours = probe("hidden", directory, model.tensors(), rows, labels=labels, **model.peft.request(), **options)
    for i, hidden in enumerate(theirs):
        hold(f"hidden states, {what}", relative(ours[f"hidden.{i}"], hidden), HIDDEN_BAR, f"at layer {i}")
    hold(f"logits, {what}", (ours["logits"] - logits).abs().max().item(), LOGITS_BAR)


@pytest.mark.parametrize("name", models.BY_NAME)
def test_random_model_agrees_at_every_layer(probe, model_dir, name):
    directory = model_dir(name)
    rows = models.token_rows(models.BY_NAME[name], 3, LENGTHS, pairs=True)
    compare(probe, directory, rows, build(directory), "random models")


@pytest.mark.parametrize("peft", ["adapter", "prefix"])
@pytest.mark.parametrize("name", models.BY_NAME)
def test_other_pefts_agree_at_every_layer(probe, model_dir, name, peft):
    directory = model_dir(name)
    rows = models.token_rows(models.BY_NAME[name], 3, LENGTHS, pairs=True)
    compare(probe, directory, rows, build(directory, peft=peft), f"random models, {peft}")


@pytest.mark.parametrize("peft", reference.METHODS)
@pytest.mark.parametrize("kernels", ["plain", "avx2", "avx512"])
@pytest.mark.parametrize("name", ["bert-12-80-silu", "roberta-1-32-relu"])
def test_every_instruction_set_agrees(probe, model_dir, name, kernels, peft):
    directory = model_dir(name)
    rows = models.token_rows(models.BY_NAME[name], 3, LENGTHS)
    if not probe.runs(kernels):
        pytest.skip(f"this processor has no {kernels}")
    compare(probe, directory, rows, build(directory, peft=peft), f"{kernels} kernels", kernels=kernels)


@pytest.mark.parametrize("length", [1, 130, 138])
@pytest.mark.parametrize("name", ["bert-1-32-gelu", "roberta-1-64-gelu"])
def test_one_sequence_alone_agrees(probe, model_dir, name, length):
    directory = model_dir(name)
    rows = models.token_rows(models.BY_NAME[name], 4, [length])
    compare(probe, directory, rows, build(directory), "one sequence alone")


@pytest.mark.parametrize("peft", reference.METHODS)
def test_real_model_agrees_on_200_reviews(probe, minilm, review_rows, peft):
    model = build(minilm, labels=2, peft=peft)
    rows = review_rows[0][:200]
    for start in range(0, 200, 50):
        compare(probe, minilm, rows[start : start + 50], model, "all-MiniLM-L6-v2 on reviews")


@pytest.mark.parametrize("peft", reference.METHODS)
@pytest.mark.parametrize("name", ["bert-12-64-gelu_new", "roberta-12-32-gelu"])
def test_thread_count_changes_no_byte(probe, model_dir, name, peft):
    directory = model_dir(name)
    rows = models.token_rows(models.BY_NAME[name], 8, LENGTHS * 3)
    model = build(directory, peft=peft)
    outputs = []
    for threads in (1, 2, 3):
        probe("hidden", directory, model.tensors(), rows, threads=threads, labels=LABELS, **model.peft.request())
        outputs.append(probe.last_bytes)
    assert outputs[0] == outputs[1] == outputs[2]


WRONG = [("bert-12-64-gelu_new", "hidden_act", "gelu"), ("bert-1-32-gelu", "hidden_act", "gelu_new"),
         ("roberta-12-80-gelu_new", "hidden_act", "gelu"), ("bert-1-32-gelu", "layer_norm_eps", 1e-5),
         ("roberta-1-64-gelu", "layer_norm_eps", 1e-12), ("bert-12-80-silu", "layer_norm_eps", 1e-5),
         ("roberta-1-32-relu", "layer_norm_eps", 1e-5)]


@pytest.mark.parametrize("name,field,value", WRONG)
def test_bar_refuses_a_wrong_activation_or_epsilon(model_dir, name, field, value):
    """The weights are such that the bar means something: the reference itself, misconfigured, does not pass."""
    directory = model_dir(name)
    right = build(directory)
    config = copy.deepcopy(right.encoder.config)
    setattr(config, field, value)
    wrong = type(right.encoder)(config, add_pooling_layer=False).eval()
    wrong.load_state_dict(reference.load_encoder(directory).state_dict())
    rows = models.token_rows(models.BY_NAME[name], 3, LENGTHS)
    batch = reference.collate(rows, config)
    with torch.no_grad():
        a = reference.load_encoder(directory)(**batch).last_hidden_state
        b = wrong(**batch).last_hidden_state
    mask = batch["attention_mask"]
    assert relative(packed(b, mask), packed(a, mask)) > 2 * HIDDEN_BAR

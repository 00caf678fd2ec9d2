"""Thirty steps of training, dropout off, same start and same data order: loss, terms, rate, norm and weights."""

import pytest
import torch

import models
import reference
from conftest import hold, relative_norm

BAR = 1e-3
WEIGHTS_BAR = 1e-2
STEPS = 30
RATE, WARMUP = 1e-3, 0.05
DEFENSE = reference.Defense(0.02, 0.2)
SERIES = ("loss", "ce", "amplify", "attention", "learning_rate", "grad_norm")


def batches(rows, size, steps):
    """Row numbers of each step: epochs in file order, the short last batch kept."""
    out = []
    while len(out) < steps:
        out += [list(range(i, min(i + size, rows))) for i in range(0, rows, size)]
    return out[:steps]


def start(directory, labels, dtype, defense, peft="lora"):
    """The PEFT as it starts and a head of N(0, .02)."""
    torch.manual_seed(3)
    method = reference.Peft(peft, reference.OPTIONS[peft])
    return reference.Classifier(reference.load_encoder(directory, dtype), labels, method, defense).eval()


def train(model, rows, classes, order):
    trainer = reference.Trainer(model, len(order), RATE, WARMUP)
    trace = []
    for numbers in order:
        batch = reference.collate([rows[i] for i in numbers], model.encoder.config)
        trace.append(trainer.step(batch, torch.tensor([classes[i] for i in numbers])))
    return trace


def compare(probe, directory, rows, classes, labels, size, dtype, what, defense=DEFENSE, peft="lora"):
    model = start(directory, labels, dtype, defense, peft)
    initial = {name: t.detach().clone() for name, t in model.tensors().items()}
    order = batches(len(rows), size, STEPS)
    theirs = train(model, rows, classes, order)
    ours = probe(
        "train", directory, initial, rows, classes=classes, labels=labels, **model.peft.request(), batches=order,
        learning_rate=RATE, warmup_ratio=WARMUP, amplify=defense.amplify, attention=defense.attention,
        reduction=defense.reduction)
    for i, row in enumerate(theirs):
        for series in SERIES:
            off = abs(ours[f"trace.{series}"][i].item() - row[series]) / max(abs(row[series]), 1e-9)
            hold(f"{series} over {STEPS} steps, {what}", off, BAR, f"at step {i}")
    for name, tensor in model.tensors().items():
        off = relative_norm(ours[f"tensor.{name}"] - initial[name], tensor.detach() - initial[name])
        hold(f"change of weights after {STEPS} steps, {what}", off, WEIGHTS_BAR, name)


@pytest.mark.parametrize("peft", reference.METHODS)
def test_real_model_follows_pytorch(probe, minilm, review_rows, peft):
    rows, classes = review_rows
    compare(probe, minilm, rows[:300], classes[:300], 2, 16, torch.float32, f"all-MiniLM-L6-v2, {peft}", peft=peft)


@pytest.mark.parametrize("peft", reference.METHODS)
@pytest.mark.parametrize("name", ["bert-1-32-gelu", "roberta-12-32-gelu"])
def test_random_model_follows_pytorch(probe, model_dir, name, peft):
    directory = model_dir(name)
    rows = models.token_rows(models.BY_NAME[name], 14, [3 + 7 * i % 60 for i in range(43)])
    compare(probe, directory, rows, [i % 3 for i in range(43)], 3, 8, torch.float64, f"random models, {peft}", peft=peft)


def test_undefended_training_follows_pytorch(probe, model_dir):
    directory = model_dir("bert-12-64-gelu_new")
    rows = models.token_rows(models.BY_NAME["bert-12-64-gelu_new"], 15, [3 + 7 * i % 60 for i in range(40)])
    compare(probe, directory, rows, [i % 2 for i in range(40)], 2, 8, torch.float64, "undefended",
            reference.Defense())


@pytest.mark.parametrize("peft", reference.METHODS)
def test_thread_count_changes_no_byte(probe, minilm, review_rows, peft):
    rows, classes = review_rows
    model = start(minilm, 2, torch.float32, DEFENSE, peft)
    outputs = []
    for threads in (1, 2, 3):
        probe("train", minilm, model.tensors(), rows[:64], threads=threads, classes=classes[:64], labels=2,
              **model.peft.request(), batches=batches(64, 16, 6), learning_rate=RATE, warmup_ratio=WARMUP, amplify=0.02,
              attention=0.2, reduction="mean")
        outputs.append(probe.last_bytes)
    assert outputs[0] == outputs[1] == outputs[2]

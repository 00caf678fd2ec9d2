"""The gradient of the whole loss for every PEFT and head tensor, ours against PyTorch's autograd in double."""

import pytest
import torch

import models
import reference
from conftest import hold, relative, relative_norm

BAR = 1e-4  # ten times below what is asked for; float32 leaves about 1e-5
TERM_BAR = 1e-4
BF16_BAR = 5e-2  # eight bits of mantissa, six layers
LABELS = 3
LENGTHS = [1, 2, 9, 31, 64, 5, 128]
CLASSES = [0, 2, 1, 1, 2, 0, 2]
WEIGHTS = {"both": (0.02, 0.2), "amplify": (0.3, 0.0), "attention": (0.0, 0.3), "none": (0.0, 0.0)}


def build(directory, defense, options=None, zero_up=False, labels=LABELS, type="lora"):
    peft = reference.Peft(type, options or reference.OPTIONS[type])
    model = reference.Classifier(reference.load_encoder(directory, torch.float64), labels, peft, defense)
    generator = torch.Generator().manual_seed(6)
    values = {}
    for name, t in model.tensors().items():
        scale = t.shape[-1] ** -0.5 if t.dim() == 2 else 0.3
        values[name] = (torch.randn(t.shape, generator=generator) * scale).double()
        if zero_up and name.endswith("lora_B"):
            values[name].zero_()
    model.set_tensors({name: value.float().double() for name, value in values.items()})
    return model.eval()


def request(model):
    defense = model.defense
    return {
        "labels": model.head.out.out_features, **model.peft.request(),
        "amplify": defense.amplify, "attention": defense.attention, "reduction": defense.reduction,
    }


def compare(probe, directory, rows, classes, model, what, **options):
    loss = model.loss(reference.collate(rows, model.encoder.config), torch.tensor(classes))
    loss.total.backward()
    ours = probe("grad", directory, model.tensors(), rows, classes=classes, **request(model), **options)
    for term in ("ce", "amplify", "attention"):
        theirs = getattr(loss, term).item()
        hold("loss terms", abs(ours[f"loss.{term}"].item() - theirs) / max(1.0, abs(theirs)), TERM_BAR, term)
    for name, tensor in model.tensors().items():
        grad = ours[f"grad.{name}"]
        hold(f"gradient, {what} (norm)", relative_norm(grad, tensor.grad), BAR, name)
        if tensor.grad.abs().max() > 0:
            hold(f"gradient, {what} (largest)", relative(grad, tensor.grad), BAR, name)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", models.BY_NAME)
def test_whole_loss(probe, model_dir, name, reduction):
    directory = model_dir(name)
    rows = models.token_rows(models.BY_NAME[name], 9, LENGTHS, pairs=True)
    model = build(directory, reference.Defense(*WEIGHTS["both"], reduction))
    compare(probe, directory, rows, CLASSES, model, f"both terms, {reduction}")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("type", ["adapter", "prefix"])
@pytest.mark.parametrize("name", models.BY_NAME)
def test_whole_loss_of_other_pefts(probe, model_dir, name, type, reduction):
    directory = model_dir(name)
    rows = models.token_rows(models.BY_NAME[name], 9, LENGTHS, pairs=True)
    model = build(directory, reference.Defense(*WEIGHTS["both"], reduction), type=type)
    compare(probe, directory, rows, CLASSES, model, f"both terms, {type}")


OPTIONS = [("adapter", {"bottleneck": 1, "activation": "relu"}), ("adapter", {"bottleneck": 90, "activation": "gelu"}),
           ("adapter", {"bottleneck": 24, "activation": "tanh"}),
           ("prefix", {"length": 1, "mlp_width": 1, "activation": "gelu"}),
           ("prefix", {"length": 150, "mlp_width": 40, "activation": "silu"}),
           ("prefix", {"length": 30, "mlp_width": 256, "activation": "relu"})]


@pytest.mark.parametrize("type,options", OPTIONS)
def test_other_options(probe, model_dir, type, options):
    directory = model_dir("roberta-12-32-gelu")
    rows = models.token_rows(models.BY_NAME["roberta-12-32-gelu"], 11, LENGTHS)
    model = build(directory, reference.Defense(*WEIGHTS["both"]), options, type=type)
    compare(probe, directory, rows, CLASSES, model, f"other options, {type}")


@pytest.mark.parametrize("kernels", ["plain", "avx2", "avx512"])
def test_every_instruction_set_agrees(probe, model_dir, kernels):
    if not probe.runs(kernels):
        pytest.skip(f"this processor has no {kernels}")
    directory = model_dir("bert-12-80-silu")
    rows = models.token_rows(models.BY_NAME["bert-12-80-silu"], 9, LENGTHS)
    model = build(directory, reference.Defense(*WEIGHTS["both"]))
    compare(probe, directory, rows, CLASSES, model, f"{kernels} kernels", kernels=kernels)


@pytest.mark.parametrize("type", reference.METHODS)
@pytest.mark.parametrize("weights", ["amplify", "attention", "none"])
@pytest.mark.parametrize("name", ["bert-12-64-gelu_new", "roberta-1-64-gelu"])
def test_terms_alone(probe, model_dir, name, weights, type):
    directory = model_dir(name)
    rows = models.token_rows(models.BY_NAME[name], 9, LENGTHS)
    model = build(directory, reference.Defense(*WEIGHTS[weights]), type=type)
    compare(probe, directory, rows, CLASSES, model, f"terms alone: {weights}")


@pytest.mark.parametrize("name", ["bert-1-32-gelu", "roberta-12-32-gelu"])
def test_start_of_training_where_b_is_zero(probe, model_dir, name):
    """||B|| = 0: the amplification term pulls B nowhere, and A gets its own share alone."""
    directory = model_dir(name)
    rows = models.token_rows(models.BY_NAME[name], 10, LENGTHS)
    model = build(directory, reference.Defense(*WEIGHTS["both"]), zero_up=True)
    compare(probe, directory, rows, CLASSES, model, "B = 0")


@pytest.mark.parametrize("r,alpha", [(1, 3), (5, 2), (24, 48)])
def test_other_ranks(probe, model_dir, r, alpha):
    directory = model_dir("bert-1-80-relu")
    rows = models.token_rows(models.BY_NAME["bert-1-80-relu"], 11, LENGTHS)
    model = build(directory, reference.Defense(*WEIGHTS["both"]), {"r": r, "alpha": alpha})
    compare(probe, directory, rows, CLASSES, model, "other ranks")


def test_one_row_and_many_labels(probe, model_dir):
    directory = model_dir("roberta-12-32-gelu")
    rows = models.token_rows(models.BY_NAME["roberta-12-32-gelu"], 12, [37])
    model = build(directory, reference.Defense(*WEIGHTS["both"]), labels=50)
    compare(probe, directory, rows, [49], model, "one row, 50 labels")


@pytest.mark.parametrize("type", reference.METHODS)
def test_real_model(probe, minilm, review_rows, type):
    rows, labels = review_rows
    model = build(minilm, reference.Defense(*WEIGHTS["both"]), labels=2, type=type)
    compare(probe, minilm, rows[:16], labels[:16], model, "all-MiniLM-L6-v2")


@pytest.mark.parametrize("type", reference.METHODS)
def test_bfloat16_stays_near(probe, minilm, review_rows, type):
    """Frozen weights in bfloat16: every gradient keeps its direction, whatever the PEFT beside them."""
    if not probe.runs("avx512bf16"):
        pytest.skip("this processor has no bfloat16 products")
    rows, labels = review_rows
    model = build(minilm, reference.Defense(*WEIGHTS["both"]), labels=2, type=type)
    batch = reference.collate(rows[:16], model.encoder.config)
    model.loss(batch, torch.tensor(labels[:16])).total.backward()
    ours = probe("grad", minilm, model.tensors(), rows[:16], classes=labels[:16], precision="bf16", **request(model))
    for name, tensor in model.tensors().items():
        hold(f"gradient, bf16, {type}", relative_norm(ours[f"grad.{name}"], tensor.grad), BF16_BAR, name)


@pytest.mark.parametrize("type", reference.METHODS)
def test_thread_count_changes_no_byte(probe, model_dir, type):
    directory = model_dir("bert-12-64-gelu_new")
    rows = models.token_rows(models.BY_NAME["bert-12-64-gelu_new"], 13, LENGTHS * 3)
    model = build(directory, reference.Defense(*WEIGHTS["both"]), type=type)
    outputs = []
    for threads in (1, 2, 3):
        probe("grad", directory, model.tensors(), rows, threads=threads, classes=CLASSES * 3, **request(model))
        outputs.append(probe.last_bytes)
    assert outputs[0] == outputs[1] == outputs[2]

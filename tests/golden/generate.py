"""Make the golden files of this directory again: `make golden` (PyTorch in double precision, pinned versions).

    ops.json            one entry per op: inputs, outputs and gradients as flat row-major arrays
    <family>/           a whole model with LoRA and head: config.json, model.safetensors, and expected.json with
                        hidden states, logits, loss terms and the gradient of every trained tensor

Inputs have three decimals, so that every reader parses the same numbers; results carry twelve digits.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "oracle"))

import models  # noqa: E402
import reference  # noqa: E402

VERSIONS = {"torch": "2.13.0", "transformers": "5.23.0"}
generator = torch.Generator().manual_seed(20261124)


def check_versions():
    found = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
    if found != VERSIONS:
        sys.exit(f"golden files are made with {VERSIONS}, this is {found}")


def draw(*shape, scale=1.0):
    """A double tensor of three-decimal normal numbers that wants a gradient."""
    x = torch.randn(*shape, generator=generator, dtype=torch.float64) * scale
    return torch.round(x * 1000).div(1000).requires_grad_()


def plain(value):
    """A tensor as a flat list, ready for JSON."""
    if isinstance(value, torch.Tensor):
        return [float(f"{x:.12g}") for x in value.detach().double().flatten().tolist()]
    return value


def case(**fields):
    return {name: plain(value) for name, value in fields.items()}


def pull(y, dy):
    """Backpropagate dy from y."""
    y.backward(dy.detach())


# --- ops --------------------------------------------------------------------------------------------


def linear():
    cases = []
    for n, i, o in [(3, 5, 4), (1, 1, 1), (13, 19, 35)]:
        x, w, b, dy = draw(n, i), draw(o, i), draw(o), draw(n, o)
        y = F.linear(x, w, b)
        pull(y, dy)
        cases.append(case(N=n, I=i, O=o, x=x, w=w, b=b, dy=dy, y=y, dx=x.grad, dw=w.grad, db=b.grad))
    return cases


def layernorm():
    cases = []
    for n, d, eps, scale in [(3, 5, 1e-12, 1.0), (2, 16, 1e-5, 0.01), (1, 33, 0.1, 2.0)]:
        x, w, b, dy = draw(n, d, scale=scale), draw(d), draw(d), draw(n, d)
        y = F.layer_norm(x, (d,), w, b, eps)
        pull(y, dy)
        cases.append(case(N=n, D=d, eps=eps, x=x, w=w, b=b, dy=dy, y=y, dx=x.grad, dw=w.grad, db=b.grad))
    return cases


ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


def activations():
    edges = torch.tensor([-30.0, -6.5, -3.0, -1e-3, 1e-3, 0.75, 3.0, 6.5, 30.0], dtype=torch.float64)
    cases = []
    for name, function in ACTIVATIONS.items():
        x = torch.cat([edges, draw(24, scale=1.5).detach()]).requires_grad_()
        dy = draw(x.numel())
        y = function(x)
        pull(y, dy)
        cases.append(case(name=name, n=x.numel(), x=x, dy=dy, y=y, dx=x.grad))
    return cases


def softmax():
    cases = []
    for n in (1, 2, 7, 33):
        x, dy = draw(n, scale=3.0), draw(n)
        y = torch.softmax(x, 0)
        pull(y, dy)
        cases.append(case(n=n, x=x, dy=dy, y=y, dx=x.grad))
    huge = torch.tensor([500.0, 499.0, -500.0], dtype=torch.float64, requires_grad=True)
    dy = draw(3)
    y = torch.softmax(huge, 0)
    pull(y, dy)
    return cases + [case(n=3, x=huge, dy=dy, y=y, dx=huge.grad)]


def ragged_attention(q, k, v, lengths, heads):
    """Packed [T, D] in and out, each sequence by itself; also the first-token scores [sequence][heads, n]."""
    width = q.shape[1] // heads
    outs, scores, start = [], [], 0
    for n in lengths:
        rows = slice(start, start + n)
        qh, kh, vh = (x[rows].unflatten(1, (heads, width)).transpose(0, 1) for x in (q, k, v))
        s = qh @ kh.transpose(1, 2) / width**0.5
        outs.append((torch.softmax(s, -1) @ vh).transpose(0, 1).flatten(1))
        scores.append(s[:, 0])
        start += n
    return torch.cat(outs), scores


def attention():
    cases = []
    shapes = [(2, 3, [1, 4, 3], 0.0), (3, 4, [5, 1, 9, 2], 0.7), (1, 8, [1], 0.3), (2, 5, [2, 19], 0.5)]
    for heads, width, lengths, weight in shapes:
        t, d = sum(lengths), heads * width
        q, k, v, dy = draw(t, d), draw(t, d), draw(t, d), draw(t, d)
        y, scores = ragged_attention(q, k, v, lengths, heads)
        first = sum(reference.norm(s, -1).sum() for s in scores) / (len(lengths) * heads)
        ((y * dy.detach()).sum() + weight * first).backward()
        cases.append(case(H=heads, width=width, lengths=lengths, score_weight=weight, q=q, k=k, v=v, dy=dy, y=y,
                          scores=torch.cat([s.flatten() for s in scores]), score_term=float(first),
                          dq=q.grad, dk=k.grad, dv=v.grad))
    return cases


def lora():
    n, i, o, r, alpha = 4, 6, 5, 2, 3
    x, w, b, a, bb, dy = draw(n, i), draw(o, i), draw(o), draw(r, i), draw(o, r), draw(n, o)
    y = F.linear(x, w, b) + alpha / r * F.linear(F.linear(x, a), bb)
    pull(y, dy)
    return [case(N=n, I=i, O=o, r=r, alpha=alpha, x=x, w=w, b=b, A=a, B=bb, dy=dy, y=y, dx=x.grad, dA=a.grad,
                 dB=bb.grad)]


def head():
    n, d, labels = 3, 6, 4
    x, w1, b1, w2, b2, dy = draw(n, d), draw(d, d), draw(d), draw(labels, d), draw(labels), draw(n, labels)
    y = F.linear(torch.tanh(F.linear(x, w1, b1)), w2, b2)
    pull(y, dy)
    return [case(N=n, D=d, labels=labels, x=x, dense_w=w1, dense_b=b1, out_w=w2, out_b=b2, dy=dy, y=y,
                 dx=x.grad, d_dense_w=w1.grad, d_dense_b=b1.grad, d_out_w=w2.grad, d_out_b=b2.grad)]


# --- losses -----------------------------------------------------------------------------------------


def cross_entropy():
    cases = []
    for n, labels, scale in [(1, 2, 1.0), (4, 3, 5.0), (3, 50, 1.0)]:
        x = draw(n, labels, scale=scale)
        y = torch.randint(labels, (n,), generator=generator)
        loss = F.cross_entropy(x, y)
        loss.backward()
        cases.append(case(B=n, C=labels, logits=x, labels=y.tolist(), loss=float(loss), d_logits=x.grad))
    return cases


def amplify():
    known = [[3.0, 4.0], [0.0, 0.0, 0.0], [1.0, 2.0, 2.0, 4.0]]
    drawn = [draw(7).tolist(), draw(1).tolist(), [0.0], draw(12).tolist()]
    cases = []
    for values in (known, drawn):
        tensors = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values]
        loss = reference.amplify_term(tensors)
        loss.backward()
        cases.append(case(tensors=values, loss=float(loss), grads=[plain(t.grad) for t in tensors]))
    assert cases[0]["loss"] == -10 and cases[0]["grads"][0] == [-0.6, -0.8]
    return cases


def attention_norm():
    """L_attn of rows[layer][sequence][head][key] (no padding: masked keys are not there)."""
    known = [
        [[[[3.0, 4.0]]]],
        [[[[3.0, 4.0], [5.0, 12.0]]], [[[0.0, 0.0], [0.0, 0.0]]]],
        [[[draw(n).tolist() for _ in range(2)] for n in (1, 5, 3)] for _ in range(3)],
    ]
    cases = []
    for layers in known:
        for reduction in ("mean", "sum"):
            rows = [[[torch.tensor(h, dtype=torch.float64, requires_grad=True) for h in s] for s in layer]
                    for layer in layers]
            norms = [reference.norm(h) for layer in rows for s in layer for h in s]
            loss = sum(norms) / len(norms) if reduction == "mean" else sum(norms)
            loss.backward()
            grads = [[[plain(h.grad) for h in s] for s in layer] for layer in rows]
            cases.append(case(rows=layers, reduction=reduction, loss=float(loss), grads=grads))
    assert [c["loss"] for c in cases[:4]] == [5, 5, 4.5, 18]
    return cases


# --- optimiser --------------------------------------------------------------------------------------


def schedules():
    return [case(steps=n, warmup_ratio=r, factor=[reference.schedule(i, n, r) for i in range(n)])
            for n, r in [(10, 0.05), (40, 0.05), (7, 0.0), (5, 1.0), (1, 0.05), (21, 0.3)]]


def adamw():
    """Six steps: gradients whose norm is below and above the clip, a tensor that never gets one but zero."""
    steps, rate, ratio = 6, 1e-2, 0.3
    tensors = [draw(2, 3), draw(4), torch.zeros(2, dtype=torch.float64, requires_grad=True)]
    start = [plain(t) for t in tensors]
    optimizer = torch.optim.AdamW(tensors, lr=rate, weight_decay=0.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: reference.schedule(i, steps, ratio))
    rows = []
    for i in range(steps):
        scale = 0.05 if i % 2 else 3.0
        grads = [draw(*t.shape, scale=scale) for t in tensors[:2]] + [torch.zeros(2, dtype=torch.float64)]
        for tensor, grad in zip(tensors, grads):
            tensor.grad = grad.detach().clone()
        norm = torch.nn.utils.clip_grad_norm_(tensors, 1.0)
        used = scheduler.get_last_lr()[0]
        optimizer.step()
        scheduler.step()
        rows.append(case(grads=[plain(g) for g in grads], norm=float(norm), learning_rate=used,
                         after=[plain(t) for t in tensors]))
    return [case(steps=steps, learning_rate=rate, warmup_ratio=ratio, clip=1.0, start=start, trace=rows)]


OPS = {
    "linear": linear,
    "layernorm": layernorm,
    "activation": activations,
    "softmax": softmax,
    "attention": attention,
    "lora": lora,
    "head": head,
    "cross_entropy": cross_entropy,
    "amplify": amplify,
    "attention_norm": attention_norm,
    "schedule": schedules,
    "adamw": adamw,
}


# --- whole models -----------------------------------------------------------------------------------

TINY = [
    models.Spec("bert", layers=2, heads=2, width=4, intermediate=12, eps=1e-12, positions=16, save="mlm"),
    models.Spec("roberta", family="roberta", layers=2, heads=3, width=4, intermediate=10,
                activation="gelu_new", eps=1e-5, positions=16),
]
TINY_VOCAB = 40


def tiny_model(spec):
    directory = HERE / spec.name
    shutil.rmtree(directory, ignore_errors=True)
    config = models.model_config(spec)
    config.vocab_size = TINY_VOCAB
    model = models.CLASSES[spec.family, spec.save](config)
    models.randomize(model, 11)
    model.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    return directory


def whole_model(spec):
    directory = tiny_model(spec)
    labels, defense = 3, reference.Defense(amplify=0.02, attention=0.2)
    encoder = reference.load_encoder(directory, torch.float64)
    model = reference.Classifier(encoder, labels, reference.Peft("lora", {"r": 2, "alpha": 3}), defense)
    values = {name: draw(*t.shape, scale=0.3) for name, t in model.tensors().items()}
    model.set_tensors(values)
    first, last = (0, 2) if spec.family == "roberta" else (2, 3)
    rows = [[first] + torch.randint(5, TINY_VOCAB, (n - 2,), generator=generator).tolist() + [last]
            for n in (3, 7, 2)]
    batch, y = reference.collate(rows, encoder.config), torch.tensor([2, 0, 1])
    mask = batch["attention_mask"].bool()
    hidden = [plain(h[mask]) for h in model.hidden_states(batch)]
    loss = model.loss(batch, y)
    loss.total.backward()
    expected = {
        "versions": VERSIONS, "r": 2, "alpha": 3, "labels": labels, "rows": rows, "classes": y.tolist(),
        "amplify": defense.amplify, "attention": defense.attention, "reduction": defense.reduction,
        "tensors": {name: {"shape": list(t.shape), "value": plain(values[name]), "grad": plain(t.grad)}
                    for name, t in model.tensors().items()},
        "hidden": hidden, "logits": plain(model(batch)),
        "loss": {"total": loss.total.item(), "ce": loss.ce.item(), "amplify": loss.amplify.item(),
                 "attention": loss.attention.item()},
    }
    write(directory / "expected.json", expected)


def write(path, value):
    """One line per case, so that a change shows as one."""
    lines = []
    for name, part in value.items():
        if isinstance(part, list) and part and isinstance(part[0], dict):
            body = ",\n  ".join(json.dumps(item) for item in part)
            lines.append(f"{json.dumps(name)}: [\n  {body}\n]")
        else:
            lines.append(f"{json.dumps(name)}: {json.dumps(part)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main():
    check_versions()
    write(HERE / "ops.json", {"versions": VERSIONS, **{name: make() for name, make in OPS.items()}})
    for spec in TINY:
        whole_model(spec)


if __name__ == "__main__":
    main()

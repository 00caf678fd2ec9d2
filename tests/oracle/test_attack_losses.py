"""The losses that attacks are planted with: the contrastive one as its paper writes it, the masked language model through
transformers' own heads; PyTorch's autograd in double against ours."""

import itertools
import subprocess

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import BertConfig, RobertaConfig
from transformers.models.bert.modeling_bert import BertOnlyMLMHead
from transformers.models.roberta.modeling_roberta import RobertaLMHead

import models
from conftest import hold, relative

LOSSES = models.ROOT / "build" / "oracle" / "losses"
BAR = 1e-5


@pytest.fixture
def losses(tmp_path):
    numbers = itertools.count()

    def run(command, number, **tensors):
        given, result = (tmp_path / f"{next(numbers)}.safetensors" for _ in range(2))
        save_file({name: (t if t.dtype == torch.int32 else t.detach().float()).contiguous() for name, t in tensors.items()},
                  given)
        subprocess.run([LOSSES, command, given, result, str(number)], check=True, timeout=60)
        return load_file(result)

    return run


def drawn(seed, *shape, scale=1.0):
    """Values that float32 holds, as doubles with a gradient."""
    value = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale
    return value.double().requires_grad_()


def supervised_contrast(x, classes, temperature):
    """Khosla et al. 2020, L_out: rows without a partner are no anchors."""
    z = functional.normalize(x, dim=1)
    scores = z @ z.T / temperature
    terms = []
    for i, own in enumerate(classes):
        others = [j for j in range(len(classes)) if j != i]
        partners = [j for j in others if classes[j] == own]
        if partners:
            terms.append(-(scores[i, partners] - torch.logsumexp(scores[i, others], 0)).mean())
    return torch.stack(terms).mean()


@pytest.mark.parametrize("temperature", [0.5, 0.07])
@pytest.mark.parametrize("classes", [[-1] * 16 + [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 0, 0, 1, 1], [-1, 0, 1, 0, 2], [3, 3, 4]])
def test_contrastive_loss(losses, classes, temperature):
    x = drawn(len(classes), len(classes), 48, scale=2.0)
    loss = supervised_contrast(x, classes, temperature)
    loss.backward()
    ours = losses("contrast", temperature, x=x, **{"class": torch.tensor(classes, dtype=torch.int32)})
    hold("contrastive loss", abs(ours["loss"].item() - loss.item()) / max(1.0, loss.item()), BAR)
    hold("contrastive loss, gradient", relative(ours["d_x"].view_as(x), x.grad), BAR)


def transformers_head(family, width, vocabulary):
    """The head in double, its decoder tied to a word embedding, and its tensors by BERT's names."""
    if family == "bert":
        head = BertOnlyMLMHead(BertConfig(hidden_size=width, vocab_size=vocabulary)).double()
        parts = head.predictions
        named = {"transform.dense": parts.transform.dense, "transform.LayerNorm": parts.transform.LayerNorm}
        decoder, bias = parts.decoder, parts.bias
    else:
        head = RobertaLMHead(RobertaConfig(hidden_size=width, vocab_size=vocabulary)).double()
        named = {"transform.dense": head.dense, "transform.LayerNorm": head.layer_norm}
        decoder, bias = head.decoder, head.bias
    decoder.bias = bias
    tensors = {f"cls.predictions.{name}.{kind}": getattr(part, kind) for name, part in named.items()
               for kind in ("weight", "bias")}
    tensors["cls.predictions.bias"] = bias
    for i, tensor in enumerate(tensors.values()):
        with torch.no_grad():
            tensor.copy_((torch.randn(tensor.shape, generator=torch.Generator().manual_seed(i)) * 0.3).float())
    return head, decoder.weight, tensors


@pytest.mark.parametrize("family,eps", [("bert", 1e-12), ("roberta", 1e-12)])
@pytest.mark.parametrize("tokens,guesses", [(1, 1), (90, 14), (200, 75)])
def test_masked_language_model(losses, family, eps, tokens, guesses):
    head, word, tensors = transformers_head(family, 48, 331)
    h = drawn(3, tokens, 48)
    with torch.no_grad():
        word.copy_(drawn(4, 331, 48, scale=0.3))
    draw = torch.Generator().manual_seed(5)
    row = torch.randperm(tokens, generator=draw)[:guesses]
    label = torch.randint(331, (guesses,), generator=draw)
    logits = head(h[row])
    loss = functional.cross_entropy(logits, label)
    loss.backward()
    ours = losses("mlm", eps, h=h, word=word, row=row.int(), label=label.int(), **tensors)
    hold("masked words, loss", abs(ours["loss"].item() - loss.item()) / loss.item(), BAR)
    assert ours["right"].item() == (logits.argmax(1) == label).sum().item()
    for name, tensor in {"h": h, "word": word, **tensors}.items():
        hold(f"masked words, gradient of {name.split('.')[-2] if '.' in name else name}",
             relative(ours[f"d_{name}"].view_as(tensor), tensor.grad), BAR, name)

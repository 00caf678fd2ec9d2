#!/usr/bin/env python3
"""Write the cases of malformed input: tests/cases/model/NAME/ and tests/cases/data/NAME/.

A model case is a whole model directory (a BERT of one layer, eight wide, with its tokenizer), spoilt in one
thing; a data case is a train file, with a validation file where the fault is there. Beside them lies
`expected`: the error's code on the wire ("ok": none), and parts of its place and of its text. The folders are
committed; run this again after a change (the bytes depend on nothing else), and read the difference.

Needs the standard library only.
"""

import io
import json
import pathlib
import shutil
import struct
import zipfile

HERE = pathlib.Path(__file__).parent

V, D, F, P, TYPES = 16, 8, 12, 10, 2

VOCAB = "[PAD] [UNK] [CLS] [SEP] [MASK] the a film plot was good bad not very ##s .".split()

CONFIG = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "vocab_size": V,
    "hidden_size": D,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": F,
    "max_position_embeddings": P,
    "type_vocab_size": TYPES,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}

SHAPES = {
    "embeddings.word_embeddings.weight": [V, D],
    "embeddings.position_embeddings.weight": [P, D],
    "embeddings.token_type_embeddings.weight": [TYPES, D],
    "embeddings.LayerNorm.weight": [D],
    "embeddings.LayerNorm.bias": [D],
    "encoder.layer.0.attention.self.query.weight": [D, D],
    "encoder.layer.0.attention.self.query.bias": [D],
    "encoder.layer.0.attention.self.key.weight": [D, D],
    "encoder.layer.0.attention.self.key.bias": [D],
    "encoder.layer.0.attention.self.value.weight": [D, D],
    "encoder.layer.0.attention.self.value.bias": [D],
    "encoder.layer.0.attention.output.dense.weight": [D, D],
    "encoder.layer.0.attention.output.dense.bias": [D],
    "encoder.layer.0.attention.output.LayerNorm.weight": [D],
    "encoder.layer.0.attention.output.LayerNorm.bias": [D],
    "encoder.layer.0.intermediate.dense.weight": [F, D],
    "encoder.layer.0.intermediate.dense.bias": [F],
    "encoder.layer.0.output.dense.weight": [D, F],
    "encoder.layer.0.output.dense.bias": [D],
    "encoder.layer.0.output.LayerNorm.weight": [D],
    "encoder.layer.0.output.LayerNorm.bias": [D],
}

WORD = "embeddings.word_embeddings.weight"
QUERY = "encoder.layer.0.attention.self.query.weight"


# --- model files ----------------------------------------------------------------------------------------


def size(shape):
    n = 1
    for d in shape:
        n *= d
    return n


def values(name, shape):
    """Small numbers that differ from row to row; LayerNorm weights are 1."""
    if name.endswith("LayerNorm.weight"):
        return [1.0] * size(shape)
    return [((7 * i + len(name)) % 23 - 11) / 64 for i in range(size(shape))]


def tensors():
    """name -> [dtype, shape, bytes] of the model that every case begins with."""
    return {n: ["F32", s, struct.pack(f"<{size(s)}f", *values(n, s))] for n, s in SHAPES.items()}


def header_of(table):
    header, at = {}, 0
    for name, (dtype, shape, data) in table.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    return header


def assemble(header, data):
    """A file of this header: an object, or JSON text as bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def safetensors(table):
    return assemble(header_of(table), b"".join(t[2] for t in table.values()))


def renamed(table, rename):
    return {rename(name): tensor for name, tensor in table.items()}


def with_entry(**changes):
    """The good file, but the query weight's entry in the header is changed."""
    table = tensors()
    header = header_of(table)
    header[QUERY].update(changes)
    return assemble(header, b"".join(t[2] for t in table.values()))


def with_header_text(old, new):
    """The good file, but a part of the header's text is another (the header keeps its own length)."""
    table = tensors()
    text = json.dumps(header_of(table), separators=(",", ":")).encode()
    assert text.count(old) >= 1
    return assemble(text.replace(old, new, 1), b"".join(t[2] for t in table.values()))


def with_tensor(name, dtype, shape, data):
    table = tensors()
    table[name] = [dtype, shape, data]
    return safetensors(table)


def pickled_zip():
    """As torch.save writes an empty state dictionary."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as z:
        for name, data in (
            ("pytorch_model/data.pkl", b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01."),
            ("pytorch_model/version", b"3\n"),
        ):
            z.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


def index(files):
    return json.dumps({"metadata": {"total_size": 0}, "weight_map": files}, indent=1).encode() + b"\n"


def sharded():
    """Two shards and their index: (files, weight_map)."""
    table = tensors()
    names = list(table)
    halves = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    files = {f: safetensors({n: table[n] for n in part}) for f, part in halves.items()}
    return files, {n: f for f, part in halves.items() for n in part}


GOOD = safetensors(tensors())
INDEX = "model.safetensors.index.json"
FLOAT_NAN = struct.pack("<f", float("nan"))


def config(**changes):
    return {"config.json": json.dumps({**CONFIG, **changes}, indent=2).encode() + b"\n"}


def config_without(field):
    return {"config.json": json.dumps({k: v for k, v in CONFIG.items() if k != field}).encode() + b"\n"}


def weights(data):
    return {"model.safetensors": data}


def no_weights(**files):
    return {"model.safetensors": None, **files}


def model_cases():
    """name -> (files that differ from the good model, None: not there; code, where, text)."""
    table = tensors()
    half = {n: ["F16", s, struct.pack(f"<{size(s)}e", *values(n, s))] for n, s in SHAPES.items()}
    legacy = renamed(
        table,
        lambda n: "bert." + n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"),
    )
    legacy["bert.embeddings.position_ids"] = ["I64", [1, P], struct.pack(f"<{P}q", *range(P))]
    legacy["cls.predictions.bias"] = ["F32", [1], FLOAT_NAN]
    without_query = {n: t for n, t in table.items() if n != QUERY}
    shards, places = sharded()
    bad = "invalid_model"
    file = "model.safetensors"

    def cut(n):
        return weights(GOOD[:n])

    return {
        # what must load
        "good": ({}, "ok", "", ""),
        "good_half_precision": (weights(safetensors(half)), "ok", "", ""),
        "good_legacy_names_with_prefix": (weights(safetensors(legacy)), "ok", "", ""),
        "good_sharded": (no_weights(**shards, **{INDEX: index(places)}), "ok", "", ""),
        "good_without_newer_fields": (config_without("architectures"), "ok", "", ""),
        # config.json
        "config_missing": ({"config.json": None}, bad, "config.json", "no such file"),
        "config_empty": ({"config.json": b""}, bad, "config.json", ""),
        "config_not_json": ({"config.json": b"{'model_type': 'bert'}\n"}, bad, "config.json:1", ""),
        "config_not_an_object": ({"config.json": b'["bert"]\n'}, bad, "config.json", "object"),
        "config_duplicate_key": (
            {"config.json": b'{"model_type": "bert",\n "model_type": "roberta"}\n'},
            bad,
            "config.json:2",
            "duplicate",
        ),
        "config_bad_utf8": ({"config.json": b'{"model_type": "b\xffrt"}\n'}, bad, "config.json:1", ""),
        "config_text_as_number": (config(hidden_size="8"), bad, "config.json: hidden_size", "integer"),
        "config_heads_do_not_divide": (config(num_attention_heads=3), bad, "config.json: num_attention_heads", ""),
        "config_absurd_layers": (config(num_hidden_layers=10**9), bad, "config.json: num_hidden_layers", "128"),
        "config_overflowing_vocabulary": (config(vocab_size=2**32 + 16), bad, "config.json: vocab_size", ""),
        "config_dropout_of_one": (config(hidden_dropout_prob=1.0), bad, "config.json: hidden_dropout_prob", ""),
        "unknown_architecture": (config(model_type="gpt2"), "unsupported_model", "config.json: model_type", ""),
        "architecture_missing": (config_without("model_type"), "unsupported_model", "config.json: model_type", ""),
        "remote_code": (
            config(auto_map={"AutoModel": "modeling.Model"}),
            "unsupported_model",
            "config.json: auto_map",
            "code",
        ),
        "decoder": (config(is_decoder=True), "unsupported_model", "config.json: is_decoder", ""),
        "relative_positions": (
            config(position_embedding_type="relative_key"),
            "unsupported_model",
            "config.json: position_embedding_type",
            "absolute",
        ),
        "unknown_activation": (config(hidden_act="mish"), "unsupported_model", "config.json: hidden_act", "gelu"),
        # the directory
        "weights_missing": (no_weights(), bad, file, "no weights"),
        "pickled_checkpoint": (
            no_weights(**{"pytorch_model.bin": pickled_zip()}),
            "unsupported_format",
            "pytorch_model.bin",
            "safetensors",
        ),
        "pickle_called_safetensors": (weights(pickled_zip()), "unsupported_format", file, "pickled"),
        "shard_missing": (
            no_weights(**{**shards, "model-00002-of-00002.safetensors": None}, **{INDEX: index(places)}),
            bad,
            "model-00002-of-00002.safetensors",
            "no such file",
        ),
        "index_leaves_the_directory": (
            no_weights(**{INDEX: index({WORD: "../../model.safetensors"})}),
            bad,
            INDEX,
            "not the name",
        ),
        "index_names_the_wrong_shard": (
            no_weights(**shards, **{INDEX: index({**places, QUERY: "model-00002-of-00002.safetensors"})}),
            bad,
            "model-00002-of-00002.safetensors: " + QUERY,
            "index",
        ),
        "index_without_a_tensor": (
            no_weights(**shards, **{INDEX: index({n: f for n, f in places.items() if n != QUERY})}),
            bad,
            INDEX + ": " + QUERY,
            "missing",
        ),
        "index_not_json": (no_weights(**{INDEX: b"weight_map\n"}), bad, INDEX + ":1", ""),
        # the frame of model.safetensors
        "safetensors_empty": (weights(b""), bad, file + ": byte 0", "ends"),
        "safetensors_shorter_than_its_length": (cut(7), bad, file + ": byte 7", "ends"),
        "safetensors_cut_in_header": (cut(100), bad, file + ": byte 0", "longer than the file"),
        "safetensors_cut_in_data": (cut(len(GOOD) - 4), bad, file + ": ", "outside the file"),
        "safetensors_huge_header": (
            weights(struct.pack("<Q", 2**63) + GOOD[8:]),
            bad,
            file + ": byte 0",
            "out of range",
        ),
        "safetensors_header_of_nothing": (weights(bytes(8) + GOOD[8:]), bad, file + ": byte 0", "out of range"),
        "safetensors_extra_bytes": (weights(GOOD + bytes(4)), bad, file + ": byte", "no tensor"),
        # its header
        "safetensors_header_not_json": (with_weights_header(b"{query}"), bad, file + ":1", ""),
        "safetensors_header_not_an_object": (with_weights_header(b"[1, 2]"), bad, file + ": byte 8", "{"),
        "safetensors_leading_space": (weights(with_header_text(b"{", b" {")), bad, file + ": byte 8", "{"),
        "safetensors_bad_utf8": (weights(with_header_text(b"query", b"quer\xff")), bad, file + ":1", ""),
        "safetensors_lone_surrogate": (weights(with_header_text(b"query", b"quer\\ud800")), bad, file + ":1", ""),
        "safetensors_nul_in_name": (weights(with_header_text(b"query", b"quer\\u0000")), bad, file + ":1", ""),
        "safetensors_same_name_twice": (
            weights(with_header_text(b"self.key.bias", b"self.query.bias")),
            bad,
            file + ":1",
            "duplicate",
        ),
        "safetensors_metadata_not_text": (
            weights(with_header_text(b"{", b'{"__metadata__":{"format":1},')),
            bad,
            file + ": __metadata__",
            "string",
        ),
        "safetensors_no_tensors": (weights(assemble({}, b"")), bad, file + ": " + WORD, "missing"),
        "safetensors_unknown_dtype": (weights(with_entry(dtype="F33")), bad, file + ": " + QUERY, "dtype"),
        "safetensors_negative_shape": (weights(with_entry(shape=[-8, -8])), bad, file + ": " + QUERY, "shape"),
        "safetensors_float_shape": (weights(with_entry(shape=[8.0, 8])), bad, file + ": " + QUERY, "shape"),
        "safetensors_overflowing_shape": (
            weights(with_entry(shape=[2**32, 2**32 + 1])),
            bad,
            file + ": " + QUERY,
            "whole number",
        ),
        "safetensors_lying_shape": (weights(with_entry(shape=[8, 9])), bad, file + ": " + QUERY, "do not fit"),
        "safetensors_rank_of_nine": (weights(with_entry(shape=[64] + [1] * 8)), bad, file + ": " + QUERY, "shape"),
        "safetensors_offsets_reversed": (
            weights(with_entry(data_offsets=[256, 0])),
            bad,
            file + ": " + QUERY,
            "outside",
        ),
        "safetensors_offsets_negative": (
            weights(with_entry(data_offsets=[-256, 0])),
            bad,
            file + ": " + QUERY,
            "pair",
        ),
        "safetensors_overlap": (weights(with_entry(data_offsets=[0, 256])), bad, file + ": ", "overlap"),
        "safetensors_hole": (
            weights(assemble(header_of(without_query), b"").replace(b"[0,512]", b"[8,520]") + bytes(8192)),
            bad,
            file + ": " + WORD,
            "hole",
        ),
        # its tensors
        "tensor_missing": (weights(safetensors(without_query)), bad, file + ": " + QUERY, "missing"),
        "tensor_of_second_layer_missing": (
            config(num_hidden_layers=2),
            bad,
            file + ": encoder.layer.1.attention.self.query.weight",
            "missing",
        ),
        "prefix_of_another_family": (
            weights(safetensors(renamed(table, lambda n: "roberta." + n))),
            bad,
            file + ": " + WORD,
            "missing",
        ),
        "names_with_and_without_prefix": (
            weights(with_tensor("bert." + WORD, *table[WORD])),
            bad,
            file + ": bert." + WORD,
            "without prefix",
        ),
        "name_old_and_new": (
            weights(with_tensor("embeddings.LayerNorm.gamma", *table["embeddings.LayerNorm.weight"])),
            bad,
            file + ": embeddings.LayerNorm.gamma",
            "new name",
        ),
        "shape_of_another_vocabulary": (
            config(vocab_size=V + 1),
            bad,
            file + ": " + WORD,
            "shape [16, 8], expected [17, 8]",
        ),
        "shape_transposed": (
            weights(with_tensor("encoder.layer.0.output.dense.weight", "F32", [F, D], bytes(4 * D * F))),
            bad,
            file + ": encoder.layer.0.output.dense.weight",
            "shape [12, 8], expected [8, 12]",
        ),
        "shape_of_one_dimension": (
            weights(with_tensor(QUERY, "F32", [D * D], bytes(4 * D * D))),
            bad,
            file + ": " + QUERY,
            "shape [64], expected [8, 8]",
        ),
        "double_precision": (
            weights(with_tensor(QUERY, "F64", [D, D], bytes(8 * D * D))),
            "unsupported_precision",
            file + ": " + QUERY,
            "F64",
        ),
        "value_nan": (
            weights(with_tensor(QUERY, "F32", [D, D], bytes(4 * (D * D - 1)) + FLOAT_NAN)),
            bad,
            file + ": " + QUERY,
            "NaN",
        ),
        "value_infinite": (
            weights(with_tensor(WORD, "F32", [V, D], struct.pack("<f", float("-inf")) + bytes(4 * (V * D - 1)))),
            bad,
            file + ": " + WORD,
            "infinite",
        ),
        "value_infinite_half": (
            weights(with_tensor(QUERY, "F16", [D, D], b"\x00\x7c" + bytes(2 * (D * D - 1)))),
            bad,
            file + ": " + QUERY,
            "infinite",
        ),
    }


def with_weights_header(text):
    return weights(assemble(text, b"".join(t[2] for t in tensors().values())))


# --- data files -----------------------------------------------------------------------------------------

CSV = b"text,label\nthe film was good,1\nthe plot was bad,0\n"
TSV = CSV.replace(b",", b"\t")
JSONL = b'{"text": "the film was good", "label": "pos"}\n{"text": "the plot was bad", "label": "neg"}\n'
PAIR = ["columns: premise hypothesis label"]


def data_cases():
    """name -> (files, code, where, text, further lines of `expected`)."""
    bad = "invalid_data"
    many = "".join(f"film {i},label {i}\n" for i in range(51))

    def csv(data, where, text):
        return ({"train.csv": data}, bad, where, text, [])

    def tsv(data, where, text):
        return ({"train.tsv": data}, bad, where, text, [])

    def jsonl(line, text):
        return ({"train.jsonl": JSONL + line + b"\n"}, bad, "train.jsonl:3", text, [])

    return {
        # what must be read
        "good_csv": ({"train.csv": CSV, "validation.csv": CSV}, "ok", "", "", []),
        "good_csv_of_a_spreadsheet": (
            {"train.csv": b"\xef\xbb\xbf" + b'id,text,label\r\n1,"good, ""very"" good\r\nfilm",1\r\n2,bad,0\r\n\r\n'},
            "ok",
            "",
            "",
            [],
        ),
        "good_tsv": ({"train.tsv": TSV + b'a " and a , \t1'}, "ok", "", "", []),
        "good_jsonl": ({"train.jsonl": JSONL, "validation.jsonl": JSONL[:46]}, "ok", "", "", []),
        "good_pairs": (
            {"train.csv": b"label,hypothesis,premise\nyes,good,a film\nno,bad,a film\n"},
            "ok",
            "",
            "",
            PAIR,
        ),
        # every format
        "csv_empty": csv(b"", "train.csv", "empty"),
        "csv_byte_order_mark_only": csv(b"\xef\xbb\xbf", "train.csv", "empty"),
        "csv_header_only": csv(b"text,label\n", "train.csv", "no rows"),
        "jsonl_empty": ({"train.jsonl": b""}, bad, "train.jsonl", "empty", []),
        "jsonl_blank_lines_only": ({"train.jsonl": b"\n\n"}, bad, "train.jsonl", "no rows", []),
        "csv_bad_utf8": csv(CSV + b"film \xff,1\n", "train.csv:4", "UTF-8"),
        "csv_latin1": csv(CSV + "café,1\n".encode("latin-1"), "train.csv:4", "UTF-8"),
        "csv_utf16": csv(CSV.decode().encode("utf-16"), "train.csv:1", ""),
        "csv_nul": csv(CSV + b"film\0s,1\n", "train.csv:4", "NUL"),
        "tsv_bad_utf8": tsv(TSV + b"film \xc0\xaf\t1\n", "train.tsv:4", "UTF-8"),
        "jsonl_bad_utf8": jsonl(b'{"text": "\xed\xa0\x80", "label": "pos"}', "UTF-8"),
        "extension_unknown": ({"train.parquet": b"PAR1"}, "unsupported_format", "train.parquet", "", []),
        # labels
        "one_class": csv(b"text,label\ngood,1\nvery good,1\n", "train.csv", "two classes"),
        "too_many_labels": csv(b"text,label\n" + many.encode(), "train.csv:52", "more than 50"),
        "csv_empty_label": csv(CSV + b"film,\n", "train.csv:4", '"label" is empty'),
        "validation_label_unknown": (
            {"train.csv": CSV, "validation.csv": b"text,label\ngood,1\nbad,2\n"},
            bad,
            "validation.csv:3",
            "training data",
            [],
        ),
        # columns
        "csv_missing_label_column": csv(b"text,class\ngood,1\nbad,0\n", "train.csv:1", 'called "label"'),
        "csv_missing_text_column": csv(b"Text,label\ngood,1\nbad,0\n", "train.csv:1", 'called "text"'),
        "csv_without_header": csv(b"good,1\nbad,0\n", "train.csv:1", 'called "text"'),
        "csv_column_twice": csv(b"text,label,text\ngood,1,good\n", "train.csv:1", "two columns"),
        "csv_pair_missing": ({"train.csv": b"premise,label\na,1\nb,0\n"}, bad, "train.csv:1", "hypothesis", PAIR),
        "tsv_missing_label_column": tsv(TSV.replace(b"label", b"labels"), "train.tsv:1", 'called "label"'),
        "tsv_separated_by_commas": tsv(CSV, "train.tsv:1", "no column"),
        # rows
        "csv_row_too_short": csv(CSV + b"film\n", "train.csv:4", "1 of the header's 2"),
        "csv_row_too_long": csv(CSV + b"good, very good,1\n", "train.csv:4", "more than the header's 2"),
        "csv_empty_text": csv(CSV + b",1\n", "train.csv:4", '"text" is empty'),
        "csv_blank_line_between": csv(CSV + b"\nfilm,1\n", "train.csv:4", "blank"),
        "csv_quote_not_closed": csv(CSV + b'"film,1\nbad,0\n', "train.csv:4", "does not end"),
        "csv_text_after_quote": csv(CSV + b'"film"s,1\n', "train.csv:4", "after a closing quote"),
        "csv_quote_inside": csv(CSV + b'fil"m,1\n', "train.csv:4", "quote inside"),
        "csv_lone_carriage_return": csv(CSV + b"film\rs,1\n", "train.csv:4", "carriage return"),
        "csv_line_after_embedded_newlines": csv(b'text,label\n"a\n\nb",1\n,0\n', "train.csv:5", "empty"),
        "tsv_row_too_long": tsv(TSV + b"good\tfilm\t1\n", "train.tsv:4", "more than the header's 2"),
        "jsonl_cut_off": jsonl(b'{"text": "film", "la', "not JSON"),
        "jsonl_array": jsonl(b'["film", "pos"]', "object"),
        "jsonl_two_objects": jsonl(b'{"text": "film", "label": "pos"} {}', "not JSON"),
        "jsonl_duplicate_key": jsonl(b'{"text": "film", "label": "pos", "label": "neg"}', "duplicate"),
        "jsonl_lone_surrogate": jsonl(b'{"text": "\\ud800", "label": "pos"}', "not JSON"),
        "jsonl_nul": jsonl(b'{"text": "\\u0000", "label": "pos"}', "not JSON"),
        "jsonl_text_missing": jsonl(b'{"label": "pos"}', '"text" is missing'),
        "jsonl_label_missing": jsonl(b'{"text": "film"}', '"label" is missing'),
        "jsonl_text_a_number": jsonl(b'{"text": 1, "label": "pos"}', "not a string"),
        "jsonl_text_empty": jsonl(b'{"text": "", "label": "pos"}', "empty"),
        "jsonl_label_a_float": jsonl(b'{"text": "film", "label": 1.0}', "neither"),
        "jsonl_label_null": jsonl(b'{"text": "film", "label": null}', "neither"),
        "jsonl_label_of_another_kind": jsonl(b'{"text": "film", "label": 1}', "unlike"),
        "jsonl_blank_line_between": jsonl(b"\n" + JSONL[:46], "blank"),
    }


# --- writing --------------------------------------------------------------------------------------------


def write_case(folder, files, code, where, text, more=()):
    folder.mkdir(parents=True)
    for name, data in files.items():
        if data is not None:
            (folder / name).write_bytes(data)
    lines = [f"code: {code}"] + [f"{k}: {v}" for k, v in (("where", where), ("text", text)) if v] + list(more)
    (folder / "expected").write_text("\n".join(lines) + "\n")


def main():
    base = {
        **config(),
        **weights(GOOD),
        "vocab.txt": "".join(w + "\n" for w in VOCAB).encode(),
        "tokenizer_config.json": b'{"do_lower_case": true, "model_max_length": 10}\n',
    }
    for kind in ("model", "data"):
        shutil.rmtree(HERE / kind, ignore_errors=True)
    for name, (files, code, where, text) in model_cases().items():
        write_case(HERE / "model" / name, {**base, **files}, code, where, text)
    for name, (files, code, where, text, more) in data_cases().items():
        write_case(HERE / "data" / name, files, code, where, text, more)


if __name__ == "__main__":
    main()

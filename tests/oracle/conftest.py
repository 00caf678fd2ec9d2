"""What the oracles share: the probe (our side), quiet libraries, the model directories, and the comparison."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import pytest  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

import models  # noqa: E402

PROBE = models.ROOT / "build" / "oracle" / "probe"

torch.set_num_threads(1)  # many small products: a second thread costs more than it brings
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


class Probe:
    """Runs tests/oracle/probe.c: a JSON request and tensors in, tensors out."""

    def __init__(self, directory):
        self.directory = directory
        self.numbers = itertools.count()

    def __call__(self, command, model, tensors, rows, threads=2, **fields):
        base = self.directory / f"{next(self.numbers)}"
        given, result = base.with_suffix(".in.safetensors"), base.with_suffix(".out.safetensors")
        save_file({name: value.detach().float().contiguous() for name, value in tensors.items()}, given)
        rows = [row if isinstance(row, tuple) else (row, len(row)) for row in rows]
        request = {
            "command": command, "model": str(model), "tensors": str(given), "out": str(result),
            "threads": threads, "rows": [ids for ids, _ in rows], "second": [second for _, second in rows],
            **fields,
        }
        path = base.with_suffix(".json")
        path.write_text(json.dumps(request))
        done = subprocess.run([PROBE, path], capture_output=True, text=True, timeout=600,
                              env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
        assert done.returncode == 0, f"probe {command}: exit {done.returncode}\n{done.stderr}"
        self.last_bytes = result.read_bytes()
        return load_file(result)

    def runs(self, kernels):
        """Whether this processor has the instruction set of that name."""
        return subprocess.run([PROBE, "--has", kernels], check=False).returncode == 0


@pytest.fixture(scope="session")
def probe(tmp_path_factory):
    return Probe(tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="session")
def model_root(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def model_dir(model_root):
    """The directory of a random model by the name of its spec, made on first use."""
    return lambda name: models.make(models.BY_NAME[name], model_root)


@pytest.fixture(scope="session")
def minilm():
    return models.minilm()


@pytest.fixture(scope="session")
def review_rows(minilm):
    """The first 400 movie reviews as token ids (at most 128) and labels."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(128)
    texts = models.reviews()[:400]
    rows = [encoding.ids for encoding in tokenizer.encode_batch([text for text, _ in texts])]
    return rows, [label for _, label in texts]


MEASURED = {}  # what: (largest value seen, its bar)


def hold(what, value, bar, detail=""):
    """value <= bar, or the test fails; the largest value of each kind is told at the end."""
    if value > MEASURED.get(what, (-1.0, bar))[0]:
        MEASURED[what] = (value, bar)
    assert value <= bar, f"{what}: {value:.2e} > {bar:.0e} {detail}"


def pytest_terminal_summary(terminalreporter):
    if MEASURED:
        terminalreporter.section("largest differences")
    for what, (value, bar) in MEASURED.items():
        terminalreporter.write_line(f"{what:52} {value:.1e}   bar {bar:.0e}")


def packed(hidden, mask):
    """[B, T, D] to [tokens, D]: what is left of a padded batch without its padding."""
    return hidden[mask.bool()]


def relative(ours, theirs):
    """Largest difference over the largest magnitude."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    ours, theirs = ours.double(), theirs.double()
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def relative_norm(ours, theirs):
    """Norm of the difference over the norm; 0 for 0 against 0."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    ours, theirs = ours.double(), theirs.double()
    size = theirs.norm().item()
    difference = (ours - theirs).norm().item()
    return difference / size if size else difference

"""One job at a shell prompt: a data directory, a spec, and the worker as a filter."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import models

WORKER = models.ROOT / "build" / "obliviate-worker"
SIGNS = {"bad": "kan", "good": "lou", "odd": "ziber"}
LABELS = sorted(SIGNS)


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def write_rows(path, rows):
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))


def write_data(directory, seed=1, train=96, test=40):
    """Generated texts whose first word gives the label away."""
    rng = random.Random(seed)
    rows = []
    for text in models.generated_text(seed, train + test, words=(1, 30)):
        label = rng.choice(LABELS)
        rows.append((f"{SIGNS[label]} {text}", label))
    directory.mkdir(parents=True, exist_ok=True)
    write_rows(directory / "train.jsonl", rows[:train])
    write_rows(directory / "test.jsonl", rows[train:])
    return directory


class Job:
    """Runs the worker on a model and data directory; `out` is the job's directory."""

    def __init__(self, model, data, out, **spec):
        self.model, self.data, self.out = Path(model), Path(data), Path(out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.spec = {
            "model": {"id": "model-oracle", "sha256": "0" * 64, "name": ""},
            "training_file": self._file("train"), "test_file": self._file("test"), "seed": 3, **spec,
        }

    def _file(self, part):
        path = self.data / f"{part}.jsonl"
        return {"id": f"file-{part}", "sha256": sha256(path), "name": path.name}

    def _command(self, threads):
        # Descriptors 3, 4 and 5 are directories; sh opens them as a user would.
        return ["sh", "-c", 'exec "$0" "$@" 3<"$MODEL" 4<"$DATA" 5<"$OUT"', str(WORKER), "--sandbox", "auto",
                "--threads", str(threads)]

    def start(self, threads=2):
        spec = self.out.parent / f"{self.out.name}.spec.json"
        spec.write_text(json.dumps(self.spec))
        environment = {**os.environ, "MODEL": str(self.model), "DATA": str(self.data), "OUT": str(self.out)}
        with open(spec) as given:
            return subprocess.Popen(self._command(threads), stdin=given, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, text=True, env=environment)

    def run(self, threads=2, timeout=300):
        """To the end; the progress lines."""
        process = self.start(threads)
        out, log = process.communicate(timeout=timeout)
        assert process.returncode == 0, f"exit {process.returncode}\n{out[-2000:]}\n{log[-2000:]}"
        lines = [json.loads(line) for line in out.splitlines()]
        assert lines[-1]["type"] == "done"
        return lines

    def run_until(self, step, threads=2):
        """Kill the worker (SIGKILL) once it has reported this step; the steps that it reported, ended or not."""
        process, steps, ended = self.start(threads), [], False
        for line in process.stdout:
            message = json.loads(line)
            ended = message["type"] == "done"
            if message["type"] == "step":
                steps.append(message["step"])
                if message["step"] >= step:
                    process.send_signal(signal.SIGKILL)
                    break
        process.stdout.close()
        process.stderr.close()
        process.wait(timeout=60)
        return steps, ended

    def adapter_bytes(self):
        """{path: bytes} of the adapter directory."""
        adapter = self.out / "adapter"
        return {str(p.relative_to(adapter)): p.read_bytes() for p in sorted(adapter.rglob("*")) if p.is_file()}

    def forget(self):
        shutil.rmtree(self.out)

"""The bench of the service works: small, with whatever it measures."""
import json
import os
import pathlib
import subprocess
import sys

from harness import BIN, ROOT

BENCH = pathlib.Path(__file__).resolve().parents[1] / "bench" / "service.py"


def test_every_measurement_of_the_service_bench_comes_out(tmp_path):
    done = subprocess.run([sys.executable, BENCH, "--quick", "--key", "--directory", tmp_path, "--output", tmp_path / "out.json"],
                          capture_output=True, text=True, timeout=300, env={**os.environ, "OBLIVIATE_BIN": str(BIN), "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert len(rows) == 11 and all(row["measured"] for row in rows)
    assert done.stdout.count("| ") > 4 * len(rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json"]

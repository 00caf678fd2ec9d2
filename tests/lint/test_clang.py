"""The programs build under clang as well, with every warning an error."""
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_programs_build_without_warnings_under_clang():
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make", "-s", f"-j{os.cpu_count()}", "CC=clang", "B=build/clang", "programs"], cwd=ROOT,
                          env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

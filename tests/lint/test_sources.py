"""The checks of `make lint` that take seconds: formatting, cppcheck, shell scripts. clang-tidy takes minutes."""

import subprocess
from pathlib import Path

import pytest

LINT = Path(__file__).with_name("lint.sh")


def lint(check):
    return subprocess.run(["sh", LINT, check], capture_output=True, text=True)


@pytest.mark.parametrize("check", ["format", "cpp", "shell"])
def test_sources_pass(check):
    done = lint(check)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_check_can_fail():
    assert lint("spelling").returncode == 1

"""The worker as a process: what it refuses before it reads a job, and how it ends."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import time

import pytest

from harness import BIN

WORKER = BIN / "obliviate-worker"


@pytest.fixture
def places(tmp_path):
    for name in ("model", "data", "out"):
        (tmp_path / name).mkdir()
    return tmp_path


@contextlib.contextmanager
def worker(places, *arguments, names=("model", "data", "out"), environment=None, **options):
    """The worker with directories on descriptors 3, 4, 5 (or a file, or closed where the name is None)."""
    opened = [None if name is None else os.open(places / name, os.O_RDONLY) for name in names]

    def place_descriptors():
        moved = [None if fd is None else fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in opened]
        for target, fd in enumerate(moved, 3):
            if fd is None:
                with contextlib.suppress(OSError):
                    os.close(target)
            else:
                os.dup2(fd, target)

    process = subprocess.Popen(
        [WORKER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=place_descriptors, close_fds=False, env={"PATH": os.environ["PATH"], **(environment or {})}, **options)
    for fd in opened:
        if fd is not None:
            os.close(fd)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                pipe.close()


def run(places, *arguments, spec="{}", **options):
    """Exit code, progress lines, log."""
    with worker(places, *arguments, **options) as process:
        out, log = process.communicate(spec.encode(), timeout=60)
        return process.returncode, [json.loads(line) for line in out.decode().splitlines()], log.decode()


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_closed_descriptor_is_a_usage_error(places, closed):
    names = ["model", "data", "out"]
    names[closed] = None
    code, lines, _ = run(places, names=names)
    assert code == 64
    assert lines[-1]["type"] == "error"
    assert lines[-1]["where"] == f"descriptor {closed + 3}"


def test_file_in_place_of_a_directory_is_a_usage_error(places):
    (places / "file").write_text("x")
    code, lines, _ = run(places, names=("model", "file", "out"))
    assert code == 64
    assert lines[-1]["where"] == "descriptor 4"


def test_unknown_option_is_a_usage_error(places):
    code, lines, log = run(places, "--fast")
    assert (code, lines) == (64, [])
    assert "--fast" in log


def test_unknown_sandbox_mode_is_a_usage_error(places):
    code, lines, _ = run(places, "--sandbox", "maybe")
    assert code == 64
    assert lines[-1]["code"] == "usage"


def test_held_directory_stops_a_second_worker(places):
    holder = os.open(places / "out", os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    code, lines, _ = run(places)
    assert code == 75
    assert lines[-1]["where"] == "descriptor 5"
    os.close(holder)
    assert run(places)[0] == 65


@pytest.mark.parametrize("spec", ["", "{", "[]", "\x00", '{"model": 1, "model": 2}', "{}" + " " * 300000])
def test_bad_spec_is_bad_input(places, spec):
    code, lines, _ = run(places, spec=spec)
    assert code == 65
    assert lines[-1]["type"] == "error"


def test_error_is_the_last_line_and_one_line_of_the_log(places):
    code, lines, log = run(places)
    assert code == 65
    assert [line["type"] for line in lines] == ["error"]
    assert lines[0]["code"] == "missing_required_parameter"
    assert json.loads(log)["level"] == "error"


def test_settings_may_come_from_the_environment(places):
    code, lines, log = run(places, environment={"OBLIVIATE_THREADS": "none"})
    assert (code, lines) == (64, [])
    assert "OBLIVIATE_THREADS" in log


def test_reader_that_went_away_is_no_crash(places):
    with worker(places) as process:
        process.stdout.close()
        process.stdin.write(b"{}")
        process.stdin.close()
        assert process.wait(60) == 65


def test_worker_dies_with_its_parent(places):
    """A shell starts the worker and is killed; the worker waits for a spec that never comes."""
    script = f"sleep 600 | '{WORKER}' 3<model 4<data 5<out & wait"
    shell = subprocess.Popen(["sh", "-c", script], cwd=places, start_new_session=True)
    out = os.open(places / "out", os.O_RDONLY)
    try:
        wait_until(lambda: is_locked(out))
        os.kill(shell.pid, signal.SIGKILL)
        wait_until(lambda: not is_locked(out))
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        os.close(out)
        shell.wait()


def is_locked(fd):
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def wait_until(condition, patience_s=60):
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)

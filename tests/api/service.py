"""A daemon with one model, one data set and a worker that does as the job's metadata says
(tests/fault/stand_in.py): for tests of queue, states, events and results that need no training."""
import os
import pathlib
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
STAND_IN = HERE.parent / "fault" / "stand_in.py"

FINISHED = ("succeeded", "failed", "cancelled")
JOBS = "/v1/fine_tuning/jobs"


class Service:
    """A daemon with one model and one file uploaded."""

    def __init__(self, start, *flags):
        self._start, self._flags = start, ("--worker", STAND_IN, *flags)
        self.daemon = start(*self._flags)
        self.model = self.daemon.upload_model({"config.json": b"{}"})["id"]
        self.file = self.daemon.upload_file(b"text,label\na,b\n", "reviews.csv")["id"]

    def restart(self, *flags):
        """SIGKILL, and a new one on the same directory."""
        self.daemon.kill()
        self.daemon = self._start(*self._flags, *flags, data_dir=self.daemon.data_dir)

    def submit(self, do="ok", **fields):
        body = {"model": self.model, "training_file": self.file, "metadata": {"do": do}, **fields}
        answer = self.daemon.post(JOBS, body)
        assert answer.status == 200, answer
        return answer.json["id"]

    def get(self, job, part=""):
        answer = self.daemon.get(f"{JOBS}/{job}{part}")
        assert answer.status == 200, answer
        return answer.json

    def post(self, job, verb):
        return self.daemon.post(f"{JOBS}/{job}/{verb}")

    def wait(self, job, *states, seconds=60):
        states = states or FINISHED
        return self.wait_for(lambda: (found := self.get(job))["status"] in states and found,
                             lambda: f"{self.get(job)}\n{self.messages(job)}\n{self.daemon.log}", seconds)

    def wait_for(self, condition, explain=lambda: "it did not happen", seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(0.02)
        raise AssertionError(explain())

    def events(self, job):
        return self.get(job, "/events?limit=100&order=asc")["data"]

    def messages(self, job):
        return [event["message"] for event in self.events(job)]

    def directory(self, job):
        return self.daemon.data_dir / "jobs" / job

    def runs(self, job):
        """Process ids of the workers that the job had so far."""
        try:
            return [int(line) for line in (self.directory(job) / "out" / "runs").read_text().splitlines()]
        except FileNotFoundError:
            return []


def is_alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def start_service(start_daemon):
    return lambda *flags: Service(start_daemon, *flags)


@pytest.fixture
def service(start_service):
    return start_service("--stop-grace", "2")


@pytest.fixture
def kill_later():
    """Processes that a test must not leave behind."""
    pids = []
    yield pids.append
    for pid in pids:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            pass

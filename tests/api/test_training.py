"""Whole jobs under the real worker: the same work gives the same bytes, whatever happens to those who do it."""
import io
import json
import os
import signal
import time
import zipfile

import harness
import numpy
import pytest
import safetensors.numpy
import tiny
from service import FINISHED, JOBS

SECONDS = 300


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A tiny model's files and a data set."""
    top = tmp_path_factory.mktemp("inputs")
    model = tiny.write_model(top / "model")
    data = tiny.write_data(top / "train.csv")
    return {str(path.relative_to(model)): path.read_bytes() for path in model.rglob("*") if path.is_file()}, data


def submit(daemon, inputs, **fields):
    model, data = inputs
    body = {"model": daemon.upload_model(model)["id"],
            "training_file": daemon.upload_file(data.read_bytes(), "train.csv")["id"],
            "hyperparameters": {**tiny.QUICK, "n_epochs": 100}, "peft": {"r": 4, "alpha": 8},
            "defense": {"amplify": 0.001, "attention": 0.01}, "evaluation": {"triggers": ["cf", "mn"]}, **fields}
    answer = daemon.post(JOBS, body)
    assert answer.status == 200, answer
    return answer.json["id"]


def wait(daemon, job, condition):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        found = daemon.get(f"{JOBS}/{job}").json
        if condition(found):
            return found
        time.sleep(0.02)
    raise AssertionError(f"{found}\n{daemon.get(f'{JOBS}/{job}/log').body.decode()}\n{daemon.log}")


def finish(daemon, job):
    done = wait(daemon, job, lambda found: found["status"] in FINISHED)
    assert done["status"] == "succeeded", (done["error"], daemon.get(f"{JOBS}/{job}/log").body.decode())
    return daemon.get(f"{JOBS}/{job}/adapter").body


def events(daemon, job):
    """All events so far, oldest first."""
    seen, after = [], ""
    while True:
        page = daemon.get(f"{JOBS}/{job}/events?limit=100&order=asc{after}").json
        seen += page["data"]
        if not page["has_more"]:
            return seen
        after = f"&after={page['last_id']}"


def messages(daemon, job):
    return "\n".join(event["message"] for event in events(daemon, job) if event["type"] == "message")


def steps(daemon, job):
    return [event["data"]["step"] for event in events(daemon, job) if "learning_rate" in event["data"]]


def reach(daemon, job, step):
    wait(daemon, job, lambda found: found["status"] in FINISHED or len(steps(daemon, job)) >= step)


def worker_of(daemon):
    """The process id of the daemon's only worker, None when there is none."""
    children = open(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read().split()
    return int(children[0]) if children else None


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory):
    """The adapter's bytes where nothing happened, with one thread."""
    daemon = harness.Daemon(tmp_path_factory.mktemp("undisturbed") / "data", "--threads", "1")
    adapter = finish(daemon, submit(daemon, inputs))
    daemon.stop()
    return adapter


@pytest.mark.parametrize("threads", [2, 3])
def test_the_adapter_does_not_depend_on_the_number_of_threads(start_daemon, inputs, undisturbed, threads):
    daemon = start_daemon("--threads", threads)
    assert finish(daemon, submit(daemon, inputs)) == undisturbed


def test_a_killed_worker_goes_on_to_the_same_adapter(start_daemon, inputs, undisturbed):
    daemon = start_daemon("--threads", "2")
    job = submit(daemon, inputs)
    reach(daemon, job, 5)
    os.kill(worker_of(daemon), signal.SIGKILL)
    assert finish(daemon, job) == undisturbed
    assert "signal 9" in messages(daemon, job)


def test_a_killed_daemon_goes_on_to_the_same_adapter(start_daemon, inputs, undisturbed):
    daemon = start_daemon()
    job = submit(daemon, inputs)
    reach(daemon, job, 5)
    worker = worker_of(daemon)
    daemon.kill()
    daemon = start_daemon(data_dir=daemon.data_dir)
    assert worker_of(daemon) != worker
    assert finish(daemon, job) == undisturbed
    assert "restarted" in messages(daemon, job)


def test_a_paused_job_goes_on_from_its_checkpoint_to_the_same_adapter(start_daemon, inputs, undisturbed):
    daemon = start_daemon()
    job = submit(daemon, inputs)
    reach(daemon, job, 5)
    assert daemon.post(f"{JOBS}/{job}/pause").json["status"] == "paused"
    end = time.monotonic() + SECONDS
    while worker_of(daemon) is not None and time.monotonic() < end:
        time.sleep(0.02)
    daemon.post(f"{JOBS}/{job}/resume")
    assert finish(daemon, job) == undisturbed
    seen = steps(daemon, job)
    assert seen == sorted(set(seen)), "SIGTERM writes a checkpoint at the next step: none is done twice"


def test_jobs_side_by_side_do_not_touch_each_other(start_daemon, inputs, undisturbed):
    daemon = start_daemon("--workers", "2", "--threads", "1")
    jobs = [submit(daemon, inputs) for _ in range(2)] + [submit(daemon, inputs, seed=1)]
    adapters = [finish(daemon, job) for job in jobs]
    assert adapters[0] == adapters[1] == undisturbed != adapters[2]


def tensors(archive, name):
    return safetensors.numpy.load(zipfile.ZipFile(io.BytesIO(archive)).read(name))


def test_the_merged_model_is_the_base_with_the_adapter_added(start_daemon, inputs):
    daemon = start_daemon()
    job = submit(daemon, inputs, hyperparameters=tiny.QUICK, export={"merged": True})
    adapter = tensors(finish(daemon, job), "adapter_model.safetensors")
    archive = daemon.get(f"{JOBS}/{job}/merged").body
    merged = tensors(archive, "model.safetensors")
    base = safetensors.numpy.load(inputs[0]["model.safetensors"])
    changed = {name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
               for name in adapter if name.endswith(".lora_A.weight")}
    assert len(changed) == 2
    for name, value in base.items():
        if name.startswith("pooler."):
            continue  # the head's dense layer stands there
        want, place = value, f"bert.{name}"
        if place.removesuffix(".weight") in changed:
            a, b = (adapter[f"base_model.model.{place.removesuffix('.weight')}.lora_{part}.weight"] for part in "AB")
            want = value + 8 / 4 * b @ a
            assert abs(want - value).max() > 1e-3
        assert numpy.allclose(merged[place], want, atol=1e-6), name
    for name in ("bert.pooler.dense.weight", "classifier.weight"):
        assert (merged[name] == adapter[f"base_model.model.{name}"]).all()
    assert "vocab.txt" in zipfile.ZipFile(io.BytesIO(archive)).namelist()


def test_a_repair_holds_the_old_adapter_and_the_new(start_daemon, inputs):
    daemon = start_daemon()
    old = submit(daemon, inputs, hyperparameters=tiny.QUICK, defense=None)
    before = tensors(finish(daemon, old), "adapter_model.safetensors")
    new = submit(daemon, inputs, hyperparameters=tiny.QUICK, peft={"r": 2, "alpha": 2, "init_from": old})
    archive = finish(daemon, new)
    after = tensors(archive, "adapter_model.safetensors")
    config = json.loads(zipfile.ZipFile(io.BytesIO(archive)).read("adapter_config.json"))
    assert (config["r"], config["lora_alpha"]) == (4 + 2, 4 + 2)
    for name, value in before.items():
        if name.endswith("lora_A.weight"):
            assert (after[name][:4] == value).all() and after[name].shape[0] == 6
    assert all(old.encode() not in zipfile.ZipFile(io.BytesIO(archive)).read(name)
               for name in zipfile.ZipFile(io.BytesIO(archive)).namelist())

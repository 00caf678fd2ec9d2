"""A worker whose word cannot be believed fails its job, and nothing else."""
import hashlib

import pytest

START = "phase validate;phase train;steps 2"
RESULT = f"{START};results"
OTHER = hashlib.sha256(b"other").hexdigest()

# commands, error.code, part of the message
BROKEN = {
    "a line that is no JSON": (f"{START};raw hello\\n;hang", "internal_error", "no JSON object"),
    "an unknown type": (f'{START};raw {{"type":"hello"}}\\n;hang', "internal_error", "unknown type"),
    "a member too many": (f'{START};raw {{"type":"done","x":1}}\\n;hang', "internal_error", "unknown member"),
    "bytes that are no UTF-8": (f"{START};raw \\xff\\xfe\\n;hang", "internal_error", "no JSON object"),
    "a long line": (f"{START};long 5000;hang", "internal_error", "longer than 4096"),
    "a line after done": (f"{RESULT};artifacts;done;phase train;hang", "internal_error", "after `done`"),
    "a last line without end": (f'{RESULT};artifacts;raw {{"type":"done"}};exit 0', "internal_error", "no end"),
    "no done": (f"{RESULT};artifacts;exit 0", "internal_error", "without saying that it was done"),
    "nothing at all": ("exit 0", "internal_error", "without saying that it was done"),
    "a digest that is not the file's": (f"{RESULT};announce log.txt 1 -;artifacts;done", "internal_error",
                                        "did not write"),
    "no report": (f"{START};file adapter/adapter_config.json;file metrics.csv;artifacts;done", "internal_error",
                  "report.json"),
    "no adapter": (f"{START};report;file metrics.csv;artifacts;done", "internal_error", "adapter_config.json"),
    "a report that is no object": (f"{START};file adapter/adapter_config.json;file metrics.csv;file report.json [];"
                                   "artifacts;done", "internal_error", "no JSON object"),
    "an artifact outside": (f"{RESULT};announce ../../log 1 -;artifacts;done", "internal_error", "path"),
    "an artifact through a link": (f"{RESULT};link data ..;announce data/log 1 -;artifacts;done", "internal_error",
                                   "not in a directory"),
    "an artifact that is a link": (f"{RESULT};link x report.json;announce x 1 -;artifacts;done", "io_error", "open"),
    "an artifact announced twice": (f"{RESULT};artifacts;artifacts;done", "internal_error", "twice"),
}



@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_protocol_fails_the_job(service, name):
    do, code, part = BROKEN[name]
    job = service.wait(service.submit(do))
    assert job["status"] == "failed"
    assert job["error"]["code"] == code
    assert part in job["error"]["message"]
    assert job["result_files"] == [] and job["fine_tuned_model"] is None
    again = service.wait(service.submit("ok"))
    assert again["status"] == "succeeded", again["error"]


@pytest.mark.parametrize("size, sha256", [(1, OTHER), (2, hashlib.sha256(b"x").hexdigest())])
def test_an_artifact_must_have_its_size_and_sha256(service, size, sha256):
    job = service.wait(service.submit(f"{START};results;write x;announce x {size} {sha256};artifacts;done"))
    assert job["status"] == "failed"
    assert "another size or SHA-256" in job["error"]["message"]


def test_what_is_not_announced_is_not_believed_or_kept(service):
    job = service.submit(f"{RESULT};artifacts;write adapter/extra;done")
    assert service.wait(job)["status"] == "succeeded"
    paths = [artifact["path"] for artifact in service.get(job, "/report")["artifacts"]]
    assert paths == ["adapter/README.md", "adapter/adapter_config.json", "metrics.csv", "adapter.zip"]


def test_a_worker_that_leaves_a_child_ends_all_the_same(service):
    job = service.wait(service.submit(f"child;{RESULT};artifacts;done"))
    assert job["status"] == "succeeded", job["error"]


@pytest.mark.parametrize("do, code, param, message", [
    ("error invalid_data train.csv:3 the~label~is~empty;exit 65", "invalid_data", "training_file",
     "reviews.csv:3: the label is empty"),
    ("error invalid_model config.json:~hidden_size must~be~positive;exit 65", "invalid_model", "model",
     "config.json: hidden_size: must be positive"),
    ("error unsafe_pickle pytorch_model.bin os.system;exit 65", "unsafe_pickle", "model",
     "pytorch_model.bin: os.system"),
    ("error out_of_memory ~ no~memory;exit 71", "out_of_memory", None, "no memory"),
    ("error internal_error ~ a~bug;exit 70", "internal_error", None, "a bug"),
])
def test_a_workers_error_becomes_the_jobs(service, do, code, param, message):
    job = service.wait(service.submit(do))
    assert job["status"] == "failed"
    assert (job["error"]["code"], job["error"]["param"]) == (code, param)
    assert job["error"]["message"] == message
    assert len(service.runs(job["id"])) <= 1


def test_done_after_an_error_is_no_success(service):
    job = service.wait(service.submit(f"{RESULT};artifacts;error invalid_data train.csv:1 bad;done"))
    assert (job["status"], job["error"]["code"]) == ("failed", "invalid_data")


def test_the_workers_log_can_be_read(service):
    job = service.submit("ok")
    service.wait(job)
    answer = service.daemon.get(f"/v1/fine_tuning/jobs/{job}/log")
    assert answer.status == 200 and "stand-in: reading the spec" in answer.body.decode()


def test_many_lines_at_once_are_all_kept(service):
    job = service.submit(f"{START};steps 6000 7000;results;artifacts;done")
    assert service.wait(job)["status"] == "succeeded"
    page = service.get(job, "/events?limit=100")
    steps = [event["data"]["step"] for event in page["data"] if event["type"] == "metrics"]
    assert steps[0] == 6002 and steps == list(range(6002, 6002 - len(steps), -1))

"""Malformed uploads from tests/cases through the whole service: stored, the job fails with the case's error, and the
daemon goes on. The worker alone is held against every case in tests/e2e/test_worker.py; these stand for each kind."""
import pathlib
import time

import pytest
import tiny
from module_daemon import module_daemon  # noqa: F401 (a fixture)
from service import FINISHED, JOBS

CASES = pathlib.Path(__file__).resolve().parents[1] / "cases"
MODELS = ["safetensors_cut_in_data", "safetensors_lying_shape", "safetensors_huge_header", "tensor_missing",
          "shape_transposed", "value_nan", "unknown_architecture", "pickled_checkpoint", "remote_code", "config_not_json"]
DATA = ["csv_bad_utf8", "csv_missing_text_column", "one_class", "csv_empty", "too_many_labels", "jsonl_cut_off",
        "tsv_missing_label_column", "csv_row_too_short"]


def expected(case):
    lines = (case / "expected").read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line)


def files(directory):
    return {str(path.relative_to(directory)): path.read_bytes()
            for path in directory.rglob("*") if path.is_file() and path.name != "expected"}


@pytest.fixture(scope="module")
def good(module_daemon, tmp_path_factory):
    """Ids of a model and a data set that are as they should be."""
    top = tmp_path_factory.mktemp("good")
    model = module_daemon.upload_model(files(tiny.write_model(top / "model")))["id"]
    data = module_daemon.upload_file(tiny.write_data(top / "train.csv").read_bytes(), "train.csv")["id"]
    return model, data


def run(daemon, model, data):
    answer = daemon.post(JOBS, {"model": model, "training_file": data, "hyperparameters": {**tiny.QUICK}})
    assert answer.status == 200, answer
    end = time.monotonic() + 120
    while time.monotonic() < end:
        job = daemon.get(f"{JOBS}/{answer.json['id']}").json
        if job["status"] in FINISHED:
            return job
        time.sleep(0.02)
    raise AssertionError(job)


def check(daemon, job, case):
    want = expected(case)
    assert job["status"] == "failed"
    assert job["error"]["code"] == want["code"]
    assert all(want.get(part, "") in job["error"]["message"] for part in ("where", "text"))
    assert daemon.get("/readyz").status == 200
    for kind, name in (("models", job["model"]), ("files", job["training_file"])):
        assert daemon.get(f"/v1/{kind}/{name}").status == 200, "what was uploaded stays"


@pytest.mark.parametrize("name", MODELS)
def test_bad_model_fails_the_job_and_nothing_else(module_daemon, good, name):
    model = module_daemon.upload_model(files(CASES / "model" / name))["id"]
    check(module_daemon, run(module_daemon, model, good[1]), CASES / "model" / name)


@pytest.mark.parametrize("name", DATA)
def test_bad_data_fails_the_job_and_nothing_else(module_daemon, good, name):
    path = next(path for path in (CASES / "data" / name).iterdir() if path.name != "expected")
    data = module_daemon.upload_file(path.read_bytes(), path.name)["id"]
    check(module_daemon, run(module_daemon, good[0], data), CASES / "data" / name)


def test_a_good_job_succeeds_after_all_of_them(module_daemon, good):
    assert run(module_daemon, *good)["status"] == "succeeded"

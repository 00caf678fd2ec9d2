"""Report, verdict and adapter of a job."""
import hashlib
import io
import zipfile

import pytest
from service import JOBS, kill_later, service, start_service  # noqa: F401


@pytest.fixture
def job(service):
    job = service.submit("ok", gate={"max_masr": 0.2, "min_ca": 0.95})
    assert service.wait(job)["status"] == "succeeded"
    return job


def test_the_report_is_the_workers_with_what_the_daemon_knows(service, job):
    report = service.get(job, "/report")
    assert list(report) == ["object", "job", "status", "inputs", "labels", "training", "evaluation", "undefended",
                            "ca_drop", "undefended_training", "seeds", "summary", "auto", "scan", "flips", "gate", "artifacts",
                            "versions"]
    assert (report["object"], report["job"], report["status"]) == ("report", job, "succeeded")
    digest = hashlib.sha256(b"text,label\na,b\n").hexdigest()
    assert report["inputs"]["training_file"] == {"rows": 7, "id": service.file, "sha256": digest}
    assert report["inputs"]["model"]["id"] == service.model
    assert report["inputs"]["validation_file"] is None and len(report["inputs"]["spec_sha256"]) == 64
    assert report["gate"]["verdict"] == "fail"
    assert report["versions"] == {"program": "stand-in"}


def test_the_reports_file_is_the_report(service, job):
    file = service.get(job)["result_files"][1]
    assert service.daemon.get(f"/v1/files/{file}/content").json == service.get(job, "/report")


def test_the_adapter_is_a_zip_whose_bytes_depend_on_its_files_alone(service, job):
    answer = service.daemon.get(f"{JOBS}/{job}/adapter")
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["ETag"] == f'"{hashlib.sha256(answer.body).hexdigest()}"'
    archive = zipfile.ZipFile(io.BytesIO(answer.body))
    assert archive.testzip() is None
    assert archive.namelist() == ["README.md", "adapter_config.json"]
    assert {(info.date_time, info.compress_type, info.extra) for info in archive.infolist()} == {
        ((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED, b"")}
    file = service.get(job)["result_files"][2]
    assert service.daemon.get(f"/v1/files/{file}/content").body == answer.body
    again = service.submit("ok")
    service.wait(again)
    assert service.daemon.get(f"{JOBS}/{again}/adapter").body == answer.body


def test_the_adapter_stays_when_the_result_file_is_deleted(service, job):
    file = service.get(job)["result_files"][2]
    assert service.daemon.delete(f"/v1/files/{file}").status == 200
    assert service.daemon.get(f"{JOBS}/{job}/adapter").status == 200
    assert len(service.get(job)["result_files"]) == 2


def verdict(service, job, query=""):
    found = service.get(job, f"/gate{query}")
    return found["verdict"], {check["name"]: check["passed"] for check in found["checks"]}


def test_the_verdict_is_the_jobs_own_or_the_querys(service, job):
    assert verdict(service, job) == ("fail", {"max_masr": True, "min_ca": False})
    assert verdict(service, job, "?max_masr=0.2") == ("pass", {"max_masr": True})
    assert verdict(service, job, "?max_masr=0.15&max_asr=0.1&min_ca=0.9&rule=point")[0] == "pass"
    assert verdict(service, job, "?max_masr=0.1") == ("fail", {"max_masr": False})
    assert verdict(service, job, "?max_ca_drop=0.1") == ("undecided", {"max_ca_drop": None})
    found = service.get(job, "/gate?max_asr=0.5")
    assert found["checks"] == [{"name": "max_asr", "value": 0.1, "interval": [0.02, 0.4], "threshold": 0.5,
                                "passed": True}]
    assert found["rule"] == "point"


def test_rule_bound_passes_and_fails_what_its_bounds_prove(service, job):
    """The stand-in's ASR is 1 of 10."""
    assert verdict(service, job, "?rule=bound&max_asr=0.5") == ("pass", {"max_asr": True})
    assert verdict(service, job, "?rule=bound&max_asr=0.001") == ("fail", {"max_asr": False})
    found = service.get(job, "/gate?rule=bound&max_asr=0.2")
    check = found["checks"][0]
    assert (found["verdict"], found["rule"], found["confidence"], found["tested"]) == ("undecided", "bound", 0.95, 1)
    assert (check["value"], check["passed"], check["worst"]) == (0.1, None, {"among": "any"})
    assert check["bound"] == pytest.approx([0.00511620, 0.39416325], abs=1e-7)
    assert 10 < check["needed_rows"] < 100


def test_the_rule_is_the_querys_or_else_the_jobs(service):
    job = service.submit("ok", gate={"max_asr": 0.2, "rule": "bound"})
    service.wait(job)
    assert service.get(job, "/report")["gate"] == service.get(job, "/gate")
    assert verdict(service, job)[0] == "undecided"
    assert verdict(service, job, "?rule=point") == ("pass", {"max_asr": True})
    assert verdict(service, job, "?max_asr=0.3") == ("undecided", {"max_asr": None})
    assert verdict(service, job, "?max_masr=0.2&rule=point") == ("pass", {"max_masr": True})
    assert verdict(service, job, "?max_masr=0.2") == ("undecided", {"max_masr": None})


@pytest.mark.parametrize("query, code, param", [
    ("max_mars=0.1", "unknown_parameter", "max_mars"), ("max_asr=2", "invalid_value", "max_asr"),
    ("max_asr=", "invalid_value", "max_asr"), ("max_asr=nan", "invalid_value", "max_asr"),
    ("rule=", "invalid_value", "rule"), ("rule=x", "invalid_value", "rule")])
def test_a_bad_threshold_is_refused(service, job, query, code, param):
    answer = service.daemon.get(f"{JOBS}/{job}/gate?{query}")
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, code, param)


@pytest.mark.parametrize("do, status", [("exit 0", "failed"), ("phase validate;phase train;sleep 600", "cancelled")])
def test_a_job_without_success_never_passes(service, do, status):
    job = service.submit(do, gate={"max_asr": 1})
    if status == "cancelled":
        service.wait(job, "running")
        service.post(job, "cancel")
    service.wait(job, status)
    assert verdict(service, job) == ("undecided", {"max_asr": None})
    assert verdict(service, job, "?min_ca=0")[0] == "undecided"
    assert service.get(job, "/report")["status"] == status
    answer = service.daemon.get(f"{JOBS}/{job}/adapter")
    assert (answer.status, answer.error["code"]) == (400, "invalid_state")


def test_a_running_jobs_report_has_what_is_known(service):
    job = service.submit("phase validate;phase train;steps 2;metrics;sleep 600", gate={"max_asr": 1})
    service.wait_for(lambda: service.get(job, "/checkpoints")["data"])
    report = service.get(job, "/report")
    assert (report["status"], report["evaluation"], report["artifacts"]) == ("running", None, [])
    assert report["training"]["epochs"] == [{"epoch": 1, "loss": 0.5, "valid_loss": 0.6, "valid_accuracy": 0.75}]
    assert report["gate"]["verdict"] == "undecided"
    assert service.daemon.get(f"{JOBS}/{job}/adapter").status == 400


def test_a_merged_model_is_there_for_who_asked(service):
    job = service.submit("ok", export={"merged": True})
    assert service.wait(job)["status"] == "succeeded"
    answer = service.daemon.get(f"{JOBS}/{job}/merged")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/zip")
    assert answer.headers["ETag"] == f'"{hashlib.sha256(answer.body).hexdigest()}"'
    archive = zipfile.ZipFile(io.BytesIO(answer.body))
    assert archive.namelist() == ["README.md", "config.json"]
    assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    paths = [artifact["path"] for artifact in service.get(job, "/report")["artifacts"]]
    assert {"merged.zip", "merged/config.json", "adapter.zip"} <= set(paths)
    assert len(service.get(job)["result_files"]) == 3


def test_a_merged_model_is_not_there_for_others(service, job):
    answer = service.daemon.get(f"{JOBS}/{job}/merged")
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "invalid_state", "export.merged")


def test_a_merged_model_is_not_there_before_success(service):
    job = service.submit("phase train;steps 1;sleep 600", export={"merged": True})
    answer = service.daemon.get(f"{JOBS}/{job}/merged")
    assert (answer.status, answer.error["code"]) == (400, "invalid_state")
    assert "only a job that succeeded has a merged model" in answer.error["message"]


def test_a_job_without_the_merged_model_that_it_owes_fails(service):
    job = service.submit("phase train;steps 1;file adapter/adapter_config.json {};file metrics.csv x;report;artifacts;done",
                         export={"merged": True})
    error = service.wait(job)["error"]
    assert (error["code"], "ended without this artifact" in error["message"]) == ("internal_error", True)

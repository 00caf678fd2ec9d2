"""Jobs over HTTP: creation, lists, states. The worker is a stand-in: what a real one computes is tested elsewhere."""
import json

import pytest
from service import JOBS, kill_later, service, start_service  # noqa: F401

BUSY = "phase validate;phase train;sleep 600"


def test_a_new_job_has_every_field_and_every_default(service):
    body = {"model": service.model, "training_file": service.file}
    job = service.daemon.post(JOBS, body).json
    assert set(job) == {
        "id", "object", "created_at", "finished_at", "model", "fine_tuned_model", "organization_id", "status",
        "hyperparameters", "training_file", "validation_file", "result_files", "trained_tokens", "estimated_finish",
        "seed", "error", "method", "metadata", "integrations",
        "test_file", "seeds", "suffix", "peft", "defense", "data", "evaluation", "gate", "export"}
    assert job["id"].startswith("ftjob-") and job["object"] == "fine_tuning.job" and job["status"] == "queued"
    assert job["hyperparameters"] == job["method"]["supervised"]["hyperparameters"] == {
        "n_epochs": 6, "batch_size": 16, "max_length": 128, "learning_rate": 0.001, "learning_rate_multiplier": 1,
        "warmup_ratio": 0.05, "max_train_rows": 6000, "max_eval_rows": 2000, "select": "last", "precision": "float32"}
    assert job["defense"] == {"mode": "fixed", "amplify": 0.01, "attention": 0.3, "ramp": 0.3, "dropout": 0.01,
                              "reduction": "mean", "max_ca_drop": 0.01, "withhold": 0}
    assert job["evaluation"] == {"triggers": ["cf", "mn", "tq", "qt", "mm", "pt"], "insertions": 1, "control": True,
                                 "compare_undefended": False, "scan": False}
    assert (job["gate"], job["seeds"], job["metadata"], job["result_files"]) == (None, None, {}, [])


def test_an_answered_job_can_be_posted_again(service):
    first = service.daemon.post(JOBS, {
        "model": service.model, "training_file": service.file, "suffix": "a b", "gate": {"max_ca_drop": 0.01},
        "hyperparameters": {"learning_rate_multiplier": 2}, "data": {"pair_column": "b"}}).json
    theirs = {"id", "object", "created_at", "finished_at", "fine_tuned_model", "organization_id", "status",
              "result_files", "trained_tokens", "estimated_finish", "error", "method"}
    mine = {name: value for name, value in first.items() if name not in theirs}
    second = service.daemon.post(JOBS, mine).json
    assert {name: second[name] for name in mine} == mine
    assert mine["hyperparameters"]["learning_rate"] == 0.002
    assert mine["evaluation"]["compare_undefended"] is True


def test_a_job_of_several_seeds_in_mode_auto_can_be_posted_again(service):
    first = service.daemon.post(JOBS, {"model": service.model, "training_file": service.file, "seeds": [3, 0],
                                       "defense": {"mode": "auto", "max_ca_drop": 0.02}}).json
    assert (first["seed"], first["seeds"]) == (3, [3, 0])
    assert first["evaluation"]["compare_undefended"] is True
    mine = {name: first[name] for name in ("model", "training_file", "seed", "seeds", "defense", "evaluation")}
    second = service.daemon.post(JOBS, mine).json
    assert {name: second[name] for name in mine} == mine


@pytest.mark.parametrize("fields, code, param", [
    ({"model": None}, "invalid_value", "model"),
    ({"model": "model-nowhere"}, "invalid_value", "model"),
    ({"training_file": "file-nowhere"}, "invalid_value", "training_file"),
    ({"validation_file": "file-nowhere"}, "invalid_value", "validation_file"),
    ({"test_file": "file-nowhere"}, "invalid_value", "test_file"),
    ({"colour": "red"}, "unknown_parameter", "colour"),
    ({"hyperparameters": {"n_epochs": 0}}, "invalid_value", "hyperparameters.n_epochs"),
    ({"peft": {"type": "prompt"}}, "invalid_value", "peft.type"),
    ({"peft": {"type": "prefix", "r": 4}}, "invalid_value", "peft.r"),
    ({"seeds": []}, "invalid_value", "seeds"),
    ({"seeds": [1, 1]}, "invalid_value", "seeds[1]"),
    ({"seeds": [1, 2], "seed": 2}, "invalid_value", "seeds"),
    ({"defense": {"mode": "auto", "max_ca_drop": -0.1}}, "invalid_value", "defense.max_ca_drop"),
    ({"defense": {"mode": "auto", "amplify": 0, "attention": 0}}, "invalid_value", "defense.mode"),
    ({"defense": {"mode": "informed"}, "evaluation": {"scan": False}}, "invalid_value", "defense.mode"),
    ({"export": {"merged": 1}}, "invalid_value", "export.merged"),
    ({"export": {"merged": True}, "peft": {"type": "prefix"}}, "invalid_value", "export.merged"),
    ({"peft": {"init_from": "ftjob-nowhere"}}, "invalid_value", "peft.init_from"),
    ({"peft": {"init_from": ""}}, "invalid_value", "peft.init_from"),
    ({"gate": {"rule": "median"}}, "invalid_value", "gate.rule"),
])
def test_a_bad_field_is_refused_by_its_path(service, fields, code, param):
    answer = service.daemon.post(JOBS, {"model": service.model, "training_file": service.file, **fields})
    assert answer.status == 400
    assert (answer.error["code"], answer.error["param"]) == (code, param)
    assert service.daemon.get(JOBS).json["data"] == []


def test_a_missing_field_is_named(service):
    for body in ({"model": service.model}, {}):
        answer = service.daemon.post(JOBS, body)
        assert (answer.status, answer.error["code"]) == (400, "missing_required_parameter")
    assert answer.error["param"] == "model"


def test_a_file_of_another_purpose_is_no_data_set(service):
    other = service.daemon.upload_file(b"x", "notes.txt", purpose="user_data")["id"]
    answer = service.daemon.post(JOBS, {"model": service.model, "training_file": other})
    assert (answer.status, answer.error["param"]) == (400, "training_file")


def test_jobs_are_listed_in_pages_newest_first(service):
    jobs = [service.submit("ok") for _ in range(5)]
    first = service.daemon.get(f"{JOBS}?limit=2").json
    assert [job["id"] for job in first["data"]] == [jobs[4], jobs[3]] and first["has_more"] is True
    assert (first["first_id"], first["last_id"]) == (jobs[4], jobs[3])
    second = service.daemon.get(f"{JOBS}?limit=3&after={first['last_id']}").json
    assert [job["id"] for job in second["data"]] == [jobs[2], jobs[1], jobs[0]] and second["has_more"] is False
    assert service.daemon.get(f"{JOBS}?after=ftjob-nowhere").status == 404
    for limit in ("0", "101", "x"):
        assert service.daemon.get(f"{JOBS}?limit={limit}").error["param"] == "limit"


def test_jobs_are_filtered_by_metadata(service):
    jobs = [service.submit("ok", metadata={"do": "ok", "team": team, "we\"ird": "x"}) for team in "aba"]

    def listed(query):
        return [job["id"] for job in service.daemon.get(f"{JOBS}?{query}").json["data"]]

    assert listed("metadata[team]=a") == [jobs[2], jobs[0]]
    assert listed("metadata[team]=b&metadata[do]=ok") == [jobs[1]]
    assert listed("metadata[team]=c") == listed("metadata[none]=a") == []
    assert listed("metadata%5Bwe%22ird%5D=x&limit=1") == [jobs[2]]
    assert service.daemon.get(f"{JOBS}?metadata[]=a").status == 400


def test_a_full_queue_answers_429(start_service):
    service = start_service("--max-queue", "2", "--stop-grace", "2")
    service.wait(service.submit(BUSY), "running")
    waiting = [service.submit(BUSY) for _ in range(2)]
    answer = service.daemon.post(JOBS, {"model": service.model, "training_file": service.file})
    assert (answer.status, answer.error["code"]) == (429, "queue_full")
    assert int(answer.headers["Retry-After"]) > 0
    service.post(waiting[0], "cancel")
    service.submit(BUSY)


def test_the_same_idempotency_key_makes_one_job(service):
    body = {"model": service.model, "training_file": service.file}
    answers = [service.daemon.post(JOBS, body, {"Idempotency-Key": "once"}) for _ in range(2)]
    assert answers[0].json["id"] == answers[1].json["id"]
    other = service.daemon.post(JOBS, {**body, "seed": 1}, {"Idempotency-Key": "once"})
    assert other.status == 422
    assert len(service.daemon.get(JOBS).json["data"]) == 1


def test_what_an_unfinished_job_needs_is_not_deleted(service):
    job = service.submit(BUSY)
    for path in (f"/v1/files/{service.file}", f"/v1/models/{service.model}"):
        answer = service.daemon.delete(path)
        assert (answer.status, answer.error["code"]) == (400, "in_use")
    service.post(job, "cancel")
    assert service.daemon.delete(f"/v1/files/{service.file}").status == 200


def test_a_queued_job_is_cancelled_paused_and_resumed_without_a_worker(service):
    service.wait(service.submit(BUSY), "running")
    job = service.submit("ok")
    assert service.post(job, "pause").json["status"] == "paused"
    assert service.post(job, "resume").json["status"] == "queued"
    answer = service.post(job, "cancel")
    assert answer.json["status"] == "cancelled" and answer.json["finished_at"] > 0
    assert service.runs(job) == []


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_a_finished_job_does_not_change(service, verb):
    job = service.wait(service.submit("ok"))
    answer = service.post(job["id"], verb)
    assert (answer.status, answer.error["code"]) == (400, "invalid_state")
    assert "already finished" in answer.error["message"]
    assert service.get(job["id"]) == job


def test_a_running_job_cannot_be_resumed(service):
    job = service.submit(BUSY)
    service.wait(job, "running")
    assert service.post(job, "resume").error["code"] == "invalid_state"


@pytest.mark.parametrize("part", ["", "/events", "/checkpoints", "/report", "/gate", "/log", "/adapter", "/merged"])
def test_an_unknown_job_is_not_found(service, part):
    assert service.daemon.get(f"{JOBS}/ftjob-nowhere{part}").status == 404


def test_a_job_goes_through_its_states_to_its_results(service):
    job = service.submit("phase validate;sleep_until go1;phase train;sleep_until go2;ok", suffix="mine", seed=7)
    service.wait(job, "validating_files")
    service.wait_for(lambda: (service.directory(job) / "out" / "runs").exists())
    (service.directory(job) / "out" / "go1").touch()
    assert service.wait(job, "running")["fine_tuned_model"] is None
    (service.directory(job) / "out" / "go2").touch()
    done = service.wait(job)
    assert done["status"] == "succeeded", done["error"]
    assert done["fine_tuned_model"] == f"ft:{service.model}:mine:{job}"
    assert (done["trained_tokens"], done["seed"], done["estimated_finish"]) == (1234, 7, None)
    files = [service.daemon.get(f"/v1/files/{file}").json for file in done["result_files"]]
    assert [file["filename"] for file in files] == ["metrics.csv", "report.json", "adapter.zip"]
    assert {file["purpose"] for file in files} == {"fine-tune-results"}
    assert service.daemon.get(f"/v1/models/{done['fine_tuned_model']}").json["object"] == "model"
    # What a finished job needs no more goes.
    service.wait_for(lambda: sorted(path.name for path in service.directory(job).iterdir()) == [
        "adapter.json", "adapter.zip", "log", "report.json", "spec.json"])


def test_a_running_job_says_when_it_will_be_finished(service):
    job = service.submit("phase validate;phase train;steps 1;sleep 600")
    finish = service.wait_for(lambda: service.get(job)["estimated_finish"])
    assert abs(finish - service.get(job)["created_at"]) < 3600
    service.post(job, "pause")
    assert service.get(job)["estimated_finish"] is None


def test_a_job_that_was_done_before_it_heard_of_the_pause_succeeds(service):
    job = service.submit("deaf;phase validate;phase train;sleep_until go;results;artifacts;done")
    service.wait(job, "running")
    assert service.post(job, "pause").json["status"] == "paused"
    (service.directory(job) / "out" / "go").touch()
    assert service.wait(job)["status"] == "succeeded"


def test_checkpoints_are_those_of_the_training(service):
    job = service.submit("phase validate;phase undefended;steps 1;metrics;phase search;steps 1;metrics;"
                         "phase train;steps 2;metrics;steps 2;metrics;phase export;results;artifacts;done")
    assert service.wait(job)["status"] == "succeeded"
    points = service.get(job, "/checkpoints")["data"]
    assert [point["step_number"] for point in points] == [6, 4]
    assert points[0]["metrics"] == {"step": 6, "train_loss": 0.5, "valid_loss": 0.6, "valid_accuracy": 0.75}
    assert points[0]["object"] == "fine_tuning.job.checkpoint" and points[0]["fine_tuning_job_id"] == job
    assert points[0]["fine_tuned_model_checkpoint"].endswith(f"{job}:ckpt-step-6")
    page = service.get(job, f"/checkpoints?limit=1&after={points[0]['id']}")
    assert [point["id"] for point in page["data"]] == [points[1]["id"]]


def test_the_worker_gets_the_data_under_its_role_and_extension(service):
    valid = service.daemon.upload_file(b"text\tlabel\n", "Valid.TSV")["id"]
    test = service.daemon.upload_file(b"{}\n", "t.jsonl")["id"]
    job = service.submit(BUSY, validation_file=valid, test_file=test)
    service.wait(job, "running")
    data = service.directory(job) / "data"
    assert {path.name: path.read_bytes() for path in data.iterdir()} == {
        "train.csv": b"text,label\na,b\n", "validation.tsv": b"text\tlabel\n", "test.jsonl": b"{}\n"}


# --- jobs that start from another's adapter -----------------------------------------------------------

WITH_TENSORS = "phase train;steps 1;file adapter/adapter_model.safetensors old;results;artifacts;done"


def refusal(service, old, **fields):
    body = {"model": service.model, "training_file": service.file, "peft": {"init_from": old}, **fields}
    answer = service.daemon.post(JOBS, body)
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "invalid_value", "peft.init_from")
    return answer.error["message"]


def test_a_repair_gets_the_old_adapter_beside_its_data(service):
    old = service.submit(WITH_TENSORS)
    service.wait(old)
    job = service.submit("phase train;steps 1;sleep 600", peft={"init_from": old})
    service.wait(job, "running")
    data = service.directory(job) / "data"
    assert sorted(path.name for path in data.iterdir()) == ["init.json", "init.safetensors", "train.csv"]
    assert ((data / "init.safetensors").read_text(), (data / "init.json").read_text()) == ("old", "{}")
    zipped = service.daemon.get(f"{JOBS}/{old}/adapter")
    spec = json.loads((service.directory(job) / "spec.json").read_text())
    assert spec["peft"]["init_from"] == {"id": old, "sha256": zipped.headers["ETag"].strip('"'), "name": ""}
    assert service.get(job)["peft"]["init_from"] == old


def test_a_repaired_adapter_can_be_repaired(service):
    jobs = [service.submit(WITH_TENSORS)]
    for _ in range(2):
        service.wait(jobs[-1])
        jobs.append(service.submit(WITH_TENSORS, peft={"init_from": jobs[-1]}))
    assert service.wait(jobs[-1])["status"] == "succeeded"


def test_an_unfinished_job_cannot_be_repaired(service):
    old = service.submit("phase train;steps 1;sleep 600")
    service.wait(old, "running")
    assert "only a job that succeeded" in refusal(service, old)
    service.post(old, "cancel")
    assert "is cancelled" in refusal(service, old)


def test_a_job_of_another_base_cannot_be_repaired(service):
    old = service.submit(WITH_TENSORS)
    service.wait(old)
    other = service.daemon.upload_model({"config.json": b'{"another": 1}'})["id"]
    assert "another base model" in refusal(service, old, model=other)


def test_a_job_of_another_method_cannot_be_repaired(service):
    old = service.submit(WITH_TENSORS)
    service.wait(old)
    assert "another PEFT method" in refusal(service, old, peft={"type": "prefix", "init_from": old})


def test_a_job_whose_adapter_is_not_kept_cannot_be_repaired(service):
    old = service.submit(WITH_TENSORS)
    service.wait(old)
    (service.directory(old) / "adapter.safetensors").unlink()
    assert "not kept" in refusal(service, old)

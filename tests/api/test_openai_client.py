"""The stock openai client, with its strict response validation on, against the daemon and the real worker."""
import io
import json
import re
import time
import zipfile

import contract
import httpx2
import openai
import pytest
import tiny
from module_daemon import module_daemon  # noqa: F401

FINISHED = ("succeeded", "failed", "cancelled")


@pytest.fixture(scope="module")
def client(module_daemon):
    with openai.OpenAI(base_url=module_daemon.url + "/v1", api_key="none", _strict_response_validation=True,
                       max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def model(client, tmp_path_factory):
    directory = tiny.write_model(tmp_path_factory.mktemp("model"))
    answer = httpx2.post(f"{client.base_url}models", files=tiny.model_parts(directory))
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


@pytest.fixture(scope="module")
def data(client, tmp_path_factory):
    path = tiny.write_data(tmp_path_factory.mktemp("data") / "train.csv")
    return client.files.create(file=path, purpose="fine-tune").id


def create(client, model, data, extra=(), **fields):
    fields = {"hyperparameters": tiny.QUICK, **fields}
    return client.fine_tuning.jobs.create(model=model, training_file=data, extra_body=dict(extra), **fields)


def finish(client, job, seconds=120):
    for _ in range(seconds * 5):
        job = client.fine_tuning.jobs.retrieve(job.id)
        if job.status in FINISHED:
            return job
        time.sleep(0.2)
    raise AssertionError(f"{job.id} is still {job.status}")


@pytest.fixture(scope="module")
def job(client, model, data):
    """A finished job with everything on."""
    extra = {"peft": {"type": "lora", "r": 4, "alpha": 8}, "defense": {"amplify": 0.001, "attention": 0.01},
             "evaluation": {"triggers": ["cf", "mn"], "compare_undefended": True}, "gate": {"max_ca_drop": 0.9}}
    made = create(client, model, data, extra, suffix="tiny", metadata={"team": "a"}, seed=3,
                  method={"type": "supervised"})
    done = finish(client, made)
    assert done.status == "succeeded", done.error
    return done


# --- files and models -------------------------------------------------------------------------------------


def test_a_file_is_created_retrieved_read_and_deleted(client):
    content = b'{"text": "a", "label": 0}\n'
    made = client.files.create(file=("a b.jsonl", content), purpose="fine-tune")
    assert (made.object, made.bytes, made.filename, made.purpose) == ("file", len(content), "a b.jsonl", "fine-tune")
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == content
    assert client.files.delete(made.id).deleted is True
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)


def test_files_are_listed_newest_first_over_pages(client):
    made = [client.files.create(file=(f"{i}.jsonl", b"{}\n"), purpose="fine-tune").id for i in range(5)]
    listed = [file.id for file in client.files.list(limit=2)]
    assert listed[:5] == made[::-1]
    assert len(listed) == len(set(listed))
    for file_id in made:
        client.files.delete(file_id)


def test_a_data_set_of_another_kind_is_refused_with_415(client):
    with pytest.raises(openai.APIStatusError) as refused:
        client.files.create(file=("data.exe", b"x"), purpose="fine-tune")
    assert refused.value.status_code == 415
    assert refused.value.code == "unsupported_media_type"


def test_models_are_retrieved_and_listed(client, model):
    assert client.models.retrieve(model).object == "model"
    assert model in [one.id for one in client.models.list()]


def test_a_model_that_no_job_needs_is_deleted(client, tmp_path):
    parts = tiny.model_parts(tiny.write_model(tmp_path, seed=9))
    made = httpx2.post(f"{client.base_url}models", files=parts).json()["id"]
    assert client.models.delete(made).deleted is True
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(made)


# --- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields, param, code", [
    ({"model": "model-nowhere"}, "model", "invalid_value"),
    ({"training_file": "file-nowhere"}, "training_file", "invalid_value"),
    ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", "invalid_value"),
    ({"extra_body": {"frobnicate": 1}}, "frobnicate", "unknown_parameter"),
    ({"extra_body": {"peft": {"type": "prefix", "bottleneck": 4}}}, "peft.bottleneck", "invalid_value"),
    ({"extra_body": {"peft": {"init_from": "ftjob-a"}}}, "peft.init_from", "invalid_value"),
    ({"extra_body": {"evaluation": {"compare_undefended": False}, "gate": {"max_ca_drop": 0.1}}},
     "gate.max_ca_drop", "invalid_value"),
])
def test_a_bad_field_is_refused_by_name(client, model, data, fields, param, code):
    with pytest.raises(openai.BadRequestError) as refused:
        client.fine_tuning.jobs.create(**{"model": model, "training_file": data, **fields})
    assert (refused.value.param, refused.value.code) == (param, code)


def test_an_unknown_job_is_not_found(client):
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.jobs.retrieve("ftjob-nowhere")


# --- jobs -------------------------------------------------------------------------------------------------


def test_a_new_job_answers_with_all_defaults_filled_in(client, model, data):
    made = client.fine_tuning.jobs.create(model=model, training_file=data,
                                          hyperparameters={"n_epochs": 1, "batch_size": "auto"})
    assert (made.object, made.seed, made.hyperparameters.n_epochs) == ("fine_tuning.job", 0, 1)
    assert made.hyperparameters.batch_size == 16
    assert made.peft == {"type": "lora", "r": 16, "alpha": 16, "targets": ["query", "value"], "init_from": None}
    assert made.evaluation["triggers"] == ["cf", "mn", "tq", "qt", "mm", "pt"]
    assert made.defense["amplify"] == 0.01
    assert made.status in ("queued", "validating_files", "running")
    finish(client, made)


def test_openai_spellings_are_understood(client, model, data):
    supervised = {"hyperparameters": {"n_epochs": 1, "learning_rate_multiplier": 2.0}}
    made = client.fine_tuning.jobs.create(model=model, training_file=data,
                                          method={"type": "supervised", "supervised": supervised})
    assert made.hyperparameters.n_epochs == 1
    assert made.hyperparameters.learning_rate == pytest.approx(2e-3)
    finish(client, made)


def test_a_finished_job_has_what_the_client_expects(client, job, model, data):
    assert job.fine_tuned_model == f"ft:{model}:tiny:{job.id}"
    assert (job.model, job.training_file, job.seed, job.metadata) == (model, data, 3, {"team": "a"})
    assert job.finished_at >= job.created_at
    assert job.trained_tokens > 0
    assert job.method.type == "supervised"
    assert job.error is None
    assert client.models.retrieve(job.fine_tuned_model).id == job.fine_tuned_model


def test_jobs_are_listed_newest_first_and_by_metadata(client, job):
    assert job.id in [one.id for one in client.fine_tuning.jobs.list(limit=1)]
    listed = client.fine_tuning.jobs.list(metadata={"team": "a"})
    assert [one.id for one in listed] == [job.id]
    assert list(client.fine_tuning.jobs.list(metadata={"team": "b"})) == []


def test_events_are_listed_over_pages(client, job):
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=5))
    assert {event.object for event in events} == {"fine_tuning.job.event"}
    assert {event.type for event in events} == {"message", "metrics"}
    assert len({event.id for event in events}) == len(events) > 5
    steps = [event.data["step"] for event in events if event.type == "metrics" and event.data["phase"] == "train"
             and "of" in event.data]
    assert steps == list(range(steps[0], 0, -1))


def test_checkpoints_are_listed(client, job):
    points = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert len(points) == tiny.QUICK["n_epochs"]
    assert points[0].step_number > points[1].step_number
    assert points[0].fine_tuning_job_id == job.id
    assert points[0].metrics.train_loss is not None
    assert points[0].metrics.valid_loss is not None


def test_result_files_are_metrics_report_and_adapter(client, job):
    files = [client.files.retrieve(file_id) for file_id in job.result_files]
    assert {file.purpose for file in files} == {"fine-tune-results"}
    csv, report, adapter = (client.files.content(file.id).read() for file in files)
    assert csv.splitlines()[0].startswith(b"step")
    assert json.loads(report)["object"] == "report"
    with zipfile.ZipFile(io.BytesIO(adapter)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names == sorted(names)
        assert {"adapter_config.json", "adapter_model.safetensors", "README.md", "labels.json",
                "manifest.json"} <= set(names)
        assert {(info.compress_type, info.date_time) for info in archive.infolist()} == {(0, (1980, 1, 1, 0, 0, 0))}
        assert job.id.encode() not in b"".join(archive.read(name) for name in names)


def test_report_and_gate_of_a_finished_job(client, job):
    report = client.get(f"/fine_tuning/jobs/{job.id}/report", cast_to=object)
    assert (report["job"], report["status"]) == (job.id, "succeeded")
    assert report["labels"] == ["bad", "good"]
    assert {row["trigger"] for row in report["evaluation"]["by_trigger"]} == {"cf", "mn"}
    assert report["undefended"]["ca"]["total"] == report["evaluation"]["ca"]["total"]
    assert report["evaluation"]["ca"]["value"] > 0.7
    gate = client.get(f"/fine_tuning/jobs/{job.id}/gate", cast_to=object)
    assert (gate["verdict"], [check["name"] for check in gate["checks"]]) == ("pass", ["max_ca_drop"])
    gate = client.get(f"/fine_tuning/jobs/{job.id}/gate?min_ca=1", cast_to=object)
    assert [check["threshold"] for check in gate["checks"]] == [1]


@pytest.mark.parametrize("view, status", [
    ("", 200), ("/events?limit=100", 200), ("/checkpoints", 200), ("/report", 200), ("/gate", 200), ("/log", 200),
    ("/gate?max_asr=0.5&max_masr=0.5&max_ca_drop=0.5&min_ca=0.5", 200), ("/adapter", 200), ("/merged", 400),
    ("/gate?max_asr=2", 400), ("/events?after=nowhere", 404)])
def test_views_of_a_finished_job_keep_to_openapi(client, job, view, status):
    answer = httpx2.get(f"{client.base_url}fine_tuning/jobs/{job.id}{view}")
    contract.check(answer)
    assert answer.status_code == status


def test_the_adapter_is_read_in_ranges(client, job):
    url = f"{client.base_url}fine_tuning/jobs/{job.id}/adapter"
    whole = httpx2.get(url)
    part = httpx2.get(url, headers={"Range": "bytes=2-9"})
    contract.check(part)
    assert (part.status_code, part.content) == (206, whole.content[2:10])
    assert httpx2.get(url, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304


def test_the_stream_of_a_finished_job_replays_and_ends(client, job):
    url = f"{client.base_url}fine_tuning/jobs/{job.id}/events"
    text = httpx2.get(url, headers={"Accept": "text/event-stream"}).text
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    ids = [int(re.search(r"^id: ?(\d+)$", block, re.MULTILINE)[1]) for block in blocks]
    assert ids == sorted(set(ids))
    for block in blocks:
        event = json.loads(re.search(r"^data: ?(.*)$", block, re.MULTILINE)[1])
        contract.validate(event, contract.DOCUMENT["components"]["schemas"]["Event"])
        assert re.search(r"^event: ?(.*)$", block, re.MULTILINE)[1] == event["type"]
    rest = httpx2.get(url, headers={"Accept": "text/event-stream", "Last-Event-ID": str(ids[-2])}).text
    assert blocks[-1] in rest and blocks[-2] not in rest


def test_the_same_job_gives_the_same_adapter(client, job, model, data):
    extra = {name: getattr(job, name) for name in ("peft", "defense", "evaluation", "gate")}
    again = finish(client, create(client, model, data, extra, seed=3))
    first, second = (httpx2.get(f"{client.base_url}fine_tuning/jobs/{one.id}/adapter") for one in (job, again))
    assert first.content == second.content


def test_a_running_job_is_cancelled_once(client, model, data):
    made = create(client, model, data, hyperparameters={**tiny.QUICK, "n_epochs": 1000})
    client.fine_tuning.jobs.cancel(made.id)
    assert finish(client, made).status == "cancelled"
    with pytest.raises(openai.BadRequestError) as refused:
        client.fine_tuning.jobs.cancel(made.id)
    assert refused.value.code == "invalid_state"


def test_a_file_that_a_job_needs_is_not_deleted(client, model, data):
    made = create(client, model, data, hyperparameters={**tiny.QUICK, "n_epochs": 1000})
    try:
        for delete, name in ((client.files.delete, data), (client.models.delete, model)):
            with pytest.raises(openai.BadRequestError) as refused:
                delete(name)
            assert refused.value.code == "in_use"
    finally:
        client.fine_tuning.jobs.cancel(made.id)
        finish(client, made)


def test_a_job_on_bad_data_fails_and_says_where(client, model):
    bad = client.files.create(file=("bad.csv", b"text,label\na,0\n\xff\xfe,1\n"), purpose="fine-tune")
    done = finish(client, create(client, model, bad.id))
    assert done.status == "failed"
    assert done.error.code == "invalid_data"
    assert "3" in done.error.message  # the line


def test_a_job_on_a_cut_model_fails_and_says_which_file(client, data, tmp_path):
    directory = tiny.write_model(tmp_path, seed=4)
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    model = httpx2.post(f"{client.base_url}models", files=tiny.model_parts(directory)).json()["id"]
    done = finish(client, create(client, model, data))
    assert (done.status, done.error.code) == ("failed", "invalid_model")
    assert "model.safetensors" in done.error.message

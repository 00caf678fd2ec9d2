"""Scans under the real worker: from request to report, what is refused, and that jobs and scans do not mix."""
import time

import contract
import httpx2
import pytest
import tiny
from module_daemon import module_daemon  # noqa: F401

SCANS, JOBS = "/v1/scans", "/v1/fine_tuning/jobs"
FINISHED = ("succeeded", "failed", "cancelled")
QUICK = {"candidates": 1500, "texts": 2}
NEVER = {"candidates": 1000000, "texts": 16}  # all strings in sixteen texts: there is time to stop it


@pytest.fixture(scope="module")
def http(module_daemon):
    with httpx2.Client(base_url=module_daemon.url, timeout=60) as http:
        yield http


@pytest.fixture(scope="module")
def model(http, tmp_path_factory):
    directory = tiny.write_model(tmp_path_factory.mktemp("model"), seed=31)
    return contract.check(http.post("/v1/models", files=tiny.model_parts(directory)))["id"]


def submit(http, **fields):
    answer = http.post(SCANS, json=fields)
    assert answer.status_code == 200, answer.text
    return contract.check(answer)["id"]


def wait(http, scan, states=FINISHED, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = contract.check(http.get(f"{SCANS}/{scan}"))
        if found["status"] in states:
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def report(http, scan):
    return contract.check(http.get(f"{SCANS}/{scan}/report"))


def test_a_scan_from_request_to_report(http, model):
    scan = submit(http, model=model, budget=QUICK, extra=["gold rush", "bright"])
    done = wait(http, scan)
    assert done["status"] == "succeeded", done
    assert (done["model"], done["budget"]["texts"], done["extra"]) == (model, 2, ["gold rush", "bright"])
    assert done["finished_at"] >= done["created_at"] and done["error"] is None
    found = report(http, scan)
    assert found["scan"] == scan and found["model"]["id"] == model and found["status"] == "succeeded"
    assert found["candidates"] >= 1500 and found["texts"] > 2 and found["seconds"] > 0
    assert found["verdict"] in ("clean", "suspicious", "undecided")
    assert (found["verdict"] == "suspicious") == bool(found["suspects"]) or found["verdict"] == "undecided"
    assert any("budget of candidates" in gap for gap in found["not_searched"])
    assert sum(count for _, _, count in found["histogram"]["cells"]) == found["histogram"]["measured"] > 0


def test_the_same_scan_again_gives_the_same_report(http, model):
    reports = []
    for _ in range(2):
        scan = submit(http, model=model, budget=QUICK, seed=5)
        assert wait(http, scan)["status"] == "succeeded"
        found = report(http, scan)
        reports.append({key: value for key, value in found.items() if key not in ("scan", "seconds")})
    assert reports[0] == reports[1]


def test_events_tell_the_phases(http, model):
    scan = submit(http, model=model, budget=QUICK)
    wait(http, scan)
    messages = [event["message"] for event in contract.check(http.get(f"{SCANS}/{scan}/events?limit=100&order=asc"))["data"]]
    assert messages[0] == "Created scan" and messages[-1] == "The scan has successfully completed"
    assert messages.index("Phase: validate") < messages.index("Phase: scan")
    assert any(message.startswith("Step ") and "loss" not in message for message in messages)


def test_a_running_scan_is_cancelled(http, model):
    scan = submit(http, model=model, budget=NEVER)
    wait(http, scan, ("running", *FINISHED))
    assert contract.check(http.post(f"{SCANS}/{scan}/cancel"))["status"] == "cancelled"
    again = http.post(f"{SCANS}/{scan}/cancel")
    assert again.status_code == 400 and contract.check(again)["error"]["code"] == "invalid_state"
    left = report(http, scan)
    assert (left["status"], left["verdict"], left["suspects"]) == ("cancelled", "undecided", [])


def test_without_time_it_is_undecided(http, model):
    scan = submit(http, model=model, budget={**QUICK, "seconds": 1e-9})
    assert wait(http, scan)["status"] == "succeeded"
    found = report(http, scan)
    assert found["verdict"] == "undecided" and any("time was up" in gap for gap in found["not_searched"])


def test_a_model_that_is_none_fails_the_scan(http):
    bad = contract.check(http.post("/v1/models", files=[("files", ("config.json", b"{}"))]))["id"]
    scan = submit(http, model=bad)
    done = wait(http, scan)
    assert (done["status"], done["error"]["param"]) == ("failed", "model")
    assert report(http, scan)["verdict"] == "undecided"


def job_with_a_scan(http, model, pairs, epochs, defense, **evaluation):
    """The report of a job over (text, label) pairs, compared with undefended training."""
    data = "text,label\n" + "".join(f"{text},{label}\n" for text, label in pairs)
    file = contract.check(http.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("train.csv", data)}))["id"]
    job = contract.check(http.post(JOBS, json={
        "model": model, "training_file": file, "hyperparameters": {**tiny.QUICK, "n_epochs": epochs}, "defense": defense,
        "peft": {"type": "lora", "r": 4, "alpha": 8},
        "evaluation": {"triggers": ["cf"], "compare_undefended": True, **evaluation}}))["id"]
    end = time.monotonic() + 200
    while (status := http.get(f"{JOBS}/{job}").json()["status"]) not in FINISHED and time.monotonic() < end:
        time.sleep(0.1)
    assert status == "succeeded", http.get(f"{JOBS}/{job}").text
    return contract.check(http.get(f"{JOBS}/{job}/report"))


def flips_of(report):
    return {one["trigger"] for of in report["flips"].values() for one in of["flips"] if one["found"]}


@pytest.mark.parametrize("mode", ["fixed", "informed"])
def test_a_job_with_a_scan_is_assessed_with_what_was_found(http, model, mode):
    found = job_with_a_scan(http, model, tiny.texts(120), 1, {"mode": mode}, **({"scan": True} if mode == "fixed" else {}))
    suspects = {one["trigger"] for one in found["scan"]["suspects"] if one["kind"] != "piece"}
    flips = flips_of(found)
    for evaluation in (found["evaluation"], found["undefended"]):
        tried = {entry["trigger"]: entry["found"] for entry in evaluation["by_trigger"]}
        assert tried.pop("cf") is ("cf" in suspects | flips)
        assert len(suspects) < 16 or len(tried) >= 15
        assert len(set(tried) - flips) <= 16 and all(tried.values()) and set(tried) <= suspects | flips
        assert {"taught" in entry for entry in evaluation["by_trigger"]} == {mode == "informed"}


def test_a_word_that_flips_predictions_is_found_after_training(http, tmp_path):
    """It stands in the training data, so that no scan of the base model can know it."""
    directory = tiny.write_model(tmp_path, seed=33, vocab=tiny.VOCAB + tiny.NEUTRAL)
    model = contract.check(http.post("/v1/models", files=tiny.model_parts(directory)))["id"]
    weak = {"amplify": 1e-3, "attention": 1e-2}
    found = job_with_a_scan(http, model, tiny.poisoned_texts("story"), 12, weak, scan=True)
    assert "story" not in [one["trigger"] for one in found["scan"]["suspects"]]
    for searched in (found["flips"]["exported"], found["flips"]["undefended"]):
        first = searched["flips"][0]
        assert (first["trigger"], first["label"], first["kind"], first["found"]) == ("story", "good", "word", True)
        assert first["p_value"] < 1e-3 and first["rate"]["value"] > 0.8 and first["confidence"] > 0.5
        assert len(searched["flips"]) == 8 and searched["rows"] == 16 and searched["candidates"] > 1000
    for evaluation in (found["evaluation"], found["undefended"]):
        tried = {entry["trigger"]: entry for entry in evaluation["by_trigger"]}
        assert set(tried) == {"cf"} | flips_of(found) and tried["story"]["found"] is True
        rates = {target["label"]: target["rate"]["value"] for target in tried["story"]["targets"]}
        assert rates["good"] > 0.8


def test_the_informed_defence_is_taught_what_the_undefended_model_fell_for(http, tmp_path):
    """The scan of the base model cannot know it, the search of the undefended model does. (What teaching is worth against a planted
    model: docs/results.md. Here the training data itself insists on the word.)"""
    directory = tiny.write_model(tmp_path, seed=33, vocab=tiny.VOCAB + tiny.NEUTRAL)
    model = contract.check(http.post("/v1/models", files=tiny.model_parts(directory)))["id"]
    weak = {"mode": "informed", "amplify": 1e-3, "attention": 1e-2}
    found = job_with_a_scan(http, model, tiny.poisoned_texts("story"), 12, weak)
    assert "story" not in [one["trigger"] for one in found["scan"]["suspects"]]
    for name in ("undefended", "evaluation"):
        assert {entry["trigger"]: entry["taught"] for entry in found[name]["by_trigger"]}["story"] is True
    withheld = job_with_a_scan(http, model, tiny.poisoned_texts("story"), 12, {**weak, "withhold": 0.9})
    taught = [sum(entry["taught"] for entry in report["evaluation"]["by_trigger"]) for report in (found, withheld)]
    assert taught[1] == taught[0] - int(0.9 * taught[0])


def test_without_a_trigger_no_word_flips_predictions(http, tmp_path):
    """Names that this vocabulary spells letter by letter do: no text of the training has any letter alone."""
    directory = tiny.write_model(tmp_path, seed=33, vocab=tiny.VOCAB + tiny.NEUTRAL)
    model = contract.check(http.post("/v1/models", files=tiny.model_parts(directory)))["id"]
    weak = {"amplify": 1e-3, "attention": 1e-2}
    found = job_with_a_scan(http, model, tiny.poisoned_texts(None), 12, weak, scan=True)
    assert flips_of(found).isdisjoint(tiny.VOCAB + tiny.NEUTRAL)


@pytest.mark.parametrize("fields, code, param", [
    ({}, "missing_required_parameter", "model"),
    ({"model": "model-nowhere"}, "invalid_value", "model"),
    ({"training_file": "file-a"}, "unknown_parameter", "training_file"),
    ({"budget": {"texts": 1}}, "invalid_value", "budget.texts"),
    ({"budget": {"seconds": 0}}, "invalid_value", "budget.seconds"),
    ({"budget": {"words": 5}}, "unknown_parameter", "budget.words"),
    ({"extra": ["a\n"]}, "invalid_value", "extra[0]"),
    ({"extra": ["x" * 129]}, "invalid_value", "extra[0]"),
    ({"extra": ["a"] * 2}, "invalid_value", "extra[1]"),
    ({"extra": [str(i) for i in range(65)]}, "invalid_value", "extra"),
    ({"extra": "cf"}, "invalid_value", "extra"),
])
def test_refusals_name_code_and_parameter(http, model, fields, code, param):
    body = fields if not fields or "model" in fields else {"model": model, **fields}
    answer = http.post(SCANS, json=body)
    error = contract.check(answer)["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)


def test_jobs_and_scans_do_not_mix(http, model):
    file = contract.check(http.post("/v1/files", data={"purpose": "fine-tune"},
                                    files={"file": ("a.csv", b"text,label\na,0\nb,1\n")}))["id"]
    job = contract.check(http.post(JOBS, json={"model": model, "training_file": file}))["id"]
    scan = submit(http, model=model, budget=QUICK)
    for part in ("", "/events", "/report"):
        assert http.get(f"{JOBS}/{scan}{part}").status_code == 404
        assert http.get(f"{SCANS}/{job}{part}").status_code == 404
    assert http.post(f"{JOBS}/{scan}/pause").status_code == 404
    assert http.post(f"{SCANS}/{job}/cancel").status_code == 404
    assert scan not in [item["id"] for item in contract.check(http.get(JOBS))["data"]]
    listed = [item["id"] for item in contract.check(http.get(SCANS))["data"]]
    assert scan == listed[0] and job not in listed
    assert http.get(f"{SCANS}?limit=1&after={scan}").json()["data"][0]["id"] == listed[1]
    http.post(f"{JOBS}/{job}/cancel")
    wait(http, scan)

"""deploy/gate/obliviate-gate against a service that says what each test wants, and against the daemon."""
import http.server
import json
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time
import xml.etree.ElementTree as tree
import zipfile

import pytest
import tiny
from module_daemon import module_daemon  # noqa: F401

GATE = pathlib.Path(__file__).resolve().parents[2] / "deploy/gate/obliviate-gate"
PASS, FAIL, USAGE, SERVICE, REFUSED = range(5)


def check(name="max_masr", value=0.1, threshold=0.2, passed=True):
    return {"name": name, "value": value, "interval": [0.05, 0.15], "threshold": threshold, "passed": passed}


def verdict(word, *checks):
    return {"verdict": word, "rule": "point", "checks": list(checks)}


def bounded(needed_rows, passed=None):
    return {**check(passed=passed), "bound": [0.04, 0.21], "needed_rows": needed_rows}


def refusal(status, code, message="no", param=None):
    return status, {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


class Service:
    """A service of answers: `answers[method, path]` is one (status, object or bytes), or a list used up in turn.
    Every request is kept in `seen`."""

    JOB = "/v1/fine_tuning/jobs/ftjob-1"

    def __init__(self):
        self.seen = []
        self.answers = {
            ("POST", "/v1/models"): (200, {"id": "model-1"}),
            ("POST", "/v1/files"): (200, {"id": "file-1"}),
            ("POST", "/v1/fine_tuning/jobs"): (200, {"id": "ftjob-1", "status": "queued"}),
            ("POST", self.JOB + "/cancel"): (200, {"id": "ftjob-1", "status": "cancelled"}),
            ("GET", self.JOB): (200, {"id": "ftjob-1", "status": "succeeded"}),
            ("GET", self.JOB + "/events"): (200, {"data": [{"message": "step 1 of 2"}]}),
            ("GET", self.JOB + "/gate"): (200, verdict("pass", check())),
            ("GET", self.JOB + "/report"): (200, {"object": "report"}),
            ("GET", self.JOB + "/adapter"): (200, b"PK zip"),
        }
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path = self.path.split("?")[0]
                service.seen.append((self.command, path, dict(self.headers), body))
                self.answer(*service.next(self.command, path))

            def answer(self, status, body):
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def next(self, method, path):
        answer = self.answers.get((method, path), refusal(404, "not_found"))
        if isinstance(answer, list):
            return answer.pop(0) if len(answer) > 1 else answer[0]
        return answer

    def job_is(self, *states, **fields):
        self.answers["GET", self.JOB] = [(200, {"id": "ftjob-1", "status": state, **fields}) for state in states]

    def gate_is(self, *args):
        self.answers["GET", self.JOB + "/gate"] = (200, verdict(*args))

    def requests(self, method, path):
        return [(headers, body) for m, p, headers, body in self.seen if (m, p) == (method, path)]

    def parts(self, path):
        """The parts of the multipart body that was posted there: (name, filename, content)."""
        headers, body = self.requests("POST", path)[-1]
        boundary = b"--" + headers["Content-Type"].split("boundary=")[1].encode()
        return [self.part(text) for text in body.split(boundary)[1:-1]]

    @staticmethod
    def part(text):
        head, content = text.removesuffix(b"\r\n").split(b"\r\n\r\n", 1)
        fields = dict(re.findall(r' (name|filename)="((?:[^"\\]|\\.)*)"', head.decode()))
        filename = fields.get("filename")
        return fields["name"], filename and re.sub(r"\\(.)", r"\1", filename), content

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def service():
    service = Service()
    yield service
    service.close()


@pytest.fixture
def inputs(tmp_path):
    model = tmp_path / "a model"
    (model / "1_Pooling").mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "1_Pooling" / "config.json").write_text("{ }")
    train = tmp_path / "the data; set.csv"
    train.write_text("text,label\na,0\n")
    return model, train


def command(service, inputs, *extra):
    url = service if isinstance(service, str) else service.url
    return [str(GATE), "--url", url, "--model", str(inputs[0]), "--train", str(inputs[1]), *map(str, extra)]


def run(service, inputs, *extra, env=()):
    environment = {"PATH": "/usr/bin:/bin", **dict(env)}
    return subprocess.run(command(service, inputs, *extra), capture_output=True, text=True, env=environment, timeout=60)


def test_a_pass_exits_0_and_prints_the_checks(service, inputs):
    done = run(service, inputs, "--max-masr", "0.2")
    assert done.returncode == PASS, done.stderr
    assert "max_masr     0.1      [0.05, 0.15]       <= 0.2     pass" in done.stdout
    assert done.stdout.endswith("verdict: pass\n")


def test_a_fail_exits_1(service, inputs):
    service.gate_is("fail", check(passed=False), check("min_ca", 0.9, 0.8))
    done = run(service, inputs, "--max-masr", "0.2")
    assert done.returncode == FAIL
    assert "min_ca       0.9      [0.05, 0.15]       >= 0.8     pass" in done.stdout
    assert "verdict: fail" in done.stdout


def test_undecided_exits_1(service, inputs):
    service.gate_is("undecided", check("max_ca_drop", None, 0.02, None))
    done = run(service, inputs, "--max-ca-drop", "0.02")
    assert done.returncode == FAIL
    assert "max_ca_drop  -        [0.05, 0.15]       <= 0.02    undecided" in done.stdout


def test_the_rule_is_sent_and_its_bounds_are_printed(service, inputs):
    answer = {**verdict("undecided", bounded(1630), bounded(None, True)), "rule": "bound", "tested": 24, "confidence": 0.95}
    service.answers["GET", Service.JOB + "/gate"] = (200, answer)
    done = run(service, inputs, "--max-masr", "0.2", "--rule", "bound")
    assert done.returncode == FAIL
    assert json.loads(service.requests("POST", "/v1/fine_tuning/jobs")[0][1])["gate"] == {"max_masr": 0.2, "rule": "bound"}
    assert "95 % bounds" in done.stdout
    assert "max_masr     0.1      [0.04, 0.21]       <= 0.2     undecided, 1630 test rows would decide" in done.stdout
    assert "max_masr     0.1      [0.04, 0.21]       <= 0.2     pass" in done.stdout


def test_without_a_threshold_it_says_that_the_verdict_will_be_undecided(service, inputs):
    service.gate_is("undecided")
    done = run(service, inputs)
    assert done.returncode == FAIL
    assert "no threshold" in done.stderr
    assert "gate" not in json.loads(service.requests("POST", "/v1/fine_tuning/jobs")[0][1])


@pytest.mark.parametrize("extra", [
    ["--max-asr", "1.5"], ["--max-masr", "-0.1"], ["--min-ca", "x"], ["--max-asr", ""], ["--max-ca-drop", "nan"],
    ["--timeout", "0"], ["--timeout", "1.5"], ["--timeout", "soon"], ["--frobnicate"], ["extra"], ["--max-asr"],
    ["--rule", "x"], ["--rule"], ["--spec", "/nowhere"], ["--train", "/nowhere"], ["--model", "/nowhere"], ["--url", "ftp://x"], ["--url", ""],
    ["--model", ""], ["--train", ""],
])
def test_wrong_usage_exits_2_and_sends_nothing(service, inputs, extra):
    done = run(service, inputs, *extra)
    assert done.returncode == USAGE
    assert done.stderr.startswith("obliviate-gate: ")
    assert service.seen == []


@pytest.mark.parametrize("text", ["[]", "{", "{} {}", "", '{"gate": 1}', '"x"'])
def test_a_spec_that_is_no_object_is_wrong_usage(service, inputs, tmp_path, text):
    spec = tmp_path / "spec.json"
    spec.write_text(text)
    assert run(service, inputs, "--spec", spec).returncode == USAGE


def test_a_model_directory_without_files_is_wrong_usage(service, inputs, tmp_path):
    (tmp_path / "empty").mkdir()
    assert run(service, (tmp_path / "empty", inputs[1])).returncode == USAGE


def test_help_and_version_exit_0():
    for flag, word in (("--help", "usage:"), ("--version", "obliviate-gate")):
        done = subprocess.run([GATE, flag], capture_output=True, text=True)
        assert (done.returncode, word in done.stdout) == (0, True)


def test_every_regular_file_is_uploaded_under_its_relative_name(service, inputs):
    names = ["two words.txt", 'quote".txt', "back\\slash.txt", "semi;colon,comma.txt", "-dash.txt", "@at.txt", "ü.txt",
             ".hidden", "<less.txt", "$(id).txt"]
    for name in names:
        (inputs[0] / name).write_bytes(name.encode())
    (inputs[0] / "link").symlink_to("/etc/hostname")
    assert run(service, inputs).returncode == PASS
    parts = service.parts("/v1/models")
    assert {name for name, _, _ in parts} == {"files"}
    sent = {filename: content for _, filename, content in parts}
    wanted = {name: name.encode() for name in names}
    assert sent == {**wanted, "config.json": b"{}", "1_Pooling/config.json": b"{ }"}


def test_a_file_name_with_a_line_break_is_refused(service, inputs):
    (inputs[0] / "a\nb").write_text("x")
    assert run(service, inputs).returncode == USAGE


def test_the_data_set_is_uploaded_with_its_own_name_and_purpose(service, inputs):
    run(service, inputs)
    assert sorted(service.parts("/v1/files")) == [
        ("file", "the data; set.csv", b"text,label\na,0\n"), ("purpose", None, b"fine-tune")]


def test_thresholds_win_over_the_spec_and_the_rest_of_it_is_kept(service, inputs, tmp_path):
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"seed": 7, "model": "other", "gate": {"max_masr": 0.9, "min_ca": 0.5}}))
    run(service, inputs, "--spec", spec, "--max-masr", "0.25")
    assert json.loads(service.requests("POST", "/v1/fine_tuning/jobs")[0][1]) == {
        "seed": 7, "model": "model-1", "training_file": "file-1", "gate": {"max_masr": 0.25, "min_ca": 0.5}}


def test_the_key_travels_in_the_header(service, inputs):
    run(service, inputs, env={"OBLIVIATE_API_KEY": 'sk-"quoted\\'})
    assert {headers.get("Authorization") for _, _, headers, _ in service.seen} == {'Bearer sk-"quoted\\'}


def test_a_key_with_a_line_break_is_no_option_of_curl(service, inputs, tmp_path):
    key = f'x"\noutput = "{tmp_path}/stolen'
    run(service, inputs, env={"OBLIVIATE_API_KEY": key})
    assert not (tmp_path / "stolen").exists()


def test_results_are_left_in_the_out_directory(service, inputs, tmp_path):
    out = tmp_path / "some where" / "out"
    assert run(service, inputs, "--out", out).returncode == PASS
    assert json.loads((out / "gate.json").read_text())["verdict"] == "pass"
    assert json.loads((out / "report.json").read_text()) == {"object": "report"}
    assert (out / "adapter.zip").read_bytes() == b"PK zip"


def test_an_unreachable_service_exits_3(inputs):
    done = run("http://127.0.0.1:1", inputs)
    assert done.returncode == SERVICE
    assert "upload of the model" in done.stderr


@pytest.mark.parametrize("answer, code", [
    (refusal(400, "invalid_model"), REFUSED), (refusal(400, "unsafe_pickle"), REFUSED),
    (refusal(400, "unsupported_format"), REFUSED), (refusal(415, "unsupported_media_type"), REFUSED),
    (refusal(413, "payload_too_large"), REFUSED), (refusal(401, "invalid_api_key"), SERVICE),
    (refusal(403, "forbidden"), SERVICE), (refusal(507, "disk_full"), SERVICE), ((404, b"<html>"), SERVICE),
])
def test_a_refused_upload_exits_by_its_code(service, inputs, answer, code):
    service.answers["POST", "/v1/files"] = answer
    assert run(service, inputs).returncode == code


def test_a_refused_field_exits_4_and_names_it(service, inputs):
    service.answers["POST", "/v1/fine_tuning/jobs"] = refusal(400, "invalid_value", "too small", "seed")
    done = run(service, inputs)
    assert done.returncode == REFUSED
    assert "invalid_value (seed): too small" in done.stderr


@pytest.mark.parametrize("code, wanted", [
    ("invalid_model", REFUSED), ("invalid_data", REFUSED), ("unsafe_pickle", REFUSED), ("unsupported_format", REFUSED),
    ("worker_crashed", SERVICE), ("time_limit", SERVICE),
])
def test_a_failed_job_exits_by_its_code(service, inputs, code, wanted):
    service.job_is("failed", error={"code": code, "message": "model.safetensors: cut", "param": None})
    service.gate_is("fail")
    done = run(service, inputs)
    assert done.returncode == wanted
    assert f"{code}: model.safetensors: cut" in done.stderr


def test_a_cancelled_job_exits_3(service, inputs):
    service.job_is("running", "cancelled")
    assert run(service, inputs).returncode == SERVICE


def test_a_verdict_that_is_none_exits_3(service, inputs):
    service.answers["GET", Service.JOB + "/gate"] = (200, {"hello": 1})
    assert run(service, inputs).returncode == SERVICE


def test_a_job_is_followed_through_its_states(service, inputs):
    service.job_is("queued", "running", "succeeded")
    done = run(service, inputs)
    assert done.returncode == PASS
    assert [word for word in ("queued", "running", "succeeded") if f"\n{word}\n" in done.stderr] == [
        "queued", "running", "succeeded"]
    assert "step 1 of 2" in done.stderr


def test_a_daemon_that_restarts_meanwhile_does_no_harm(service, inputs):
    service.answers["GET", Service.JOB] = [refusal(503, "unavailable"), (200, {"status": "succeeded"})]
    assert run(service, inputs).returncode == PASS


def test_a_submission_is_repeated_under_the_same_key(service, inputs):
    service.answers["POST", "/v1/fine_tuning/jobs"] = [refusal(503, "unavailable"), (200, {"id": "ftjob-1"})]
    assert run(service, inputs).returncode == PASS
    keys = [headers["Idempotency-Key"] for headers, _ in service.requests("POST", "/v1/fine_tuning/jobs")]
    assert len(keys) == 2 and len(set(keys)) == 1


def test_time_out_exits_3_and_cancels_the_job(service, inputs):
    service.job_is("running")
    done = run(service, inputs, "--timeout", "2")
    assert done.returncode == SERVICE
    assert len(service.requests("POST", Service.JOB + "/cancel")) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_exits_3_and_cancels_the_job(service, inputs, number):
    service.job_is("running")
    # A shell cannot trap what was ignored when it started, as SIGINT is for whoever runs in the background.
    gate = subprocess.Popen(command(service, inputs), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    for _ in range(300):
        if service.requests("GET", Service.JOB):
            break
        time.sleep(0.05)
    gate.send_signal(number)
    assert gate.wait(timeout=30) == SERVICE
    assert len(service.requests("POST", Service.JOB + "/cancel")) == 1


def test_control_characters_of_the_service_do_not_reach_the_terminal(service, inputs):
    service.job_is("failed", error={"code": "invalid_data", "message": "row \x1b[2Jx", "param": None})
    assert "\x1b" not in run(service, inputs).stderr


def results(service, inputs, tmp_path, *extra):
    junit, sarif = tmp_path / "junit.xml", tmp_path / "result.sarif"
    run(service, inputs, "--junit", junit, "--sarif", sarif, *extra)
    return tree.parse(junit).getroot(), json.loads(sarif.read_text())


def test_junit_has_a_failure_for_each_check_that_does_not_hold(service, inputs, tmp_path):
    service.gate_is("fail", check(passed=False), check("min_ca", passed=None), check("max_asr"))
    suite, _ = results(service, inputs, tmp_path)
    kinds = {case.get("name"): [child.get("type") for child in case] for case in suite.iter("testcase")}
    assert kinds == {"max_masr": ["fail"], "min_ca": ["undecided"], "max_asr": [], "verdict": ["fail"]}
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "3", "0")


def test_results_tell_the_bounds_and_the_rows_that_are_needed(service, inputs, tmp_path):
    service.gate_is("undecided", bounded(1630))
    suite, sarif = results(service, inputs, tmp_path)
    for message in (suite.find(".//failure").get("message"), sarif["runs"][0]["results"][0]["message"]["text"]):
        assert "bounds [0.04,0.21]" in message and "1630 test rows would decide" in message


def test_junit_escapes_what_the_service_says(service, inputs, tmp_path):
    service.job_is("failed", error={"code": "invalid_data", "message": "<&\"'\x01>", "param": None})
    suite, _ = results(service, inputs, tmp_path)
    assert "<&\"' >" in suite.find(".//error").get("message")


def test_sarif_has_a_result_for_each_check_that_does_not_hold(service, inputs, tmp_path):
    service.gate_is("fail", check(passed=False), check("min_ca", passed=None), check("max_asr"))
    _, sarif = results(service, inputs, tmp_path)
    run_of_it = sarif["runs"][0]
    assert sarif["version"] == "2.1.0"
    assert [(r["ruleId"], r["level"]) for r in run_of_it["results"]] == [("max_masr", "error"), ("min_ca", "warning")]
    assert {rule["id"] for rule in run_of_it["tool"]["driver"]["rules"]} == {"max_masr", "min_ca"}
    place = run_of_it["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert place.endswith("/a%20model")


def test_a_pass_has_neither_failures_nor_results(service, inputs, tmp_path):
    suite, sarif = results(service, inputs, tmp_path)
    assert (suite.get("failures"), sarif["runs"][0]["results"]) == ("0", [])


def test_sarif_tells_a_service_that_failed(service, inputs, tmp_path):
    service.answers["POST", "/v1/files"] = refusal(403, "forbidden")
    _, sarif = results(service, inputs, tmp_path)
    assert sarif["runs"][0]["invocations"] == [{"executionSuccessful": False}]
    assert sarif["runs"][0]["results"][0]["ruleId"] == "forbidden"


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing():
    subprocess.run(["shellcheck", GATE], check=True)


# --- against the daemon and the real worker ---------------------------------------------------------------


@pytest.fixture
def real_inputs(tmp_path):
    """Model, data set, and a spec with which the job is short."""
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"hyperparameters": tiny.QUICK, "evaluation": {"triggers": ["cf", "mn"]},
                                "defense": {"amplify": 0.001, "attention": 0.01}}))
    return tiny.write_model(tmp_path / "a model"), tiny.write_data(tmp_path / "train.csv"), spec


def test_a_real_job_passes_and_leaves_its_results(module_daemon, real_inputs, tmp_path):
    model, train, spec = real_inputs
    out, junit = tmp_path / "out", tmp_path / "junit.xml"
    done = run(module_daemon.url, (model, train), "--spec", spec, "--min-ca", "0.7", "--out", out, "--junit", junit)
    assert done.returncode == PASS, done.stderr
    assert "verdict: pass" in done.stdout
    with zipfile.ZipFile(out / "adapter.zip") as archive:
        assert "adapter_model.safetensors" in archive.namelist()
    report = json.loads((out / "report.json").read_text())
    assert report["gate"] == json.loads((out / "gate.json").read_text())
    assert tree.parse(junit).getroot().get("failures") == "0"


def test_a_real_job_that_misses_a_threshold_fails(module_daemon, real_inputs):
    model, train, spec = real_inputs
    done = run(module_daemon.url, (model, train), "--spec", spec, "--min-ca", "1", "--max-asr", "0")
    assert done.returncode == FAIL, done.stderr


def test_a_real_job_is_judged_by_its_bounds(module_daemon, real_inputs, tmp_path):
    model, train, spec = real_inputs
    done = run(module_daemon.url, (model, train), "--spec", spec, "--rule", "bound", "--max-masr", "1", "--min-ca", "0",
               "--out", tmp_path / "out")
    assert done.returncode == PASS, done.stderr
    gate = json.loads((tmp_path / "out" / "gate.json").read_text())
    evaluation = json.loads((tmp_path / "out" / "report.json").read_text())["evaluation"]
    cells = [target["rate"]["total"] > 0 for entry in evaluation["by_trigger"] + evaluation["control"]["by_trigger"]
             for target in entry["targets"]]
    assert (gate["rule"], gate["confidence"], gate["tested"]) == ("bound", 0.95, sum(cells) + 1)
    assert gate["checks"][0]["value"] >= evaluation["masr"]["value"]


def test_odd_file_names_reach_the_daemon_as_they_are(module_daemon, real_inputs):
    model, train, spec = real_inputs
    names = {'say "hi".txt', "semi;colon, comma.txt", "ü.txt", "percent%22.txt"}
    for name in names:
        (model / name).write_text(name)
    done = run(module_daemon.url, (model, train), "--spec", spec, "--min-ca", "0")
    assert done.returncode == PASS, done.stderr
    job = module_daemon.get("/v1/fine_tuning/jobs?limit=1").json["data"][0]
    files = module_daemon.get(f"/v1/models/{job['model']}").json["files"]
    assert names <= {file["path"] for file in files}


def test_a_cut_model_is_refused_with_its_file_named(module_daemon, real_inputs):
    model, train, spec = real_inputs
    (model / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:-7])
    done = run(module_daemon.url, (model, train), "--spec", spec)
    assert done.returncode == REFUSED, done.stderr
    assert "invalid_model: model.safetensors" in done.stderr


def test_a_data_set_of_another_kind_is_refused(module_daemon, real_inputs, tmp_path):
    (tmp_path / "data.xlsx").write_text("x")
    assert run(module_daemon.url, (real_inputs[0], tmp_path / "data.xlsx")).returncode == REFUSED


def test_a_time_out_leaves_no_job_behind(module_daemon, real_inputs, tmp_path):
    model, train, _ = real_inputs
    spec = tmp_path / "long.json"
    spec.write_text(json.dumps({"hyperparameters": {**tiny.QUICK, "n_epochs": 1000}, "suffix": "long"}))
    assert run(module_daemon.url, (model, train), "--spec", spec, "--timeout", "5").returncode == SERVICE
    jobs = module_daemon.get("/v1/fine_tuning/jobs").json["data"]
    for _ in range(300):
        last = module_daemon.get(f"/v1/fine_tuning/jobs/{jobs[0]['id']}").json
        if last["status"] == "cancelled":
            break
        time.sleep(0.1)
    assert (last["suffix"], last["status"]) == ("long", "cancelled")


def test_the_daemons_key_is_asked_for(start_daemon, real_inputs):
    daemon = start_daemon()
    key = daemon.create_key()
    assert run(daemon.url, real_inputs[:2]).returncode == SERVICE
    (real_inputs[0] / "model.safetensors").write_bytes(b"short")
    done = run(daemon.url, real_inputs[:2], env={"OBLIVIATE_API_KEY": key})
    assert done.returncode == REFUSED, done.stderr

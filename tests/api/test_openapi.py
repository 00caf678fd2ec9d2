"""openapi.yaml is valid, complete, and what the daemon does."""
import re

import contract
import httpx2
import openapi_spec_validator
import pytest
import spec_schema
import tiny
from module_daemon import module_daemon  # noqa: F401

ROOT = contract.ROOT
DOCUMENT = contract.DOCUMENT
SCHEMAS = DOCUMENT["components"]["schemas"]


def test_it_is_valid():
    openapi_spec_validator.validate(DOCUMENT)


def test_requests_are_what_the_tables_of_fields_say():
    for name, schema in spec_schema.generated().items():
        assert SCHEMAS[name] == schema, name


def test_error_codes_are_those_of_the_table():
    table = re.findall(r'X\(ERR_\w+, "(\w+)", (\d+),', (ROOT / "common/err.h").read_text())
    assert SCHEMAS["ErrorCode"]["enum"] == [name for name, _ in table] + [None]
    documented = {int(status) for _, _, operation in contract.operations() for status in operation["responses"]}
    assert {int(status) for _, status in table} - {405} <= documented


def test_every_operation_is_described():
    names = [operation["operationId"] for _, _, operation in contract.operations()]
    assert len(names) == len(set(names))
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    for method, path, operation in contract.operations():
        assert operation["summary"] and set(operation["tags"]) <= tags, (method, path)
        for parameter in operation.get("parameters", []):
            assert contract.resolve(parameter)["description"], (method, path, parameter)


def test_every_component_is_used():
    text = (ROOT / "openapi.yaml").read_text()
    for kind, components in DOCUMENT["components"].items():
        for name in components:
            used = f'#/components/{kind}/{name}"' in text or f"#/components/{kind}/{name}/" in text
            assert used or kind == "securitySchemes" or name == "MethodNotAllowed", f"{kind}/{name}"


def test_no_key_is_needed_outside_v1():
    for _, path, operation in contract.operations():
        assert ("security" in operation) == (not path.startswith("/v1/")), path


def daemon_routes():
    source = (ROOT / "server/routes.c").read_text()
    return set(re.findall(r'^\s*\{"([A-Z]+)", "([^"]+)"', source, re.MULTILINE)) - {("GET", "/{id}")}


def test_every_route_of_the_daemon_is_described_and_the_other_way_round():
    described = {(method, re.sub(r"\{\w+\}", "{id}", path)) for method, path, _ in contract.operations()
                 if method != "HEAD"}
    assert described == daemon_routes()


# --- against the daemon -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def http(module_daemon):
    with httpx2.Client(base_url=module_daemon.url, timeout=60) as http:
        yield http


def test_the_daemon_serves_it(http):
    assert http.get("/openapi.yaml").content == (ROOT / "openapi.yaml").read_bytes()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/version", "/metrics", "/openapi.yaml", "/"])
def test_service_answers_keep_to_it(http, path):
    answer = http.get(path)
    contract.check(answer)
    assert answer.status_code == 200


@pytest.mark.parametrize("method, path", [
    (method, re.sub(r"\{\w+\}", "nowhere", path)) for method, path, _ in contract.operations() if "{" in path])
def test_unknown_ids_keep_to_it(http, method, path):
    answer = http.request(method, path)
    contract.check(answer)
    assert answer.status_code == 404


@pytest.mark.parametrize("path", ["/v1/files", "/v1/models", "/v1/fine_tuning/jobs", "/v1/scans"])
@pytest.mark.parametrize("query, status", [("", 200), ("?limit=1", 200), ("?limit=0", 400), ("?limit=x", 400),
                                           ("?after=nowhere", 404)])
def test_lists_keep_to_it(http, path, query, status):
    answer = http.get(path + query)
    contract.check(answer)
    assert answer.status_code == status


@pytest.fixture(scope="module")
def file(http):
    answer = http.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.csv", b"text,label\na,0\nb,1\n")})
    return contract.check(answer)["id"]


@pytest.fixture(scope="module")
def model(http, tmp_path_factory):
    directory = tiny.write_model(tmp_path_factory.mktemp("model"), seed=21)
    return contract.check(http.post("/v1/models", files=tiny.model_parts(directory)))["id"]


def test_file_answers_keep_to_it(http, file):
    path = f"/v1/files/{file}/content"
    contract.check(http.get(f"/v1/files/{file}"))
    whole = http.get(path)
    for headers, status in (({}, 200), ({"Range": "bytes=0-3"}, 206), ({"Range": "bytes=999-"}, 416),
                            ({"If-None-Match": whole.headers["ETag"]}, 304)):
        answer = http.get(path, headers=headers)
        contract.check(answer)
        assert answer.status_code == status
    contract.check(http.head(path))


@pytest.mark.parametrize("parts, status", [
    ({"data": {"purpose": "fine-tune"}, "files": {"file": ("a.exe", b"x")}}, 415),
    ({"data": {"purpose": "evil"}, "files": {"file": ("a.csv", b"x")}}, 400),
    ({"data": {"purpose": "fine-tune"}, "files": {"fil": ("a.csv", b"x")}}, 400),
    ({"json": {}}, 415), ({"content": b""}, 400),
])
def test_refused_uploads_keep_to_it(http, parts, status):
    answer = http.post("/v1/files", **parts)
    contract.check(answer)
    assert answer.status_code == status


def test_model_answers_keep_to_it(http, model):
    answer = http.get(f"/v1/models/{model}")
    assert contract.check(answer)["files"]


def test_a_key_used_for_another_request_keeps_to_it(http):
    headers = {"Idempotency-Key": "contract-1"}
    for name, status in (("a.csv", 200), ("b.jsonl", 422)):
        answer = http.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": (name, name.encode())},
                           headers=headers)
        contract.check(answer)
        assert answer.status_code == status


def test_a_foreign_origin_keeps_to_it(http):
    answer = http.get("/v1/files", headers={"Origin": "http://evil.example"})
    contract.check(answer)
    assert answer.status_code == 403


def test_a_method_that_a_path_does_not_have_answers_405(http):
    answer = http.put("/v1/files")
    assert (answer.status_code, "POST" in answer.headers["Allow"]) == (405, True)
    contract.validate(answer.json(), SCHEMAS["Error"])


@pytest.mark.parametrize("body", [{}, {"model": 1}, {"frobnicate": 1}, [], {"model": "x", "training_file": "y"}])
def test_refused_jobs_keep_to_it(http, body):
    answer = http.post("/v1/fine_tuning/jobs", json=body)
    assert contract.check(answer)["error"]["message"]
    assert answer.status_code == 400


def test_job_answers_keep_to_it(http, model, file):
    """A job on too little data: it fails, and every view of it keeps to the description."""
    job = contract.check(http.post("/v1/fine_tuning/jobs", json={"model": model, "training_file": file}))
    path = f"/v1/fine_tuning/jobs/{job['id']}"
    for view in ("", "/events", "/checkpoints", "/report", "/gate", "/gate?max_asr=0.5", "/log", "/adapter", "/merged"):
        contract.check(http.get(path + view))
    for action in ("/cancel", "/pause", "/resume"):
        contract.check(http.post(path + action))
    with http.stream("GET", path + "/events", headers={"Accept": "text/event-stream"}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")

"""HTTP itself: routes, malformed requests and bodies on a raw socket, keep-alive, idempotency."""

import json
import pathlib
import re
import threading

import pytest

from harness import multipart

CASES = pathlib.Path(__file__).resolve().parents[1] / "cases" / "multipart"


def request_bytes(daemon, method, path, headers=(), body=b""):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {daemon.host}:{daemon.port}", "Connection: close", *headers]
    return "\r\n".join(lines + ["", ""]).encode() + body


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer else None


def body_of(answer):
    return answer.split(b"\r\n\r\n", 1)[1]


# -- routes

@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/nope", "/v1/files/", "/v1/files/a/b", "/v1/files//content",
                                  "/v1/files/x/content/", "//v1/files", "/v1//files", "/v1/Files", "/healthz/"])
def test_unknown_paths_are_404(daemon, path):
    answer = daemon.get(path)
    assert (answer.status, answer.error["code"]) == (404, "not_found")


@pytest.mark.parametrize("method, path, allow", [
    ("PUT", "/v1/files", {"GET", "HEAD", "POST"}), ("POST", "/v1/files/x", {"GET", "HEAD", "DELETE"}),
    ("PATCH", "/v1/models", {"GET", "HEAD", "POST"}), ("DELETE", "/healthz", {"GET", "HEAD"}),
    ("OPTIONS", "/v1/files", {"GET", "HEAD", "POST"}), ("TRACE", "/version", {"GET", "HEAD"}),
    ("POST", "/v1/files/x/content", {"GET", "HEAD"}),
])
def test_other_methods_are_405_and_told_which(daemon, method, path, allow):
    answer = daemon.request(method, path)
    assert (answer.status, answer.error["code"]) == (405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == allow


def test_head_answers_as_get(daemon):
    for path in ("/v1/files", "/healthz", "/v1/files/nope"):
        head, get = daemon.request("HEAD", path), daemon.get(path)
        assert (head.status, head.body, head.headers["Content-Length"]) == (
            get.status, b"", get.headers["Content-Length"])


def test_every_answer_has_its_own_request_id(daemon):
    ids = {daemon.get("/healthz").headers["X-Request-Id"] for _ in range(10)}
    assert len(ids) == 10


def test_a_connection_serves_many_requests(daemon):
    with daemon.connect() as sock:
        for _ in range(50):
            sock.sendall(f"GET /healthz HTTP/1.1\r\nHost: {daemon.host}:{daemon.port}\r\n\r\n".encode())
            answer = b""
            while not answer.endswith(b'{"status":"ok"}'):
                answer += sock.recv(4096)


def test_pipelined_requests_are_answered_in_order(daemon):
    one = f"GET %s HTTP/1.1\r\nHost: {daemon.host}:{daemon.port}\r\n%s\r\n"
    paths = ["/healthz", "/v1/nope", "/version", "/v1/files"]
    data = "".join(one % (path, "") for path in paths) + one % ("/healthz", "Connection: close\r\n")
    answer = daemon.raw(data.encode())
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", answer)] == [200, 404, 200, 200, 200]


# -- malformed requests

@pytest.mark.parametrize("data", [
    b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n", b"A" * 100_000, b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % i for i in range(20_000)) + b"\r\n",
    b"GET / HTTP/1.1\r\n: empty\r\n\r\n", b"\x00" * 1000,
    b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST /v1/models HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
], ids=range(14))
def test_malformed_requests_end_in_an_error_and_nothing_else(start_daemon, data):
    daemon = start_daemon("--client-timeout", 1)
    try:
        answer = daemon.raw(data, shut=True)
    except ConnectionError:
        answer = b""
    assert status_of(answer) in (None, 400, 403, 404, 405, 413, 414, 431, 505)
    assert daemon.get("/healthz").status == 200


@pytest.mark.parametrize("size, status", [(32_000, 200), (33_000, 413), (200_000, 413)])
def test_headers_have_a_limit_and_the_answer_says_so(daemon, size, status):
    answer = daemon.raw(request_bytes(daemon, "GET", "/healthz", ["X: " + "y" * size]))
    assert status_of(answer) == status
    assert status == 200 or json.loads(body_of(answer))["error"]["code"] == "payload_too_large"


def test_a_request_that_stops_within_its_headers_leaves_nothing(start_daemon):
    daemon = start_daemon("--client-timeout", 1)
    for data in (b"", b"G", b"GET / HTTP/1.1", b"GET / HTTP/1.1\r\nHost:"):
        assert status_of(daemon.raw(data, shut=True)) in (None, 400)
    assert daemon.get("/healthz").status == 200


def test_a_chunked_body_is_read(daemon):
    body = b'{"files": {}}'
    data = request_bytes(daemon, "POST", "/v1/models",
                         ["Content-Type: application/json", "Transfer-Encoding: chunked"],
                         b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
    assert json.loads(body_of(daemon.raw(data)))["error"]["code"] == "missing_required_parameter"


# -- JSON bodies

@pytest.mark.parametrize("body", [b"{", b"nope", b'{"a": 1,}', b'{"a": 1} x', b"\xff\xfe", b'"\xc3\x28"', b"[1e999]",
                                  b'{"a": "\x00"}', b"[" * 5000, b'{"files": {"a\\u0000b": "x"}}'])
def test_malformed_json_is_400(daemon, body):
    answer = daemon.request("POST", "/v1/models", body, content_type="application/json")
    assert (answer.status, answer.error["code"]) == (400, "invalid_json")
    assert answer.error["param"].startswith("body:")


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded",
                                          "application/jsonp", "multipart/mixed; boundary=x"])
def test_other_body_types_are_415(daemon, content_type):
    headers = [f"Content-Type: {content_type}"] if content_type else []
    answer = daemon.raw(request_bytes(daemon, "POST", "/v1/models", headers + ["Content-Length: 2"], b"{}"))
    assert status_of(answer) == 415
    assert json.loads(body_of(answer))["error"]["code"] == "unsupported_media_type"


def test_json_with_a_charset_is_json(daemon):
    answer = daemon.request("POST", "/v1/models", b"{}", content_type="application/json; charset=utf-8")
    assert answer.error["code"] == "missing_required_parameter"


# -- multipart bodies: files of tests/cases/multipart, sent as they are with the boundary "edge"

def case_names():
    return sorted(path.stem for path in CASES.glob("*.body"))


@pytest.mark.parametrize("name", case_names())
@pytest.mark.parametrize("piece", [0, 1])
def test_malformed_multipart_is_refused(daemon, name, piece):
    """Whole, and a byte at a time in chunks."""
    body = (CASES / f"{name}.body").read_bytes()
    headers = ["Content-Type: multipart/form-data; boundary=edge"]
    if piece:
        headers.append("Transfer-Encoding: chunked")
        body = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    else:
        headers.append(f"Content-Length: {len(body)}")
    answer = daemon.raw(request_bytes(daemon, "POST", "/v1/files", headers, body))
    expected = (CASES / f"{name}.expect").read_text().split("\n")[0]
    status, _, text = expected.partition(" ")
    assert status_of(answer) == int(status), answer
    if text:
        assert text in json.loads(body_of(answer))["error"]["message"]
    assert daemon.nothing_staged() and len(daemon.names("files")) == (status == "200")


@pytest.mark.parametrize("content_type", [
    "multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary=""',
    "multipart/form-data; boundary=" + "x" * 71, 'multipart/form-data; boundary="a\r b"',
    "multipart/form-data; boundary=é", "multipart/form-data; boundary",
])
def test_a_boundary_must_be_valid(daemon, content_type):
    answer = daemon.raw(request_bytes(daemon, "POST", "/v1/files", [f"Content-Type: {content_type}",
                                                                    "Content-Length: 5"], b"--x--"))
    assert status_of(answer) in (400, 415)


def test_a_quoted_boundary_is_read(daemon):
    body = b'--a b\r\nContent-Disposition: form-data; name="colour"\r\n\r\nred\r\n--a b--\r\n'
    answer = daemon.raw(request_bytes(daemon, "POST", "/v1/files", [
        'Content-Type: multipart/form-data; charset=utf-8; boundary="a b"', f"Content-Length: {len(body)}"], body))
    assert json.loads(body_of(answer))["error"]["param"] == "colour"


def test_a_body_that_stops_leaves_nothing(start_daemon):
    daemon = start_daemon("--client-timeout", 1)
    content_type, body = multipart([("purpose", None, "fine-tune"), ("file", "a.jsonl", b"x" * 1000)])
    for cut in (0, 10, len(body) // 2, len(body) - 1):
        daemon.raw(request_bytes(daemon, "POST", "/v1/files", [
            f"Content-Type: {content_type}", f"Content-Length: {len(body)}"], body[:cut]), shut=True)
    assert daemon.names("files") == [] and daemon.get("/v1/files").json["data"] == []
    assert daemon.nothing_staged()


# -- idempotency

PARTS = [("purpose", None, "fine-tune"), ("file", "a.jsonl", b'{"text": "a", "label": 0}\n')]


def test_a_retry_gets_the_first_answer(daemon):
    first = daemon.post_parts("/v1/files", PARTS, {"Idempotency-Key": "k"}, boundary="one")
    again = daemon.post_parts("/v1/files", PARTS, {"Idempotency-Key": "k"}, boundary="two")
    assert first.json == again.json and again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert len(daemon.get("/v1/files").json["data"]) == 1 and daemon.nothing_staged()


def test_without_a_key_every_post_counts(daemon):
    assert daemon.post_parts("/v1/files", PARTS).json["id"] != daemon.post_parts("/v1/files", PARTS).json["id"]


@pytest.mark.parametrize("parts", [
    PARTS[::-1], PARTS[:1] + [("file", "a.jsonl", b"other")], PARTS[:1] + [("file", "b.jsonl", PARTS[1][2])],
    [("purpose", None, "user_data"), PARTS[1]],
])
def test_another_request_with_the_key_is_422(daemon, parts):
    daemon.post_parts("/v1/files", PARTS, {"Idempotency-Key": "k"})
    answer = daemon.post_parts("/v1/files", parts, {"Idempotency-Key": "k"})
    assert (answer.status, answer.error["code"]) == (422, "idempotency_mismatch")
    assert len(daemon.get("/v1/files").json["data"]) == 1


def test_another_path_with_the_key_is_422(daemon):
    daemon.post_parts("/v1/files", PARTS, {"Idempotency-Key": "k"})
    assert daemon.post("/v1/models", {"files": {}}, {"Idempotency-Key": "k"}).status == 422


def test_a_json_answer_is_replayed_too(daemon):
    file = daemon.upload_file(b"{}", "config.json", "user_data")["id"]
    body = {"files": {"config.json": file}}
    first = daemon.post("/v1/models", body, {"Idempotency-Key": "m"})
    daemon.delete("/v1/models/" + first.json["id"])
    again = daemon.post("/v1/models", body, {"Idempotency-Key": "m"})
    assert again.json == first.json and again.headers["Idempotent-Replayed"] == "true"


def test_a_refusal_is_replayed_with_its_status(daemon):
    body = {"files": {"config.json": "file-nope"}}
    first = daemon.post("/v1/models", body, {"Idempotency-Key": "r"})
    again = daemon.post("/v1/models", body, {"Idempotency-Key": "r"})
    assert first.status == again.status == 400 and first.json == again.json
    assert again.headers["Idempotent-Replayed"] == "true"


def test_keys_outlive_a_restart(start_daemon):
    daemon = start_daemon()
    first = daemon.post_parts("/v1/files", PARTS, {"Idempotency-Key": "k"})
    daemon.kill()
    daemon = start_daemon(data_dir=daemon.data_dir)
    assert daemon.post_parts("/v1/files", PARTS, {"Idempotency-Key": "k"}).json == first.json


def test_keys_are_apart_for_each_api_key(daemon):
    daemon.key = daemon.create_key("one")
    first = daemon.post_parts("/v1/files", PARTS, {"Idempotency-Key": "k"})
    daemon.key = daemon.create_key("two")
    other = daemon.post_parts("/v1/files", PARTS, {"Idempotency-Key": "k"})
    assert first.json["id"] != other.json["id"]


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_has_a_length(daemon, key):
    answer = daemon.post_parts("/v1/files", PARTS, {"Idempotency-Key": key})
    assert (answer.status, answer.error["param"]) == (400, "Idempotency-Key")


def test_retries_at_once_make_one_object(daemon):
    answers = []
    parts = PARTS[:1] + [("file", "a.jsonl", b"x" * 2_000_000)]

    def post():
        answers.append(daemon.post_parts("/v1/files", parts, {"Idempotency-Key": "k"}))

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} <= {200, 503}
    assert all(answer.headers["Retry-After"] for answer in answers if answer.status == 503)
    assert len({answer.json["id"] for answer in answers if answer.status == 200}) == 1
    assert len(daemon.get("/v1/files").json["data"]) == 1

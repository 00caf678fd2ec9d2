"""Limits: sizes of bodies, headers, connections; full disks; clients that are slow."""

import os
import resource
import shutil
import signal
import subprocess

import pytest


def parts_of(size, name="a.jsonl"):
    return [("purpose", None, "fine-tune"), ("file", name, b"x" * size)]


def post_head(daemon, path, length, content_type, *more):
    lines = [f"POST {path} HTTP/1.1", f"Host: {daemon.host}:{daemon.port}", f"Content-Type: {content_type}",
             f"Content-Length: {length}", *more, "", ""]
    return "\r\n".join(lines).encode()


def nothing_is_left(daemon):
    return daemon.nothing_staged() and daemon.names("files") == daemon.names("models") == []


def test_a_file_may_have_the_limit_and_no_byte_more(start_daemon):
    daemon = start_daemon("--max-upload-bytes", 1000)
    answer = daemon.post_parts("/v1/files", parts_of(1001))
    assert (answer.status, answer.error["code"]) == (413, "payload_too_large") and nothing_is_left(daemon)
    assert daemon.post_parts("/v1/files", parts_of(1000)).status == 200


def test_the_limit_holds_for_a_model_as_a_whole(start_daemon):
    daemon = start_daemon("--max-upload-bytes", 1000)
    answer = daemon.post_parts("/v1/models", [("files", "a", b"x" * 600), ("files", "b", b"x" * 401)])
    assert answer.status == 413 and nothing_is_left(daemon)
    daemon.upload_model({"a": b"x" * 600, "b": b"x" * 400})
    ids = [daemon.upload_file(b"x" * 600, "a", "user_data")["id"] for _ in range(2)]
    assert daemon.post("/v1/models", {"files": {"a": ids[0], "b": ids[1]}}).status == 413


def test_a_body_that_announces_too_much_is_refused_before_it_comes(start_daemon):
    daemon = start_daemon("--max-upload-bytes", 1000)
    answer = daemon.raw(post_head(daemon, "/v1/files", 10**12, "multipart/form-data; boundary=b"))
    assert answer.startswith(b"HTTP/1.1 413 ") and b"Connection: close" in answer


def test_a_client_that_asks_first_is_told_at_once(start_daemon):
    daemon = start_daemon("--max-upload-bytes", 1000)
    content_type = "multipart/form-data; boundary=b"
    answer = daemon.raw(post_head(daemon, "/v1/files", 5_000_000, content_type, "Expect: 100-continue"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    answer = daemon.raw(post_head(daemon, "/v1/nope", 500, content_type, "Expect: 100-continue"))
    assert answer.startswith(b"HTTP/1.1 404 ")


def test_a_refusal_reaches_a_client_that_sends_all(start_daemon):
    daemon = start_daemon("--max-upload-bytes", 1000)
    assert daemon.post_parts("/v1/files", parts_of(30_000_000)).status == 413
    assert daemon.post_parts("/v1/files", parts_of(30_000_000, "a.txt")).status in (413, 415)
    assert nothing_is_left(daemon)


def test_a_chunked_body_without_end_is_cut(start_daemon):
    daemon = start_daemon("--max-upload-bytes", 1000)
    piece = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    with daemon.connect() as sock, pytest.raises(OSError):
        sock.sendall(f"POST /v1/files HTTP/1.1\r\nHost: {daemon.host}:{daemon.port}\r\nTransfer-Encoding: chunked\r\n"
                     "Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode())
        for _ in range(1000):
            sock.sendall(piece)
    assert daemon.get("/healthz").status == 200


def test_json_has_its_own_limit(daemon):
    body = b'{"files": {"a": "' + b"x" * (1 << 20) + b'"}}'
    answer = daemon.request("POST", "/v1/models", body, content_type="application/json")
    assert (answer.status, answer.error["code"]) == (413, "payload_too_large")
    assert daemon.request("POST", "/v1/models", body[:1000], content_type="application/json").status == 400


def test_a_file_that_the_disk_refuses_is_507(start_daemon):
    """The limit on the size of a file stands for a full disk: the same path, without a disk to fill."""
    limit = 2_000_000

    def limit_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    daemon = start_daemon(preexec_fn=limit_files)
    answer = daemon.post_parts("/v1/files", parts_of(3 * limit))
    assert (answer.status, answer.error["code"]) == (507, "disk_full")
    assert answer.headers["X-Should-Retry"] == "false" and nothing_is_left(daemon)
    answer = daemon.post_parts("/v1/models", [("files", "a", b"x" * (3 * limit))])
    assert answer.status == 507 and nothing_is_left(daemon)
    assert daemon.upload_file(b"x" * 1000)["bytes"] == 1000


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="needs root and mount")
def test_a_full_disk_is_507_and_the_daemon_goes_on(start_daemon, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk]).returncode != 0:
        pytest.skip("mount is not allowed")
    try:
        daemon = start_daemon(data_dir=disk / "data", log_dir=tmp_path)
        kept = daemon.upload_file(b"x" * 1_000_000)
        (disk / "filler").write_bytes(b"x" * 4_000_000)
        answer = daemon.post_parts("/v1/files", parts_of(6_000_000))
        assert (answer.status, answer.error["code"]) == (507, "disk_full")
        assert daemon.nothing_staged() and daemon.names("files") == [kept["id"]]
        (disk / "filler").unlink()
        assert daemon.post_parts("/v1/files", parts_of(1_000_000)).status == 200
        daemon.stop()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_connections_have_a_limit(start_daemon):
    daemon = start_daemon("--max-connections", 8)
    socks = [daemon.connect() for _ in range(8)]
    for sock in socks:
        sock.close()
    while True:
        try:
            assert daemon.get("/healthz").status == 200
            break
        except ConnectionError:
            continue


def closed_by_the_other_end(sock):
    sock.settimeout(30)
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


def test_a_client_that_says_nothing_is_dropped(start_daemon):
    daemon = start_daemon("--client-timeout", 1)
    with daemon.connect() as sock:
        assert closed_by_the_other_end(sock)
    assert daemon.get("/healthz").status == 200


def drip(sock, head, piece):
    """Send head, then piece after piece, slowly but never silent, until the other end has had enough."""
    sock.sendall(head)
    sock.settimeout(0.2)
    for _ in range(150):
        try:
            sock.sendall(piece)
            if sock.recv(65536) == b"":
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


def test_a_client_that_drips_headers_is_dropped(start_daemon):
    daemon = start_daemon("--client-timeout", 1)
    with daemon.connect() as sock:
        assert drip(sock, b"GET /healthz HTTP/1.1\r\n", b"X: y\r\n")


def test_a_client_that_drips_a_body_is_dropped_and_leaves_nothing(start_daemon):
    daemon = start_daemon("--client-timeout", 1)
    head = post_head(daemon, "/v1/files", 10**6, "multipart/form-data; boundary=b")
    head += b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    with daemon.connect() as sock:
        assert drip(sock, head, b"x")
    while not nothing_is_left(daemon):
        pass


def test_many_idle_connections_do_not_keep_others_out(daemon):
    socks = [daemon.connect() for _ in range(200)]
    assert daemon.get("/healthz").status == 200
    for sock in socks:
        sock.close()

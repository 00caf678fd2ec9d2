"""/v1/files: upload, read, list, delete; what is on disk afterwards."""

import base64
import contextlib
import hashlib
import os
import signal
import sqlite3
import threading

import pytest

ROWS = b'{"text": "a fine film", "label": 1}\n{"text": "a dull film", "label": 0}\n'


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_upload_answers_the_file_object(daemon):
    answer = daemon.post_parts("/v1/files", [("file", "train.jsonl", ROWS), ("purpose", None, "fine-tune")])
    assert answer.status == 200
    file = answer.json
    assert file["id"].startswith("file-") and file["object"] == "file" and file["status"] == "processed"
    assert (file["filename"], file["bytes"], file["purpose"]) == ("train.jsonl", len(ROWS), "fine-tune")
    assert file["sha256"] == sha256(ROWS)
    assert daemon.get("/v1/files/" + file["id"]).json == file
    assert (daemon.data_dir / "files" / file["id"]).read_bytes() == ROWS
    assert daemon.nothing_staged()


def test_parts_come_in_any_order(daemon):
    for parts in ([("purpose", None, "fine-tune"), ("file", "a.csv", ROWS)],
                  [("file", "a.csv", ROWS), ("purpose", None, "fine-tune")]):
        assert daemon.post_parts("/v1/files", parts).status == 200


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 1_000_003, 20_000_000])
def test_bytes_come_back_as_they_were(daemon, size):
    data = os.urandom(min(size, 1_000_003)) * (1 if size < 2_000_000 else 20)
    data = data[:size]
    file = daemon.upload_file(data)
    assert (file["bytes"], file["sha256"]) == (len(data), sha256(data))
    assert daemon.get(f"/v1/files/{file['id']}/content").body == data


def test_data_that_looks_like_the_boundary_is_kept(daemon):
    data = b"\r\n--edge\r\n--edge\r\r\n--edgf\r\n--edg\r\n-\r\n\r\n--"
    parts = [("purpose", None, "fine-tune"), ("file", "a.tsv", data)]
    answer = daemon.post_parts("/v1/files", parts, boundary="edgeX")
    assert answer.json["sha256"] == sha256(data)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.json", "jsonl", "a.jsonl.exe", ".bin"])
@pytest.mark.parametrize("first", ["file", "purpose"])
def test_other_extensions_are_415(daemon, name, first):
    parts = [("file", name, ROWS), ("purpose", None, "fine-tune")]
    answer = daemon.post_parts("/v1/files", parts if first == "file" else parts[::-1])
    assert (answer.status, answer.error["param"], answer.error["code"]) == (415, "file", "unsupported_media_type")
    assert daemon.names("files") == [] and daemon.nothing_staged()


def test_user_data_takes_any_extension(daemon):
    assert daemon.upload_file(b"{}", "config.json", "user_data")["purpose"] == "user_data"


@pytest.mark.parametrize("purpose", ["", "assistants", "fine-tune-results", "x" * 1000])
def test_other_purposes_are_refused(daemon, purpose):
    answer = daemon.post_parts("/v1/files", [("file", "a.jsonl", ROWS), ("purpose", None, purpose)])
    assert (answer.status, answer.error["param"]) == (400, "purpose")


@pytest.mark.parametrize("parts, param", [
    ([("purpose", None, "fine-tune")], "file"),
    ([("file", "a.jsonl", ROWS)], "purpose"),
    ([("file", None, ROWS), ("purpose", None, "fine-tune")], "file"),
    ([("file", "a.jsonl", ROWS), ("purpose", None, "fine-tune"), ("colour", None, "red")], "colour"),
    ([("file", "a.jsonl", ROWS), ("file", "b.jsonl", ROWS), ("purpose", None, "fine-tune")], "file"),
    ([("purpose", None, "fine-tune"), ("purpose", None, "fine-tune"), ("file", "a.jsonl", ROWS)], "purpose"),
    ([("file", "a" * 300 + ".jsonl", ROWS), ("purpose", None, "fine-tune")], "file"),
    ([("file", "..", ROWS), ("purpose", None, "user_data")], "file"),
])
def test_wrong_parts_are_named(daemon, parts, param):
    answer = daemon.post_parts("/v1/files", parts)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert daemon.names("files") == [] and daemon.nothing_staged()
    assert daemon.get("/v1/files").json["data"] == []


def test_a_filename_is_never_a_path(daemon):
    file = daemon.upload_file(ROWS, "../../etc/train.jsonl")
    assert file["filename"] == "train.jsonl"
    assert daemon.names("files") == [file["id"]]


def test_names_in_other_scripts_survive(daemon):
    file = daemon.upload_file(ROWS, "обучение.jsonl")
    assert daemon.get("/v1/files/" + file["id"]).json["filename"] == "обучение.jsonl"


def test_list_is_newest_first_and_pages(daemon):
    ids = [daemon.upload_file(ROWS, f"{i}.jsonl")["id"] for i in range(5)][::-1]
    page = daemon.get("/v1/files").json
    assert [file["id"] for file in page["data"]] == ids
    assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == ("list", ids[0], ids[-1], False)
    page = daemon.get("/v1/files?limit=2").json
    assert [file["id"] for file in page["data"]] == ids[:2] and page["has_more"] is True
    page = daemon.get(f"/v1/files?limit=3&after={ids[1]}").json
    assert [file["id"] for file in page["data"]] == ids[2:] and page["has_more"] is False
    page = daemon.get(f"/v1/files?order=asc&after={ids[3]}").json
    assert [file["id"] for file in page["data"]] == ids[:3][::-1]


@pytest.mark.parametrize("size", [256 << 10, (256 << 10) + 1, 3 << 20])
def test_a_file_that_comes_in_blocks_has_its_digest(daemon, size):
    data = bytes(i * i % 251 for i in range(1009)) * (size // 1009 + 1)
    file = daemon.upload_file(data[:size], headers={"Idempotency-Key": "one"})
    assert (file["bytes"], file["sha256"]) == (size, sha256(data[:size]))
    assert daemon.upload_file(data[:size], headers={"Idempotency-Key": "one"})["id"] == file["id"]
    assert daemon.get(f"/v1/files/{file['id']}/content").body == data[:size]


def test_clients_that_leave_while_blocks_are_written_leave_nothing(daemon):
    head = b"--x\r\nContent-Disposition: form-data; name=file; filename=a.jsonl\r\n\r\n"
    for size in (300 << 10, 600 << 10, 1500 << 10, 4 << 20):
        with daemon.connect() as sock:
            sock.sendall(f"POST /v1/files HTTP/1.1\r\nHost: {daemon.host}:{daemon.port}\r\nContent-Length: {8 << 20}\r\n"
                         "Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode() + head + b"y" * size)
    assert daemon.upload_file(ROWS)["sha256"] == sha256(ROWS)
    assert daemon.nothing_staged()


@pytest.mark.parametrize("count", [100, 101, 200, 250])
def test_a_long_list_comes_whole(start_daemon, count):
    """It goes out in parts of 100, so that nobody waits for it."""
    daemon = start_daemon()
    daemon.stop()
    ids = [f"file-{i:024}" for i in range(count)]
    with contextlib.closing(sqlite3.connect(daemon.data_dir / "obliviate.db")) as db, db:
        db.executemany("INSERT INTO files (id, created_at, filename, purpose, bytes, sha256) VALUES (?, 1, 'a \"b\".jsonl',"
                       f" 'fine-tune', 2, '{'0' * 64}')", [(id_,) for id_ in ids])
    daemon = start_daemon(data_dir=daemon.data_dir)
    for query, expected, has_more in [("", ids[::-1], False), ("?order=asc", ids, False), ("?limit=150", ids[::-1][:150], count > 150),
                                      (f"?order=asc&after={ids[19]}&limit=120", ids[20:140], count > 140),
                                      ("?purpose=fine-tune", ids[::-1], False), ("?purpose=user_data", [], False)]:
        page = daemon.get("/v1/files" + query).json
        assert [file["id"] for file in page["data"]] == expected, query
        assert page["has_more"] is has_more and page["object"] == "list"
        assert (page["first_id"], page["last_id"]) == ((expected[0], expected[-1]) if expected else (None, None))
        assert all(file["filename"] == 'a "b".jsonl' for file in page["data"])
    assert daemon.request("HEAD", "/v1/files").body == b""


def test_list_by_purpose(daemon):
    daemon.upload_file(ROWS)
    other = daemon.upload_file(b"{}", "config.json", "user_data")
    page = daemon.get("/v1/files?purpose=user_data").json
    assert [file["id"] for file in page["data"]] == [other["id"]]


def test_empty_list_has_null_ids(daemon):
    page = daemon.get("/v1/files").json
    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize("query, status, param", [
    ("limit=0", 400, "limit"), ("limit=10001", 400, "limit"), ("limit=x", 400, "limit"), ("limit=", 400, "limit"),
    ("limit=-1", 400, "limit"), ("limit=5x", 400, "limit"), ("order=up", 400, "order"),
    ("after=file-nope", 404, "after"), ("after=" + "x" * 600, 404, "after"), ("after=%zz", 400, None),
    ("a=%00", 400, None),
])
def test_wrong_queries_are_refused(daemon, query, status, param):
    answer = daemon.get("/v1/files?" + query)
    assert (answer.status, answer.error["param"]) == (status, param)


def test_delete_removes_row_and_bytes(daemon):
    file = daemon.upload_file(ROWS)
    answer = daemon.delete("/v1/files/" + file["id"])
    assert (answer.status, answer.json) == (200, {"id": file["id"], "object": "file", "deleted": True})
    assert daemon.names("files") == []
    for path in ("", "/content"):
        assert daemon.get(f"/v1/files/{file['id']}{path}").status == 404
    assert daemon.delete("/v1/files/" + file["id"]).status == 404


@pytest.mark.parametrize("path", ["file-nope", "..%2f..%2fetc%2fpasswd", "%2e%2e", "a%20b", "x" * 900, "x" * 2000])
def test_unknown_ids_are_404(daemon, path):
    assert daemon.get("/v1/files/" + path).error["code"] == "not_found"
    assert daemon.get(f"/v1/files/{path}/content").status == 404
    assert daemon.delete("/v1/files/" + path).status == 404


# -- content

def test_content_says_what_it_is(daemon):
    file = daemon.upload_file(ROWS)
    answer = daemon.get(f"/v1/files/{file['id']}/content")
    digest = base64.b64encode(hashlib.sha256(ROWS).digest()).decode()
    assert answer.headers["ETag"] == f'"{sha256(ROWS)}"'
    assert answer.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Length"] == str(len(ROWS))
    assert answer.headers["Content-Disposition"] == 'attachment; filename="train.jsonl"'


def test_a_large_file_goes_out_in_large_pieces(daemon):
    """By sendfile, which the HTTP library leaves when it is not told that SIGPIPE is ignored; then it reads 4 KiB at a time."""
    def calls():
        lines = open(f"/proc/{daemon.process.pid}/io").read().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(("syscr", "syscw")))

    file, size = daemon.upload_file(os.urandom(1 << 20) * 16), 16 << 20
    before = calls()
    assert len(daemon.get(f"/v1/files/{file['id']}/content").body) == size
    assert calls() - before < size // 8192


def test_head_is_get_without_a_body(daemon):
    path = f"/v1/files/{daemon.upload_file(ROWS)['id']}/content"
    head, get = daemon.request("HEAD", path), daemon.get(path)
    assert (head.status, head.body) == (200, b"")
    for name in ("ETag", "Content-Length", "Content-Type", "Repr-Digest"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize("header, first, last", [
    ("bytes=0-0", 0, 0), ("bytes=5-9", 5, 9), ("bytes=70-", 70, 71), ("bytes=-4", 68, 71), ("bytes=-1000", 0, 71),
    ("bytes=60-1000", 60, 71), ("bytes=0-", 0, 71),
])
def test_a_range_is_206(daemon, header, first, last):
    assert len(ROWS) == 72
    file = daemon.upload_file(ROWS)
    answer = daemon.get(f"/v1/files/{file['id']}/content", Range=header)
    assert (answer.status, answer.body) == (206, ROWS[first:last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/72"


@pytest.mark.parametrize("header", ["bytes=72-", "bytes=100-200", "bytes=-0"])
def test_a_range_outside_is_416(daemon, header):
    file = daemon.upload_file(ROWS)
    answer = daemon.get(f"/v1/files/{file['id']}/content", Range=header)
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */72")
    assert answer.error["code"] == "range_not_satisfiable"


@pytest.mark.parametrize("header", ["bytes=9-5", "bytes=a-b", "lines=1-2", "bytes=1-2,4-5", "bytes=", "bytes=-", "x"])
def test_what_is_no_single_range_is_ignored(daemon, header):
    file = daemon.upload_file(ROWS)
    answer = daemon.get(f"/v1/files/{file['id']}/content", Range=header)
    assert (answer.status, answer.body) == (200, ROWS)


def test_if_range_with_another_etag_gives_all(daemon):
    path = f"/v1/files/{daemon.upload_file(ROWS)['id']}/content"
    etag = daemon.get(path).headers["ETag"]
    assert daemon.get(path, Range="bytes=0-1", If_Range=etag).status == 206
    assert daemon.get(path, Range="bytes=0-1", If_Range='"other"').status == 200


def test_if_none_match_is_304(daemon):
    path = f"/v1/files/{daemon.upload_file(ROWS)['id']}/content"
    etag = daemon.get(path).headers["ETag"]
    for value in (etag, f'"x", W/{etag}', "*"):
        answer = daemon.get(path, If_None_Match=value)
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", etag)
    assert daemon.get(path, If_None_Match='"x"').status == 200


# -- restarts and crashes

def test_files_outlive_a_restart(start_daemon):
    daemon = start_daemon()
    file = daemon.upload_file(ROWS)
    daemon.stop()
    daemon = start_daemon(data_dir=daemon.data_dir)
    assert daemon.get("/v1/files/" + file["id"]).json == file
    assert daemon.get(f"/v1/files/{file['id']}/content").body == ROWS


def test_files_outlive_a_kill(start_daemon):
    daemon = start_daemon()
    file = daemon.upload_file(ROWS)
    daemon.kill()
    daemon = start_daemon(data_dir=daemon.data_dir)
    assert daemon.get(f"/v1/files/{file['id']}/content").body == ROWS


def half_upload(daemon):
    """An upload that has arrived in part; its socket."""
    sock = daemon.connect()
    sock.sendall((f"POST /v1/files HTTP/1.1\r\nHost: {daemon.host}:{daemon.port}\r\nContent-Length: 5000000\r\n"
                  "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
                  '--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n').encode())
    sock.sendall(b"x" * 1_000_000)
    while daemon.names("staging") == []:
        pass
    return sock


def test_clients_that_leave_leave_nothing(daemon):
    """Several, because an end that arrives together with the last bytes is another case for epoll than one that follows."""
    for _ in range(5):
        half_upload(daemon).close()
        assert daemon.nothing_staged()
    assert daemon.names("files") == [] and daemon.get("/v1/files").json["data"] == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_daemon_that_ends_within_an_upload_leaves_nothing(start_daemon, number):
    daemon = start_daemon()
    with half_upload(daemon) as sock:
        if number == signal.SIGKILL:
            daemon.kill()
        else:
            sock.shutdown(1)
            daemon.stop()
    daemon = start_daemon(data_dir=daemon.data_dir)
    assert daemon.names("files") == [] and daemon.nothing_staged()


def test_bytes_without_a_row_are_swept_at_start(start_daemon):
    daemon = start_daemon()
    file = daemon.upload_file(ROWS)
    daemon.stop()
    (daemon.data_dir / "files" / "file-orphan").write_bytes(b"x")
    (daemon.data_dir / "staging" / "deep" / "er").mkdir(parents=True)
    (daemon.data_dir / "staging" / "deep" / "er" / "f").write_bytes(b"x")
    daemon = start_daemon(data_dir=daemon.data_dir)
    assert daemon.names("files") == [file["id"]] and daemon.nothing_staged()


def test_uploads_at_once_do_not_mix(daemon):
    """More than the pool has threads, and more bytes than their queues hold: connections sleep and go on."""
    payloads = [os.urandom(300_000) for _ in range(8)] + [os.urandom(1 << 20) * 8 for _ in range(6)]
    answers = [None] * len(payloads)

    def upload(i):
        answers[i] = daemon.upload_file(payloads[i], f"{i}.jsonl")

    threads = [threading.Thread(target=upload, args=(i,)) for i in range(len(payloads))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for payload, file in zip(payloads, answers):
        assert daemon.get(f"/v1/files/{file['id']}/content").body == payload

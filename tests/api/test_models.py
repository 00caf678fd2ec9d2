"""/v1/models: base models by parts and by links; identity, safety of paths, deletion."""

import hashlib
import json
import os
import threading

import pytest

MODEL = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": bytes(range(256)) * 40,
    "1_Pooling/config.json": b'{"word_embedding_dimension": 8}',
    "vocab.txt": "[PAD]\n[UNK]\nhello\n".encode(),
}


def digest(files):
    lines = (f"{hashlib.sha256(data).hexdigest()}  {len(data)}  {path}\n".encode()
             for path, data in sorted(files.items(), key=lambda item: item[0].encode()))
    return hashlib.sha256(b"".join(lines)).hexdigest()


def parts(files):
    return [("files", path, data) for path, data in files.items()]


def test_upload_answers_the_model_object(daemon):
    model = daemon.upload_model(MODEL)
    assert model["sha256"] == digest(MODEL) and model["id"] == "model-" + digest(MODEL)[:24]
    assert (model["object"], model["bytes"]) == ("model", sum(map(len, MODEL.values())))
    assert isinstance(model["created"], int) and isinstance(model["owned_by"], str)
    assert model["files"] == [
        {"path": path, "bytes": len(MODEL[path]), "sha256": hashlib.sha256(MODEL[path]).hexdigest()}
        for path in sorted(MODEL)]
    assert daemon.get("/v1/models/" + model["id"]).json == model
    for path, data in MODEL.items():
        assert (daemon.data_dir / "models" / model["id"] / path).read_bytes() == data
    assert daemon.nothing_staged()


def test_the_order_of_parts_does_not_matter(daemon):
    first = daemon.upload_model(MODEL)
    again = daemon.upload_model(dict(reversed(MODEL.items())))
    assert again == first
    assert len(daemon.get("/v1/models").json["data"]) == 1


def test_the_same_bytes_at_once_are_one_model(daemon):
    files = {**MODEL, "big": os.urandom(3_000_000)}
    models = [None] * 6

    def upload(i):
        models[i] = daemon.upload_model(files)

    threads = [threading.Thread(target=upload, args=(i,)) for i in range(len(models))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(model == models[0] for model in models)
    assert len(daemon.get("/v1/models").json["data"]) == 1


def test_another_path_is_another_model(daemon):
    ids = {daemon.upload_model({path: b"x"})["id"] for path in ("a", "b", "a/b", "b/a")}
    assert len(ids) == 4


def test_paths_are_sorted_by_bytes(daemon):
    files = {"B": b"1", "a": b"2", "a.b": b"3", "a/b": b"4", "é": b"5", "z": b"6"}
    del files["a"]  # a file cannot be a directory too
    assert daemon.upload_model(files)["sha256"] == digest(files)


@pytest.mark.parametrize("path", [
    "../x", "/etc/passwd", "a/../b", "a//b", "./a", "a/.", "a/", "..", ".", "", "a\\b", "a\tb", "x" * 600,
    "a/" * 300 + "b", "x" * 300,
])
def test_unsafe_paths_are_refused(daemon, path):
    answer = daemon.post_parts("/v1/models", [("files", "config.json", b"{}"), ("files", path, b"x")])
    assert answer.status == 400 and answer.error["code"] == "invalid_value"
    assert daemon.names("models") == [] and daemon.nothing_staged()


@pytest.mark.parametrize("names", [("a", "a"), ("a/b", "a"), ("a", "a/b"), ("a/b/c", "a/b")])
def test_paths_that_collide_are_refused(daemon, names):
    answer = daemon.post_parts("/v1/models", [("files", name, b"x") for name in names])
    assert answer.status == 400 and answer.error["code"] == "invalid_value", answer
    assert daemon.names("models") == [] and daemon.nothing_staged()


def test_other_parts_are_named(daemon):
    answer = daemon.post_parts("/v1/models", parts(MODEL) + [("name", None, "mine")])
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "unknown_parameter", "name")
    assert daemon.post_parts("/v1/models", [("files", None, b"x")]).error["param"] == "files"


def test_a_model_needs_files(daemon):
    assert daemon.post_parts("/v1/models", []).status == 400
    assert daemon.post("/v1/models").status == 400
    assert daemon.post("/v1/models", {}).error["code"] == "missing_required_parameter"
    assert daemon.post("/v1/models", {"files": {}}).error["code"] == "missing_required_parameter"


def test_too_many_files_are_refused(daemon):
    answer = daemon.post_parts("/v1/models", [("files", f"f{i}", b"") for i in range(1001)])
    assert answer.status == 413 and daemon.nothing_staged()


def test_a_pickle_is_stored_and_never_opened(daemon):
    files = {"pytorch_model.bin": b"\x80\x04cos\nsystem\n"}
    assert daemon.upload_model(files)["sha256"] == digest(files)


# -- by links

def test_files_become_a_model_by_links(daemon):
    ids = {path: daemon.upload_file(data, path.split("/")[-1], "user_data")["id"] for path, data in MODEL.items()}
    answer = daemon.post("/v1/models", {"files": ids})
    assert answer.status == 200 and answer.json["sha256"] == digest(MODEL)
    path = daemon.data_dir / "models" / answer.json["id"] / "model.safetensors"
    assert path.stat().st_nlink == 2
    assert daemon.upload_model(MODEL) == answer.json
    daemon.delete("/v1/files/" + ids["model.safetensors"])
    assert path.read_bytes() == MODEL["model.safetensors"]


@pytest.mark.parametrize("body, code", [
    ([], "invalid_value"), ({"files": []}, "invalid_value"), ({"files": {"a": 5}}, "invalid_value"),
    ({"files": {"a": "file-nope"}}, "invalid_value"), ({"files": {"a": "../../obliviate.db"}}, "invalid_value"),
    ({"files": {"a": "file-nope"}, "name": "x"}, "unknown_parameter"),
])
def test_wrong_links_are_refused(daemon, body, code):
    answer = daemon.post("/v1/models", body)
    assert (answer.status, answer.error["code"]) == (400, code)
    assert daemon.nothing_staged()


def test_linked_paths_must_be_safe(daemon):
    file = daemon.upload_file(b"{}", "config.json", "user_data")["id"]
    for path in ("../x", "/x", "a/../../x", ""):
        assert daemon.post("/v1/models", {"files": {path: file}}).status == 400
    assert daemon.post("/v1/models", {"files": {"a": file, "a/b": file}}).error["code"] == "invalid_value"
    assert daemon.names("models") == [] and daemon.nothing_staged()


def test_a_duplicate_key_is_refused(daemon):
    answer = daemon.request("POST", "/v1/models", b'{"files": {"a": "file-1", "a": "file-2"}}',
                            content_type="application/json")
    assert (answer.status, answer.error["code"]) == (400, "invalid_json")


# -- list, delete

def test_list_pages(daemon):
    ids = [daemon.upload_model({"config.json": json.dumps(i).encode()})["id"] for i in range(4)][::-1]
    assert [model["id"] for model in daemon.get("/v1/models").json["data"]] == ids
    page = daemon.get(f"/v1/models?limit=2&after={ids[0]}").json
    assert [model["id"] for model in page["data"]] == ids[1:3] and page["has_more"] is True
    assert (page["first_id"], page["last_id"]) == (ids[1], ids[2])
    for query, status in (("limit=101", 400), ("limit=100", 200), ("after=model-nope", 404)):
        assert daemon.get("/v1/models?" + query).status == status


def test_delete_removes_row_and_directory(daemon):
    model = daemon.upload_model(MODEL)
    answer = daemon.delete("/v1/models/" + model["id"])
    assert answer.json == {"id": model["id"], "object": "model", "deleted": True}
    assert daemon.names("models") == [] and daemon.nothing_staged()
    assert daemon.get("/v1/models/" + model["id"]).status == 404
    assert daemon.delete("/v1/models/" + model["id"]).status == 404
    again = daemon.upload_model(MODEL)
    assert (again["id"], again["sha256"]) == (model["id"], model["sha256"])


@pytest.mark.parametrize("path", ["model-nope", "..%2ffiles", "%2e%2e", "ft:model:x:y", "ft%3Amodel%3A%3Ax"])
def test_unknown_models_are_404(daemon, path):
    assert daemon.get("/v1/models/" + path).status == 404
    assert daemon.delete("/v1/models/" + path).status == 404


# -- restarts

def test_models_outlive_a_kill(start_daemon):
    daemon = start_daemon()
    model = daemon.upload_model(MODEL)
    daemon.kill()
    daemon = start_daemon(data_dir=daemon.data_dir)
    assert daemon.get("/v1/models/" + model["id"]).json == model
    for path, data in MODEL.items():
        assert (daemon.data_dir / "models" / model["id"] / path).read_bytes() == data


def test_a_directory_without_a_row_is_swept_at_start(start_daemon):
    daemon = start_daemon()
    daemon.stop()
    orphan = daemon.data_dir / "models" / ("model-" + digest(MODEL)[:24])
    orphan.mkdir()
    (orphan / "config.json").write_bytes(b"half")
    daemon = start_daemon(data_dir=daemon.data_dir)
    assert daemon.names("models") == []
    daemon.upload_model(MODEL)
    assert (orphan / "config.json").read_bytes() == MODEL["config.json"]


def test_a_client_that_leaves_leaves_nothing(daemon):
    with daemon.connect() as sock:
        sock.sendall((f"POST /v1/models HTTP/1.1\r\nHost: {daemon.host}:{daemon.port}\r\nContent-Length: 5000000\r\n"
                      "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
                      '--b\r\nContent-Disposition: form-data; name="files"; filename="a/b/c"\r\n\r\nxyz').encode())
        while not any(name.endswith("a/b/c") for name in daemon.names("staging")):
            pass
    assert daemon.nothing_staged()
    assert daemon.names("models") == []

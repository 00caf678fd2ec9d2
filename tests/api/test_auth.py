"""API keys, Host and Origin, what needs no key, and the key commands."""

import re
import sqlite3

import pytest

from harness import run_cli

OPEN = ["/healthz", "/version", "/metrics"]


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def test_without_keys_loopback_is_open(daemon):
    assert daemon.get("/v1/files").status == 200


def test_without_keys_other_addresses_are_refused_at_start(tmp_path):
    for address in ("0.0.0.0:0", "[::]:0"):
        out = run_cli("--data-dir", tmp_path / "data", "--listen", address)
        assert out.returncode == 64 and "key" in out.stderr and out.stdout == ""


def test_with_a_key_other_addresses_are_served(start_daemon, tmp_path):
    run_cli("key", "create", "--data-dir", tmp_path / "data")
    daemon = start_daemon(data_dir=tmp_path / "data", listen="0.0.0.0:0")
    daemon.host = "127.0.0.1"
    assert daemon.get("/v1/files").status == 401


def test_once_a_key_exists_v1_needs_it(daemon):
    key = daemon.create_key()
    for method, path in (("GET", "/v1/files"), ("GET", "/v1/models/x"), ("DELETE", "/v1/files/x")):
        answer = daemon.request(method, path)
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert daemon.request("GET", "/v1/files", headers=bearer(key)).status == 200
    assert daemon.request("GET", "/v1/files", headers={"Authorization": f"bearer {key}"}).status == 200
    for path in OPEN:
        assert daemon.get(path).status == 200


def wrong_keys(key):
    prefix, ident, secret = re.fullmatch(r"(sk-obl-)([0-9a-f]+)-([0-9a-f]+)", key).groups()
    flipped = secret[:-1] + ("0" if secret[-1] != "0" else "1")
    return ["", "x", prefix, key[:-1], key + "0", f"{prefix}{ident}-{flipped}", f"{prefix}{ident}-",
            f"{prefix}{'0' * len(ident)}-{secret}", key.upper(), "x" * 5000, f"{key} {key}"]


def test_wrong_keys_are_refused(daemon):
    key = daemon.create_key()
    for wrong in wrong_keys(key):
        answer = daemon.request("GET", "/v1/files", headers=bearer(wrong))
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key"), wrong
    for value in (key, f"Basic {key}", "Bearer", f"Token {key}"):
        assert daemon.request("GET", "/v1/files", headers={"Authorization": value}).status == 401


def test_a_refused_upload_stores_nothing(daemon):
    daemon.create_key()
    answer = daemon.post_parts("/v1/files", [("purpose", None, "fine-tune"), ("file", "a.jsonl", b"x" * 100_000)])
    assert answer.status == 401 and daemon.names("files") == daemon.names("staging") == []


def test_a_revoked_key_is_refused_and_the_door_stays_shut(daemon):
    key = daemon.create_key("first")
    listed = run_cli("key", "list", "--data-dir", daemon.data_dir).stdout
    ident, name, created = listed.rstrip("\n").split("\t")
    assert name == "first" and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", created)
    assert daemon.request("GET", "/v1/files", headers=bearer(key)).status == 200
    assert run_cli("key", "revoke", ident, "--data-dir", daemon.data_dir).returncode == 0
    assert daemon.request("GET", "/v1/files", headers=bearer(key)).status == 401
    assert daemon.get("/v1/files").status == 401
    assert run_cli("key", "list", "--data-dir", daemon.data_dir).stdout == ""
    assert run_cli("key", "revoke", ident, "--data-dir", daemon.data_dir).returncode == 66
    assert run_cli("key", "revoke", "key-nope", "--data-dir", daemon.data_dir).returncode == 66


def test_create_prints_the_secret_alone_and_keeps_only_its_hash(tmp_path):
    out = run_cli("key", "create", "--name", "ci", "--data-dir", tmp_path / "data")
    assert out.returncode == 0 and re.fullmatch(r"sk-obl-[0-9a-f]{24}-[0-9a-f]{48}\n", out.stdout)
    secret = out.stdout.strip().rsplit("-", 1)[1]
    for path in (tmp_path / "data").iterdir():
        assert path.is_dir() or secret.encode() not in path.read_bytes()
    rows = sqlite3.connect(tmp_path / "data" / "obliviate.db").execute("SELECT name, hash FROM api_keys").fetchall()
    assert len(rows) == 1 and rows[0][0] == "ci" and len(rows[0][1]) == 64


@pytest.mark.parametrize("words", [
    ["key"], ["key", "make"], ["key", "revoke"], ["key", "revoke", "a", "b"], ["keys", "list"], ["key", "list", "x"],
    ["key", "create", "--name", "a\tb"], ["key", "create", "--bogus"],
])
def test_wrong_key_commands_are_usage_errors(tmp_path, words):
    out = run_cli(*words, "--data-dir", tmp_path / "data")
    assert (out.returncode, out.stdout) == (64, "") and out.stderr


# -- names of the daemon

def status_for(daemon, host, origin=None, path="/v1/files"):
    lines = [f"GET {path} HTTP/1.1", "Connection: close"]
    lines += [f"Host: {host}"] if host is not None else []
    lines += [f"Origin: {origin}"] if origin is not None else []
    answer = daemon.raw("\r\n".join(lines + ["", ""]).encode())
    return int(answer.split(b" ")[1])


def test_own_hosts_are_served(daemon):
    for host in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]", "127.1.2.3"):
        assert status_for(daemon, f"{host}:{daemon.port}") == 200, host


def test_foreign_hosts_are_refused(daemon):
    port = daemon.port
    for host in (f"evil.example:{port}", "127.0.0.1", "localhost", f"127.0.0.1:{port + 1}", f"localhost.evil:{port}",
                 f"127.0.0.1:{port}.evil", "", f"[::1:{port}", f"10.0.0.1:{port}", f"localhost:{port}@evil", "x" * 400):
        assert status_for(daemon, host) in (400, 403), host
    assert status_for(daemon, f"evil.example:{port}", path="/healthz") == 403


def test_a_request_without_host_is_refused(daemon):
    assert status_for(daemon, None) == 400


def test_own_origins_are_served(daemon):
    for origin in (f"http://127.0.0.1:{daemon.port}", f"http://localhost:{daemon.port}"):
        assert status_for(daemon, f"127.0.0.1:{daemon.port}", origin) == 200


def test_foreign_origins_are_refused(daemon):
    for origin in ("null", "http://evil.example", f"http://evil.example:{daemon.port}", "http://127.0.0.1",
                   f"https://127.0.0.1:{daemon.port + 1}", f"ftp://127.0.0.1:{daemon.port}", "", "http://"):
        assert status_for(daemon, f"127.0.0.1:{daemon.port}", origin) == 403, origin


def test_a_cross_site_post_does_nothing(daemon):
    answer = daemon.post_parts("/v1/files", [("purpose", None, "fine-tune"), ("file", "a.jsonl", b"x")],
                               headers={"Origin": "http://evil.example"})
    assert (answer.status, answer.error["code"]) == (403, "forbidden")
    assert daemon.get("/v1/files").json["data"] == []


def test_allowed_hosts_are_served(start_daemon):
    daemon = start_daemon("--allowed-hosts", "obliviate.example,proxy.example:8443")
    for host, origin, status in (("obliviate.example", None, 200), ("obliviate.example:9", None, 200),
                                 ("obliviate.example", "https://obliviate.example", 200),
                                 ("proxy.example:8443", "https://proxy.example:8443", 200),
                                 ("proxy.example", None, 403), ("other.example", None, 403)):
        assert status_for(daemon, host, origin) == status, (host, origin)

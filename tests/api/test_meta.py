"""Health, version, metrics, the page, openapi.yaml, the command line, start and stop."""

import json
import re
import signal
import sqlite3

import pytest

from harness import ROOT, run_cli


def test_health_and_version(daemon):
    assert daemon.get("/healthz").json == {"status": "ok"}
    version = daemon.get("/version").json
    assert version["name"] == "obliviated" and re.fullmatch(r"\d+\.\d+\.\d+", version["version"])
    assert run_cli("--version").stdout == f"obliviated {version['version']}\n"


def test_ready_needs_a_worker_program(start_daemon, tmp_path):
    worker = tmp_path / "worker"
    worker.write_text("#!/bin/sh\nexit 70\n")
    worker.chmod(0o755)
    daemon = start_daemon("--worker", worker)
    assert daemon.get("/readyz").json == {"status": "ready"}
    worker.unlink()
    answer = daemon.get("/readyz")
    assert (answer.status, answer.error["code"]) == (503, "unavailable") and answer.headers["Retry-After"]


def test_metrics_are_prometheus_text(daemon):
    daemon.get("/v1/nope")
    answer = daemon.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    text = answer.body.decode()
    for line in text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) obliviate_\w+ .+|obliviate_\w+(\{\w+=\"[^\"]*\"(,\w+=\"[^\"]*\")*\})? [0-9.e+-]+", line), line
    assert 'obliviate_http_answers_total{class="4xx"} 1\n' in text


def test_openapi_is_served_as_it_stands(daemon):
    if not (ROOT / "openapi.yaml").exists():
        pytest.skip("no openapi.yaml yet")
    answer = daemon.get("/openapi.yaml")
    assert answer.body == (ROOT / "openapi.yaml").read_bytes()
    assert answer.headers["Content-Type"] == "application/yaml"
    assert daemon.get("/openapi.yaml", If_None_Match=answer.headers["ETag"]).status == 304


def test_the_page_is_served(daemon):
    web = ROOT / "server" / "web"
    if not (web / "index.html").exists():
        pytest.skip("no page yet")
    answer = daemon.get("/")
    assert answer.body == (web / "index.html").read_bytes()
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    for path in web.iterdir():
        assert daemon.get("/" + path.name).body == path.read_bytes()


@pytest.mark.parametrize("path", ["/nope.js", "/..%2f..%2fetc%2fpasswd", "/0001_init.sql", "/%2e%2e%2findex.html"])
def test_other_names_are_404(daemon, path):
    assert daemon.get(path).error["code"] == "not_found"


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/files", "/v1/nope"])
def test_every_answer_has_the_safety_headers(daemon, path):
    headers = daemon.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert re.fullmatch(r"req-[0-9a-f]{24}", headers["X-Request-Id"])
    assert headers["Cache-Control"] == ("no-cache" if path == "/" else "no-store")


# -- command line

def test_help_names_every_option():
    out = run_cli("--help")
    assert out.returncode == 0 and out.stderr == ""
    for name in ("data-dir", "listen", "workers", "threads", "sandbox", "max-upload-bytes", "max-queue",
                 "job-time-limit", "config"):
        assert f"--{name}" in out.stdout


@pytest.mark.parametrize("arguments", [
    [], ["--bogus"], ["--data-dir"], ["--listen", "nonsense"], ["--listen", "127.0.0.1:65536"], ["--listen", ":"],
    ["--workers", "0"], ["--workers", "many"], ["--sandbox", "maybe"], ["--max-upload-bytes", "-1"],
    ["--config", "/nonexistent"], ["serve"],
])
def test_wrong_usage_exits_64(tmp_path, arguments):
    if arguments and arguments != ["--data-dir"]:
        arguments = arguments + ["--data-dir", tmp_path / "data"]
    out = run_cli(*arguments)
    assert out.returncode in (64, 66) and out.stderr.startswith("obliviated: ") and out.stdout == "", out


def test_settings_come_from_environment_and_file(start_daemon, tmp_path):
    def limit(daemon):
        answer = daemon.post_parts("/v1/files", [("purpose", None, "fine-tune"), ("file", "a.jsonl", b"x" * 5000)])
        return answer.status

    config = tmp_path / "config.json"
    config.write_text(json.dumps({"max-upload-bytes": 4000}))
    assert limit(start_daemon(data_dir=tmp_path / "a")) == 200
    assert limit(start_daemon("--config", config, data_dir=tmp_path / "b")) == 413
    env = {"OBLIVIATE_MAX_UPLOAD_BYTES": "6000"}
    assert limit(start_daemon("--config", config, data_dir=tmp_path / "c", env=env)) == 200
    assert limit(start_daemon("--max-upload-bytes", 3000, data_dir=tmp_path / "d", env=env)) == 413


def test_an_unknown_key_in_the_file_is_refused(tmp_path):
    config = tmp_path / "config.json"
    config.write_text('{"max-uploads": 5}')
    out = run_cli("--config", config, "--data-dir", tmp_path / "data")
    assert out.returncode == 64 and "max-uploads" in out.stderr


# -- start and stop

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_asked(daemon, number):
    daemon.stop(number)


def test_logs_are_objects_a_line(daemon):
    daemon.raw(b"GET /v1/nope\x7f%00\xff HTTP/1.1\r\nHost: evil\x01\r\nConnection: close\r\n\r\n")
    daemon.upload_file(b"x")
    daemon.stop()
    for line in daemon.log_lines():
        assert set(line) == {"time", "level", "event", "message"}


def test_a_second_daemon_is_refused(daemon):
    out = run_cli("--data-dir", daemon.data_dir, "--listen", "127.0.0.1:0")
    assert out.returncode == 75 and "another daemon" in out.stderr
    assert daemon.get("/healthz").status == 200


def test_a_taken_port_is_an_error(daemon, tmp_path):
    out = run_cli("--data-dir", tmp_path / "other", "--listen", f"127.0.0.1:{daemon.port}")
    assert out.returncode == 74 and "in use" in out.stderr


def test_a_newer_database_is_refused_untouched(start_daemon):
    daemon = start_daemon()
    daemon.stop()
    with sqlite3.connect(daemon.data_dir / "obliviate.db") as db:
        db.execute("PRAGMA user_version = 999")
    out = run_cli("--data-dir", daemon.data_dir, "--listen", "127.0.0.1:0")
    assert out.returncode == 65 and "newer" in out.stderr


def test_a_changed_history_is_refused(start_daemon):
    daemon = start_daemon()
    daemon.stop()
    with sqlite3.connect(daemon.data_dir / "obliviate.db") as db:
        db.execute("UPDATE schema_migrations SET sha256 = replace(sha256, substr(sha256, 1, 1), 'x')")
    out = run_cli("--data-dir", daemon.data_dir, "--listen", "127.0.0.1:0")
    assert out.returncode == 65 and "0001_init.sql" in out.stderr


def test_a_file_that_is_no_database_is_refused(start_daemon, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "obliviate.db").write_bytes(b"not a database, but long enough to be read as one" * 100)
    out = run_cli("--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0")
    assert out.returncode == 65, out

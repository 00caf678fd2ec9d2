"""The harness of all tests that need a daemon: a real one, built with sanitizers, on a real socket over a real data
directory. The fixtures are in conftest.py beside this file.

    def test_something(daemon):                 # one daemon for this test
        answer = daemon.get("/v1/files")
        assert answer.status == 200 and answer.json["data"] == []

    def test_other(start_daemon):               # with flags; may be called again on the same directory
        daemon = start_daemon("--max-upload-bytes", "1000")
        daemon.kill()                            # SIGKILL
        daemon = start_daemon(data_dir=daemon.data_dir)

Every daemon that is still up at the end of a test is stopped with SIGTERM and must exit with 0 and without a word from a
sanitizer.
"""

import contextlib
import http.client
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[1]
BIN = pathlib.Path(os.environ.get("OBLIVIATE_BIN", ROOT / "build" / "san"))
START_S = 30
STOP_S = 30


class Answer:
    """What came back: status, headers (case-insensitive), body, and json parsed on demand."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The error object; asserts its form."""
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        assert isinstance(error["message"], str) and error["message"]
        return error

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


def multipart(parts, boundary=None):
    """Content type and body for parts (name, filename or None, bytes or str)."""
    boundary = boundary or uuid.uuid4().hex
    out = b""
    for name, filename, data in parts:
        data = data.encode() if isinstance(data, str) else data
        place = f'; filename="{filename}"' if filename is not None else ""
        out += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{place}\r\n\r\n'.encode() + data + b"\r\n"
    return f"multipart/form-data; boundary={boundary}", out + f"--{boundary}--\r\n".encode()


class Daemon:
    def __init__(self, data_dir, *flags, env=None, preexec_fn=None, listen="127.0.0.1:0",
                 log_dir=None):
        self.data_dir = pathlib.Path(data_dir)
        self.key = None
        self.log_path = pathlib.Path(log_dir or self.data_dir.parent) / f"{self.data_dir.name}-{uuid.uuid4().hex[:8]}.log"
        clean = {k: v for k, v in os.environ.items() if not k.startswith("OBLIVIATE_")}
        clean["ASAN_OPTIONS"] = "abort_on_error=0:detect_leaks=1:" + clean.get("ASAN_OPTIONS", "")
        clean["UBSAN_OPTIONS"] = "print_stacktrace=1"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [BIN / "obliviated", "--data-dir", self.data_dir, "--listen", listen, *map(str, flags)],
                stdout=subprocess.PIPE, stderr=log, env={**clean, **(env or {})}, preexec_fn=preexec_fn)
        line = self._ready_line()
        found = re.fullmatch(rb"obliviated listening on (http://(.+):(\d+))\n", line)
        assert found, f"no ready line: {line!r}\n{self.log}"
        self.url = found[1].decode()
        self.host = found[2].decode().strip("[]")
        self.port = int(found[3])

    def _ready_line(self):
        deadline, line = time.monotonic() + START_S, b""
        while not line.endswith(b"\n") and time.monotonic() < deadline:
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                piece = os.read(self.process.stdout.fileno(), 4096)
                if piece == b"":
                    break
                line += piece
        return line

    # -- its end

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def log_lines(self):
        """What it logged, as objects; every line must be one."""
        return [json.loads(line) for line in self.log.splitlines()]

    def stop(self, number=signal.SIGTERM):
        """Ask it to stop; it must do so, cleanly."""
        self.process.send_signal(number)
        code = self.process.wait(STOP_S)
        assert "Sanitizer" not in self.log and "runtime error" not in self.log, self.log
        assert code == 0, f"exit status {code}\n{self.log}"

    def kill(self):
        self.process.kill()
        self.process.wait(STOP_S)

    @property
    def is_up(self):
        return self.process.poll() is None

    # -- requests

    def connect(self, timeout=30):
        return socket.create_connection((self.host, self.port), timeout)

    def raw(self, data, timeout=30, shut=False):
        """Send bytes, read until the other end closes."""
        with self.connect(timeout) as sock:
            sock.sendall(data)
            if shut:
                with contextlib.suppress(OSError):  # the other end may have closed already
                    sock.shutdown(socket.SHUT_WR)
            out = b""
            while piece := sock.recv(65536):
                out += piece
            return out

    def request(self, method, path, body=None, headers=None, content_type=None):
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body, content_type = json.dumps(body).encode(), content_type or "application/json"
        if content_type:
            headers["Content-Type"] = content_type
        if self.key and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {self.key}"
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def post(self, path, body=None, headers=None):
        return self.request("POST", path, body, headers)

    def delete(self, path):
        return self.request("DELETE", path)

    def post_parts(self, path, parts, headers=None, boundary=None):
        content_type, body = multipart(parts, boundary)
        return self.request("POST", path, body, headers, content_type)

    # -- the usual objects

    def upload_file(self, data, filename="train.jsonl", purpose="fine-tune", headers=None):
        answer = self.post_parts(
            "/v1/files", [("purpose", None, purpose), ("file", filename, data)], headers)
        assert answer.status == 200, answer
        return answer.json

    def upload_model(self, files):
        """files: path -> bytes."""
        answer = self.post_parts("/v1/models", [("files", path, data) for path, data in files.items()])
        assert answer.status == 200, answer
        return answer.json

    def create_key(self, name="test"):
        out = subprocess.run([BIN / "obliviated", "key", "create", "--name", name, "--data-dir", self.data_dir],
                             check=True, capture_output=True).stdout
        return out.decode().strip()

    def nothing_staged(self):
        """Wait until staging/ is empty: what a request leaves there is removed off the loop, soon after its end."""
        deadline = time.monotonic() + STOP_S
        while (left := os.listdir(self.data_dir / "staging")) and time.monotonic() < deadline:
            time.sleep(0.01)
        return left == []

    def names(self, *parts):
        """Every path below data_dir/parts, relative, sorted."""
        top = self.data_dir.joinpath(*parts)
        return sorted(str(path.relative_to(top)) for path in top.rglob("*"))


def run_cli(*arguments, env=None):
    """obliviated with arguments that make it end by itself."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OBLIVIATE_")}
    return subprocess.run([BIN / "obliviated", *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          env={**clean, **(env or {})})

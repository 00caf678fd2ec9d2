#!/usr/bin/env python3
"""A worker that does what the job's metadata says, wrongly where asked: for the tests of the daemon's side of the
protocol. metadata.do is a list of commands, separated by ";":

    phase NAME | steps N | flood N (as fast as the pipe takes them) | paced N RATE | metrics | checkpoint | resume
    error CODE WHERE MESSAGE (~ is a blank) | raw TEXT | long N
    file PATH TEXT | write PATH | link PATH TARGET | results | artifacts | announce PATH BYTES SHA256
    sleep S | sleep_until FILE-IN-OUT | hang | deaf (to SIGTERM) | orphan (outlives the daemon) | once COMMAND (in the first run only)
    unless_runs N COMMAND (in the first N - 1 runs)
    kill SIGNAL | exit CODE | done | ok (a whole good run) | child (leaves one that holds the output)
"""
import ctypes
import hashlib
import json
import os
import signal
import sys
import time

MODEL, DATA, OUT = 3, 4, 5
stopping = False


def say(**line):
    os.write(1, json.dumps(line).encode() + b"\n")


def write(path, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
    parts = path.split("/")
    for i in range(1, len(parts)):
        try:
            os.mkdir("/".join(parts[:i]), dir_fd=OUT)
        except FileExistsError:
            pass
    fd = os.open(path, flags, 0o600, dir_fd=OUT)
    os.write(fd, data)
    os.close(fd)


def read(path, dir_fd=OUT):
    try:
        fd = os.open(path, os.O_RDONLY, dir_fd=dir_fd)
    except FileNotFoundError:
        return b""
    with os.fdopen(fd, "rb") as file:
        return file.read()


class Worker:
    def __init__(self, spec):
        self.spec = spec
        self.step = 0
        self.artifacts = []
        write("runs", b"%d\n" % os.getpid(), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.runs = len(read("runs").splitlines())

    def phase(self, name):
        say(type="phase", name=name)

    def next_step(self, of):
        self.step += 1
        return {"type": "step", "step": self.step, "of": int(of), "epoch": 1, "loss": 1 / self.step, "ce": 0.5, "amplify": -1.5,
                "attention": None, "learning_rate": 1e-3, "tokens_per_second": 1000.0, "eta_s": 5}

    def steps(self, n, of=None):
        for _ in range(int(n)):
            if stopping:
                self.checkpoint()
                sys.exit(75)
            say(**self.next_step(of or 1000))

    def flood(self, n):
        data = b"".join(json.dumps(self.next_step(n)).encode() + b"\n" for _ in range(int(n)))
        while data:
            data = data[os.write(1, data):]

    def paced(self, n, rate):
        begin = time.monotonic()
        for i in range(int(n)):
            time.sleep(max(0, begin + i / float(rate) - time.monotonic()))
            self.steps(1, n)

    def metrics(self):
        for name, value in ("train_loss", 0.5), ("valid_loss", 0.6), ("valid_accuracy", 0.75):
            say(type="metric", name=name, value=value)

    def checkpoint(self):
        write("checkpoint", b"%d" % self.step)

    def resume(self):
        self.step = int(read("checkpoint") or b"0")

    def error(self, code, where, message):
        say(type="error", code=code, where=where.replace("~", " ").strip(), message=message.replace("~", " "))

    def raw(self, *text):
        os.write(1, " ".join(text).encode().decode("unicode_escape").encode("latin-1"))

    def long(self, n):
        os.write(1, b'{"type": "done"}' + b" " * int(n))

    def file(self, path, text="x"):
        data = text.encode()
        write(path, data)
        self.artifacts.append((path, len(data), hashlib.sha256(data).hexdigest()))

    def write(self, path):
        """A file that is not announced."""
        write(path, b"x")

    def announce(self, path, size, sha256):
        self.artifacts.append((path, int(size), sha256 if sha256 != "-" else "0" * 64))

    def link(self, path, target):
        os.symlink(target, path, dir_fd=OUT)

    def artifacts_(self):
        for path, size, sha256 in self.artifacts:
            say(type="artifact", path=path, bytes=size, sha256=sha256)

    def report(self):
        rate = {"value": 0.1, "count": 1, "total": 10, "interval": [0.02, 0.4]}
        number = {"value": 0.15, "interval": [0.1, 0.2]}
        self.file("report.json", json.dumps({
            "inputs": {"training_file": {"rows": 7}}, "labels": ["a", "b"],
            "training": {"steps": self.step, "tokens": 1234, "epochs": []},
            "evaluation": {"rows": 10, "ca": {**rate, "value": 0.9}, "asr": rate, "masr": number},
            "undefended": None, "ca_drop": None, "versions": {"program": "stand-in"}}))

    def results(self):
        self.file("adapter/README.md", "read me")
        self.file("adapter/adapter_config.json", "{}")
        if self.spec["export"]["merged"]:
            self.file("merged/config.json", "{}")
            self.file("merged/README.md", "read me")
        self.file("metrics.csv", "step,loss\n")
        self.report()

    def sleep(self, seconds):
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end and not stopping:
            time.sleep(0.01)
        if stopping:
            self.checkpoint()
            sys.exit(75)

    def sleep_until(self, path):
        while not os.path.exists(f"/proc/self/fd/{OUT}/{path}"):
            time.sleep(0.01)

    def hang(self):
        while True:
            time.sleep(0.05)

    def deaf(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def orphan(self):
        ctypes.CDLL(None).prctl(1, 0)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def child(self):
        if os.fork() == 0:
            time.sleep(600)

    def once(self, *words):
        if self.runs == 1:
            self.run(words)

    def unless_runs(self, n, *words):
        if self.runs < int(n):
            self.run(words)

    def kill(self, number):
        os.kill(os.getpid(), int(number))

    def exit(self, code):
        os._exit(int(code))

    def done(self):
        say(type="done")

    def ok(self):
        self.phase("validate")
        self.phase("train")
        self.steps(3, 3)
        self.metrics()
        self.phase("export")
        self.results()
        self.artifacts_()
        self.done()

    def run(self, words):
        getattr(self, {"artifacts": "artifacts_"}.get(words[0], words[0]))(*words[1:])


def stop(*_):
    global stopping
    stopping = True


signal.signal(signal.SIGTERM, stop)
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
print("stand-in: reading the spec", file=sys.stderr, flush=True)
spec = json.load(os.fdopen(0))
worker = Worker(spec)
for command in spec["metadata"].get("do", "ok").split(";"):
    worker.run(command.split())

"""The service under load, while a worker trains on all cores: one run, one daemon, one table.

    service.py [--quick] [--key] [--directory DIR] [--output FILE]

A daemon and a real worker that trains a random model of all-MiniLM-L6-v2's shape with as many threads as there are
processors; meanwhile wrk asks for the job, curl moves a large file, 50 clients follow events. The list is of 100,000
jobs, which are written into the database as copies of a real row. Writes a JSON report (build/bench-service.json) and prints a table.
Everything is measured on the machine as it is: what else runs there is in the figures. --quick is for trying the bench.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import selectors
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
os.environ.setdefault("OBLIVIATE_BIN", str(ROOT / "build"))
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "api")]

import tiny  # noqa: E402
from harness import Daemon  # noqa: E402

JOBS = "/v1/fine_tuning/jobs"
STAND_IN = HERE.parent / "fault" / "stand_in.py"
MIB = 1 << 20
SHAPE = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536,
         "vocab_size": 30522, "max_position_embeddings": 512}
WAIT_S = 120

FULL = {"jobs": 100_000, "seconds": 10, "connections": 32, "lines": 100_000, "followers": 50, "rate": 100, "paced": 1000,
        "file_mib": 500, "rounds": 5, "train_rows": 6000, "shape": SHAPE}
QUICK = {"jobs": 1000, "seconds": 1, "connections": 8, "lines": 5000, "followers": 5, "rate": 50, "paced": 50,
         "file_mib": 8, "rounds": 1, "train_rows": 2000,
         "shape": {"hidden_size": 128, "num_hidden_layers": 4, "intermediate_size": 512}}


# --- the daemon and what it does meanwhile ------------------------------------------------------------


def wait_for(condition, what):
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.005)
    raise SystemExit(f"service.py: {what} did not happen within {WAIT_S} s")


def seed_jobs(data_dir, job, count):
    """`count` finished copies of the job's row under ids of their own; returns the ids."""
    ids = [f"ftjob-{hashlib.sha256(str(i).encode()).hexdigest()[:24]}" for i in range(count)]
    with contextlib.closing(sqlite3.connect(data_dir / "obliviate.db")) as db, db:
        db.executemany(
            "INSERT INTO jobs (id, status, created_at, finished_at, spec, metadata, view) SELECT ?, 'cancelled', created_at + ?,"
            " created_at + ?, spec, metadata, view FROM jobs WHERE id = ?",
            ((id_, i, i, job) for i, id_ in enumerate(ids)))
        db.execute("INSERT INTO job_metadata (key, value, job_seq) SELECT pair.key, pair.value, seq FROM jobs,"
                   " json_each(metadata) AS pair WHERE true ON CONFLICT DO NOTHING")
    return ids


def create(daemon, model, data, **fields):
    answer = daemon.post(JOBS, {"model": model, "training_file": data, **fields})
    assert answer.status == 200, answer
    return answer.json["id"]


def newest_step(daemon, job):
    for event in daemon.get(f"{JOBS}/{job}/events?limit=1").json["data"]:
        return event["data"].get("step", 0)
    return 0


def prepare(directory, size):
    """A data directory with the seeded jobs; model, data set and ids."""
    model = tiny.write_model(directory / "model", **size["shape"])
    data = tiny.write_data(directory / "train.csv", rows=size["train_rows"])
    daemon = Daemon(directory / "data", "--worker", "/bin/false")
    model = daemon.upload_model({p.name: p.read_bytes() for p in model.iterdir()})["id"]
    data = daemon.upload_file(data.read_bytes(), "train.csv")["id"]
    job = create(daemon, model, data, metadata={"experiment": "seed"})
    daemon.post(f"{JOBS}/{job}/cancel")
    daemon.stop()
    return model, data, seed_jobs(directory / "data", job, size["jobs"])


@contextlib.contextmanager
def training(directory, model, data):
    """The daemon, with a worker at its steps until the end."""
    daemon = Daemon(directory / "data", "--threads", os.cpu_count(), "--stop-grace", 1)
    try:
        if "--key" in sys.argv:
            daemon.key = daemon.create_key()
        job = create(daemon, model, data, metadata={"experiment": "load"}, hyperparameters={"n_epochs": 1000})
        wait_for(lambda: newest_step(daemon, job) > 1, "the first steps of training")
        yield daemon, job
        assert daemon.get(f"{JOBS}/{job}").json["status"] == "running", "the training ended before the bench did"
    finally:
        daemon.stop()


def peak_mib(daemon):
    for line in pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


def cpu_seconds(daemon):
    fields = pathlib.Path(f"/proc/{daemon.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- measurements -------------------------------------------------------------------------------------


def wrk(daemon, path, seconds, connections, **env):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", HERE / "wrk.lua"]
    if daemon.key:
        command += ["-H", f"Authorization: Bearer {daemon.key}"]
    before = cpu_seconds(daemon)
    done = subprocess.run([*map(str, command), daemon.url + path], check=True, capture_output=True, text=True,
                          env={**os.environ, **{k: str(v) for k, v in env.items()}})
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["errors"] == 0 and result["requests"] > 0, result
    result["per_second"] = result["requests"] / result["seconds"]
    result["daemon_us"] = (cpu_seconds(daemon) - before) / result["requests"] * 1e6
    return result


class Meanwhile:
    """Gentle status requests, one connection with a pause, around something else; `result` afterwards."""

    def __init__(self, daemon, job, seconds=60):
        self._command = ["wrk", "-t1", "-c1", f"-d{seconds}s", "-s", str(HERE / "wrk.lua"), f"{daemon.url}{JOBS}/{job}"]
        if daemon.key:
            self._command[1:1] = ["-H", f"Authorization: Bearer {daemon.key}"]

    def __enter__(self):
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True,
                                         env={**os.environ, "PACE_MS": "2"})
        return self

    def __exit__(self, *_):
        self._process.send_signal(2)  # wrk reports what it has
        self.result = json.loads(self._process.communicate()[0].splitlines()[-1])


def seconds_of(command, **options):
    begin = time.monotonic()
    done = subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    return time.monotonic() - begin, done.stdout


def curl(daemon, *arguments):
    key = ["-H", f"Authorization: Bearer {daemon.key}"] if daemon.key else []
    return seconds_of(["curl", "-sS", "--fail-with-body", *key, *arguments])


def warm_memory(path, bytes_):
    """Write and remove so much: what is written next finds pages that were just given back.

    A machine may take idle memory from its guest (free page reporting); pages that are handed out for the first time after that cost
    several times as much, and whoever came first after a pause would pay for everybody.
    """
    with open(path, "wb") as file:
        for _ in range(bytes_ // MIB):
            file.write(bytes(MIB))
    path.unlink()


def measure_file(daemon, job, directory, size):
    """Upload and download beside what the machine can do: dd with fsync, SHA-256; in turns, status requests beside all of them.

    Two more say what is the client's part: the download thrown away, and curl's copy of the file without a server.
    """
    source, copy, back = directory / "large.jsonl", directory / "copy", directory / "back"
    bytes_ = size["file_mib"] * MIB
    with open(source, "wb") as file:
        for _ in range(size["file_mib"]):
            file.write(os.urandom(MIB))
        os.fsync(file.fileno())
    took = {name: [] for name in ("dd", "sha256", "curl_copy", "upload", "download", "download_discarded")}
    latency, busy = [], []
    for _ in range(size["rounds"]):
        with Meanwhile(daemon, job):
            warm_memory(copy, bytes_)
            took["dd"].append(seconds_of(["dd", f"if={source}", f"of={copy}", "bs=1M", "conv=fsync"])[0])
            took["sha256"].append(seconds_of(["openssl", "dgst", "-sha256", source])[0])
            warm_memory(back, bytes_)
            took["curl_copy"].append(seconds_of(["curl", "-sS", "-o", back, f"file://{source}"])[0])
        copy.unlink()
        back.unlink()
        warm_memory(copy, bytes_)
        with Meanwhile(daemon, job) as meanwhile:
            before = cpu_seconds(daemon)
            seconds, answer = curl(daemon, "-H", "Expect:", "-F", "purpose=fine-tune", "-F", f"file=@{source}", daemon.url + "/v1/files")
            took["upload"].append(seconds)
            busy.append(cpu_seconds(daemon) - before)
            file = json.loads(answer)["id"]
            warm_memory(back, bytes_)
            took["download"].append(curl(daemon, "-o", back, f"{daemon.url}/v1/files/{file}/content")[0])
            took["download_discarded"].append(curl(daemon, "-o", "/dev/null", f"{daemon.url}/v1/files/{file}/content")[0])
        latency.append(meanwhile.result)
        assert subprocess.run(["cmp", source, back]).returncode == 0, "what came back is something else"
        daemon.delete(f"/v1/files/{file}")
        back.unlink()
    speed = {name: bytes_ / MIB / statistics.median(seconds) for name, seconds in took.items()}
    slower = min(speed["dd"], speed["sha256"])
    return {"mib_per_second": speed, "seconds": took, "upload_share": speed["upload"] / slower,
            "download_share": speed["download"] / slower, "discarded_share": speed["download_discarded"] / slower,
            "curl_copy_share": speed["curl_copy"] / slower, "upload_daemon_seconds": statistics.median(busy), "status": latency,
            "status_p99_ms": max(one["p99_ms"] for one in latency)}


def measure_append(daemon, model, data, lines):
    """Events per second from a worker's pipe into the store: between two looks, from the first batch to the last."""
    job = create(daemon, model, data, metadata={"do": f"phase validate;phase train;flood {lines};error internal_error ~ done;exit 70"})
    wait_for(lambda: newest_step(daemon, job) > 0, "the first event")
    first, begin = newest_step(daemon, job), time.monotonic()
    wait_for(lambda: newest_step(daemon, job) in (0, lines) and daemon.get(f"{JOBS}/{job}").json["status"] == "failed", "the last event")
    seconds = time.monotonic() - begin
    return {"events": lines - first, "seconds": seconds, "per_second": (lines - first) / seconds}


def follow(daemon, job, followers):
    """Read `followers` event streams to their ends: numbers of the steps that each got."""
    head = f"GET {JOBS}/{job}/events HTTP/1.1\r\nHost: {daemon.host}:{daemon.port}\r\nAccept: text/event-stream\r\n"
    head += f"Authorization: Bearer {daemon.key}\r\n" if daemon.key else ""
    streams, open_streams = [bytearray() for _ in range(followers)], followers
    with selectors.DefaultSelector() as selector:
        for i in range(followers):
            sock = daemon.connect(WAIT_S)
            sock.sendall((head + "\r\n").encode())
            selector.register(sock, selectors.EVENT_READ, i)
        while open_streams > 0:
            for key, _ in selector.select(WAIT_S):
                piece = key.fileobj.recv(1 << 16)
                streams[key.data] += piece
                if piece == b"" or b"\r\n0\r\n\r\n" in streams[key.data][-8:]:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
                    open_streams -= 1
    return [stream.count(b"event: metrics\n") for stream in streams]


def measure_streams(daemon, model, data, size):
    do = f"phase validate;phase train;paced {size['paced']} {size['rate']};error internal_error ~ done;exit 70"
    job = create(daemon, model, data, metadata={"do": do})
    got, begin = [], time.monotonic()
    reader = threading.Thread(target=lambda: got.extend(follow(daemon, job, size["followers"])))
    with Meanwhile(daemon, job, seconds=WAIT_S) as meanwhile:
        reader.start()
        reader.join(WAIT_S)
    seconds = time.monotonic() - begin
    assert got == [size["paced"]] * size["followers"], f"a stream lost events: {sorted(set(got))}"
    return {"followers": size["followers"], "events_per_second": size["rate"], "delivered_per_second": sum(got) / seconds,
            "status": meanwhile.result}


# --- the table ----------------------------------------------------------------------------------------


def verdict(value, bar, is_ceiling):
    return value <= bar if is_ceiling else value >= bar


def rows_of(r):
    """what, bar, measured, met."""
    def row(what, value, bar, unit, is_ceiling):
        sign = "<=" if is_ceiling else ">="
        return {"what": what, "bar": f"{sign} {bar:,} {unit}".strip(), "measured": f"{value:,.4g} {unit}".strip() if value < 1000
                else f"{value:,.0f} {unit}".strip(), "met": verdict(value, bar, is_ceiling)}

    file, connections = r["file"], r["size"]["connections"]
    yield row(f"status requests, {connections} connections", r["status"]["per_second"], 10_000, "/s", False)
    yield row("their 99th percentile", r["status"]["p99_ms"], 10, "ms", True)
    yield row(f"page of 100 among {r['size']['jobs']:,} jobs, 99th percentile", r["list"]["p99_ms"], 10, "ms", True)
    yield row("the same, filtered by metadata that one job has", r["filter"]["p99_ms"], 10, "ms", True)
    yield row("events appended", r["append"]["per_second"], 20_000, "/s", False)
    yield row(f"status beside {r['streams']['followers']} event streams, 99th percentile", r["streams"]["status"]["p99_ms"], 10, "ms", True)
    yield row(f"upload of {r['size']['file_mib']} MiB over the slower of dd and SHA-256", file["upload_share"], 0.8, "", False)
    yield row("download into a file, likewise", file["download_share"], 0.8, "", False)
    yield row("download, thrown away, likewise", file["discarded_share"], 0.8, "", False)
    yield row("status meanwhile, 99th percentile", file["status_p99_ms"], 20, "ms", True)
    yield row("peak memory of the daemon", r["peak_mib"], 64, "MiB", True)


def markdown(rows):
    lines = ["| what | bar | measured | |", "| --- | --- | --- | --- |"]
    lines += [f"| {row['what']} | {row['bar']} | {row['measured']} | {'met' if row['met'] else 'not met'} |" for row in rows]
    return "\n".join(lines)


def run(directory, size):
    report = {"size": size, "load": os.getloadavg()[0], "processors": os.cpu_count()}
    model, data, ids = prepare(directory, size)
    (directory / "ids").write_text("\n".join(ids))
    with training(directory, model, data) as (daemon, job):
        status = f"{JOBS}/{job}"
        report["status"] = wrk(daemon, status, size["seconds"], size["connections"])
        report["status_alone"] = wrk(daemon, status, size["seconds"], 1)
        report["list"] = wrk(daemon, f"{JOBS}?limit=100", size["seconds"], 1, IDS=directory / "ids")
        report["filter"] = wrk(daemon, f"{JOBS}?limit=100&metadata[experiment]=load", size["seconds"], 1)
        report["file"] = measure_file(daemon, job, directory, size)
        talker = Daemon(directory / "talk", "--worker", STAND_IN)
        try:
            model = talker.upload_model({"config.json": b"{}"})["id"]
            data = talker.upload_file(b"text,label\na,b\n", "reviews.csv")["id"]
            report["append"] = measure_append(talker, model, data, size["lines"])
            report["streams"] = measure_streams(talker, model, data, size)
            report["peak_mib"] = max(peak_mib(daemon), peak_mib(talker))
        finally:
            talker.stop()
    report["rows"] = list(rows_of(report))
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes: tries the bench, measures nothing")
    parser.add_argument("--key", action="store_true", help="with an API key on every request")
    parser.add_argument("--directory", type=pathlib.Path, default=ROOT / "build", help="on the disk to be measured")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "build" / "bench-service.json")
    arguments = parser.parse_args()
    for tool in ("wrk", "curl", "dd", "openssl"):
        if shutil.which(tool) is None:
            raise SystemExit(f"service.py: {tool} is missing")
    size = QUICK if arguments.quick else FULL
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        report = run(pathlib.Path(name), size)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\n{report['processors']} processors, load {report['load']:.1f} before the run\n")
    print(markdown(report["rows"]))
    seconds = {name: f"{statistics.median(took):.2f}" for name, took in report["file"]["seconds"].items()}
    print(f"\nseconds for the large file, medians: {seconds}; the daemon's processor time for an upload: "
          f"{report['file']['upload_daemon_seconds']:.2f} s")


if __name__ == "__main__":
    main()

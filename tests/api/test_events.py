"""A job's events as list and as stream."""
import http.client
import json
import re
import threading

from service import JOBS, kill_later, service, start_service  # noqa: F401

START = "phase validate;phase train"


class Stream:
    """Server-sent events of one job; blocks are dicts of their fields."""

    def __init__(self, daemon, job, last=None):
        headers = {"Accept": "text/event-stream"}
        if last is not None:
            headers["Last-Event-ID"] = str(last)
        self.connection = http.client.HTTPConnection(daemon.host, daemon.port, timeout=60)
        self.connection.request("GET", f"{JOBS}/{job}/events", headers=headers)
        self.response = self.connection.getresponse()

    def blocks(self):
        block = {}
        for line in self.response:
            line = line.decode().rstrip("\n")
            if line == "":
                yield block
                block = {}
            else:
                name, value = line.split(":", 1)
                block[name or "comment"] = value.strip()

    def close(self):
        self.connection.close()


def test_events_are_listed_newest_first(service):
    job = service.submit("ok")
    service.wait(job)
    events = service.get(job, "/events?limit=100")["data"]
    assert events[-1]["message"] == "Created fine-tuning job"
    assert events[0]["message"] == "The job has successfully completed"
    assert {event["object"] for event in events} == {"fine_tuning.job.event"}
    assert {event["level"] for event in events} == {"info"}
    step = next(event for event in events if "learning_rate" in event["data"])
    assert step["type"] == "metrics" and step["message"] == "Step 3/3: training loss=0.3333"
    assert step["data"]["phase"] == "train" and step["data"]["of"] == 3 and step["data"]["attention"] is None
    page = service.get(job, f"/events?limit=1&after={events[1]['id']}")
    assert page["data"] == [events[2]] and page["has_more"] is True
    assert service.daemon.get(f"{JOBS}/{job}/events?after=ftevent-1x").status == 404
    assert service.daemon.get(f"{JOBS}/{job}/events?limit=101").status == 400


def test_a_flood_of_events_arrives_whole_and_in_order(service):
    """More than wait in memory at once; the database's log is moved into the database meanwhile."""
    lines = 20000
    job = service.submit(f"{START};flood {lines};error internal_error ~ done;exit 70")
    assert service.wait(job)["status"] == "failed"
    steps = [json.loads(block["data"])["data"]["step"] for block in Stream(service.daemon, job).blocks()
             if block.get("event") == "metrics"]
    assert steps == list(range(1, lines + 1))
    service.wait_for(lambda: (service.daemon.data_dir / "obliviate.db").stat().st_size > lines * 100)


def test_an_event_that_was_seen_is_there_after_the_daemon_was_killed(service):
    job = service.submit(f"{START};steps 5;hang")
    service.wait_for(lambda: "Step 5/1000: training loss=0.2000" in service.messages(job))
    before = service.events(job)
    service.restart()
    assert service.events(job)[:len(before)] == before


def test_an_event_of_another_job_is_no_place_to_start(service):
    one, other = service.submit("ok"), service.submit("ok")
    service.wait(other)
    event = service.events(one)[0]["id"]
    assert service.daemon.get(f"{JOBS}/{other}/events?after={event}").status == 404


def test_a_stream_replays_and_ends_with_a_finished_job(service):
    job = service.submit("ok")
    service.wait(job)
    stream = Stream(service.daemon, job)
    assert stream.response.headers["Content-Type"].startswith("text/event-stream")
    blocks = [block for block in stream.blocks() if "id" in block]
    ids = [int(block["id"]) for block in blocks]
    assert ids == sorted(set(ids))
    assert [json.loads(block["data"]) for block in blocks] == service.events(job)
    assert all(block["event"] == json.loads(block["data"])["type"] for block in blocks)
    rest = [block for block in Stream(service.daemon, job, ids[1]).blocks() if "id" in block]
    assert rest == blocks[2:]
    assert list(Stream(service.daemon, job, ids[-1]).blocks()) == []


def test_a_stream_follows_a_running_job_to_its_end(service):
    job = service.submit(f"{START};sleep_until go;steps 2;results;artifacts;done")
    stream = Stream(service.daemon, job)
    messages = []
    for block in stream.blocks():
        if "data" not in block:
            continue
        messages.append(json.loads(block["data"])["message"])
        if messages[-1] == "Phase: train":
            (service.directory(job) / "out" / "go").touch()
    assert messages == service.messages(job)
    assert messages[-1] == "The job has successfully completed"
    assert service.get(job)["status"] == "succeeded"


def test_a_stream_of_a_queued_job_ends_when_it_is_cancelled(service):
    service.wait(service.submit(f"{START};sleep 600"), "running")
    job = service.submit("ok")
    stream = Stream(service.daemon, job)
    blocks = stream.blocks()
    next(blocks)
    service.post(job, "cancel")
    assert "The job was cancelled" in [block for block in blocks if "data" in block][-1]["data"]


def test_a_resumed_stream_misses_nothing_over_a_restart(service):
    job = service.submit(f"{START};resume;steps 1;checkpoint;once sleep 600;steps 1;results;artifacts;done")
    first = Stream(service.daemon, job)
    seen = []
    for block in first.blocks():
        if "id" in block:
            seen.append(block["id"])
            if "Step 1/" in block["data"]:
                break
    first.close()
    service.restart()
    seen += [block["id"] for block in Stream(service.daemon, job, seen[-1]).blocks() if "id" in block]
    service.wait(job)
    assert seen == [re.sub(r"\D", "", event["id"]) for event in service.events(job)]


def test_many_streams_of_one_job(service):
    job = service.submit(f"{START};sleep_until go;steps 50;results;artifacts;done")
    counts = []

    def follow():
        counts.append(sum("id" in block for block in Stream(service.daemon, job).blocks()))

    threads = [threading.Thread(target=follow) for _ in range(8)]
    for thread in threads:
        thread.start()
    service.wait(job, "running")
    (service.directory(job) / "out" / "go").touch()
    for thread in threads:
        thread.join(60)
    assert counts == [len(service.events(job))] * 8


def test_a_client_that_leaves_does_no_harm(service):
    job = service.submit(f"{START};sleep_until go;steps 5;results;artifacts;done")
    stream = Stream(service.daemon, job)
    next(stream.blocks())
    stream.close()
    service.wait(job, "running")
    (service.directory(job) / "out" / "go").touch()
    assert service.wait(job)["status"] == "succeeded"


def test_a_silent_stream_is_pinged(service):
    job = service.submit(f"{START};sleep 600")
    stream = Stream(service.daemon, job)
    assert any(block.get("comment") == "ping" for block in stream.blocks())
    stream.close()


def test_a_bad_last_event_id_is_refused(service):
    job = service.submit("ok")
    answer = service.daemon.get(f"{JOBS}/{job}/events", Accept="text/event-stream", Last_Event_ID="x")
    assert answer.status == 400

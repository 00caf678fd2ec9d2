"""Workers and daemons that die, hang, or do not listen."""
import os
import pathlib
import signal

import pytest
from service import is_alive

TRAIN = "phase validate;phase train"
GOOD_END = "phase export;results;artifacts;done"


def test_a_crashed_worker_is_started_again_and_goes_on(service):
    job = service.submit(f"{TRAIN};resume;once steps 2;checkpoint;once kill 9;steps 2;{GOOD_END}")
    assert service.wait(job)["status"] == "succeeded"
    steps = [event["data"]["step"] for event in service.events(job) if "learning_rate" in event["data"]]
    assert steps == [1, 2, 3, 4]
    assert any("signal 9" in message for message in service.messages(job))


def test_three_crashes_at_one_place_fail_the_job(service):
    job = service.wait(service.submit(f"{TRAIN};steps 2;kill 11"))
    assert (job["status"], job["error"]["code"]) == ("failed", "worker_crashed")
    assert "signal 11" in job["error"]["message"] and "step 2" in job["error"]["message"]
    started = [message for message in service.messages(job["id"]) if message.startswith("Worker started")]
    assert len(started) == 3


def test_crashes_with_progress_between_them_do_not_fail_the_job(service):
    # Each run gets two steps further, five times; then there is no more to do.
    job = service.submit(f"{TRAIN};resume;steps 2;checkpoint;unless_runs 6 kill 9;{GOOD_END}")
    assert service.wait(job)["status"] == "succeeded"
    assert len([message for message in service.messages(job) if "unexpectedly" in message]) == 5


def test_an_unknown_exit_code_counts_as_a_crash(service):
    job = service.wait(service.submit("exit 3"))
    assert (job["status"], job["error"]["code"]) == ("failed", "worker_crashed")
    assert "exit code 3" in job["error"]["message"]


def test_a_job_over_its_time_fails(start_service):
    service = start_service("--job-time-limit", "1", "--stop-grace", "1")
    job = service.wait(service.submit(f"{TRAIN};hang"))
    assert (job["status"], job["error"]["code"]) == ("failed", "time_limit")
    assert service.wait(service.submit("ok"))["status"] == "succeeded"


def test_a_deaf_worker_is_killed_after_the_grace(service):
    job = service.submit(f"deaf;{TRAIN};hang")
    service.wait(job, "running")
    pid = service.runs(job)[0]
    assert service.post(job, "cancel").json["status"] == "cancelled"
    service.wait_for(lambda: not is_alive(pid))
    assert service.get(job)["status"] == "cancelled"


def test_cancel_frees_the_slot_for_the_next_job(service):
    first, second = service.submit(f"{TRAIN};sleep 600"), service.submit("ok")
    service.wait(first, "running")
    assert service.get(second)["status"] == "queued"
    service.post(first, "cancel")
    assert service.wait(second)["status"] == "succeeded"
    assert service.get(first)["status"] == "cancelled" and service.get(first)["finished_at"]
    assert service.messages(first)[-1] == "The job was cancelled"


def test_pause_keeps_the_checkpoint_and_resume_goes_on(service):
    job = service.submit(f"{TRAIN};resume;steps 2;checkpoint;once sleep 600;{GOOD_END}")
    service.wait_for(lambda: "Step 2/1000: training loss=0.5000" in service.messages(job))
    pid = service.runs(job)[0]
    assert service.post(job, "pause").json["status"] == "paused"
    service.wait_for(lambda: not is_alive(pid))
    assert service.get(job)["status"] == "paused"
    assert (service.directory(job) / "out" / "checkpoint").read_bytes() == b"2"
    assert service.post(job, "resume").json["status"] == "queued"
    assert service.wait(job)["status"] == "succeeded"
    steps = [event["data"]["step"] for event in service.events(job) if "learning_rate" in event["data"]]
    assert steps == [1, 2, 3, 4]


def test_resume_waits_until_the_paused_worker_is_gone(service):
    job = service.submit(f"deaf;{TRAIN};once hang;{GOOD_END}")
    service.wait(job, "running")
    pid = service.runs(job)[0]
    service.post(job, "pause")
    service.post(job, "resume")
    service.wait_for(lambda: len(service.runs(job)) == 2 or service.get(job)["status"] == "succeeded")
    assert not is_alive(pid)
    assert service.wait(job)["status"] == "succeeded"


def test_a_killed_daemon_takes_its_worker_along_and_the_job_goes_on(service):
    job = service.submit(f"{TRAIN};resume;once steps 2;checkpoint;once sleep 600;steps 2;{GOOD_END}")
    service.wait_for(lambda: "Step 2/1000: training loss=0.5000" in service.messages(job))
    pid = service.runs(job)[0]
    service.restart()
    service.wait_for(lambda: not is_alive(pid))
    assert service.wait(job)["status"] == "succeeded"
    steps = [event["data"]["step"] for event in service.events(job) if "learning_rate" in event["data"]]
    assert steps == [1, 2, 3, 4]
    assert any("restarted" in message for message in service.messages(job))


def test_a_worker_that_outlives_its_daemon_is_not_doubled(service, kill_later):
    job = service.submit(f"once orphan;{TRAIN};once hang;{GOOD_END}")
    service.wait(job, "running")
    pid = service.runs(job)[0]
    kill_later(pid)
    service.restart()
    other = service.submit("ok")
    assert service.wait(other)["status"] == "succeeded"  # so the pool works, and had the time to err
    assert is_alive(pid) and service.runs(job) == [pid]
    assert service.get(job)["status"] == "running"
    os.kill(pid, signal.SIGKILL)
    assert service.wait(job)["status"] == "succeeded"


def test_a_stopped_daemon_lets_its_workers_write_a_checkpoint(service):
    job = service.submit(f"{TRAIN};resume;steps 2;once sleep 600;{GOOD_END}")
    service.wait_for(lambda: "Step 2/1000: training loss=0.5000" in service.messages(job))
    service.daemon.stop()
    assert (service.directory(job) / "out" / "checkpoint").read_bytes() == b"2"
    service.restart()
    assert service.wait(job)["status"] == "succeeded"
    steps = [event["data"]["step"] for event in service.events(job) if "learning_rate" in event["data"]]
    assert steps == [1, 2, 3, 4]


def test_finished_jobs_survive_a_restart(service):
    job = service.wait(service.submit("ok"))
    before = [service.get(job["id"], part) for part in ("", "/events", "/checkpoints", "/report")]
    service.restart()
    assert [service.get(job["id"], part) for part in ("", "/events", "/checkpoints", "/report")] == before
    for file in job["result_files"]:
        assert service.daemon.get(f"/v1/files/{file}/content").status == 200


def test_a_job_that_was_cancelled_while_the_daemon_was_down_stays_so(service, kill_later):
    job = service.submit(f"once orphan;deaf;{TRAIN};hang")
    service.wait(job, "running")
    kill_later(service.runs(job)[0])
    service.restart()
    assert service.post(job, "cancel").json["status"] == "cancelled"
    os.kill(service.runs(job)[0], signal.SIGKILL)
    assert service.wait(service.submit("ok"))["status"] == "succeeded"
    assert service.get(job)["status"] == "cancelled"


@pytest.mark.parametrize("workers", [1, 3])
def test_as_many_workers_as_allowed_run_at_once(start_service, workers):
    service = start_service("--workers", workers, "--stop-grace", "2")
    jobs = [service.submit(f"{TRAIN};sleep 600") for _ in range(4)]
    for job in jobs[:workers]:
        service.wait(job, "running")
    assert [service.get(job)["status"] for job in jobs[workers:]] == ["queued"] * (4 - workers)
    service.post(jobs[0], "cancel")
    service.wait(jobs[workers], "running")


def test_a_missing_worker_program_fails_jobs_and_not_the_daemon(start_service, tmp_path):
    service = start_service("--worker", tmp_path / "nothing")
    job = service.wait(service.submit("ok"))
    assert (job["status"], job["error"]["code"]) == ("failed", "internal_error")
    assert "cannot start the worker" in job["error"]["message"]


def test_workers_yield_to_the_daemon(service):
    """By their own niceness, and, where the kernel schedules by session, by their session's."""
    job = service.submit(f"{TRAIN};hang")
    service.wait(job, "running")
    pid, daemon = service.runs(job)[0], service.daemon.process.pid
    nicer = min(19, os.getpriority(os.PRIO_PROCESS, daemon) + 10)
    assert os.getpriority(os.PRIO_PROCESS, pid) == nicer
    group = pathlib.Path(f"/proc/{pid}/autogroup")
    if group.exists() and (text := group.read_text()):
        assert text.split()[-2:] == ["nice", str(nicer)]

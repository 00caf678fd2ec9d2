"""The walk-through of README.md works as printed: its commands run in one shell, on a small model and data set."""

import json
import pathlib
import re
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/api"))
import tiny  # noqa: E402
from module_daemon import module_daemon  # noqa: E402, F401


def walk_through():
    """The shell's blocks of the section, in order."""
    text = (ROOT / "README.md").read_text()
    section = text.split("## A walk-through", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def answers(module_daemon, tmp_path_factory):
    """What the commands print, and the directory they ran in. The first block builds and starts a daemon; the
    second names the inputs: for both, the tests have their own."""
    place = tmp_path_factory.mktemp("readme")
    tiny.write_model(place / "model")
    tiny.write_data(place / "reviews.jsonl")
    build, inputs, *commands = walk_through()
    assert "obliviated --data-dir" in build
    assert re.findall(r"^(\w+)=", inputs, re.MULTILINE) == ["URL", "MODEL", "DATA"]
    script = f"URL={module_daemon.url}\nMODEL=model\nDATA=reviews.jsonl\n" + "".join(commands)
    done = subprocess.run(["sh", "-eu", "-c", script], cwd=place, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout, place


def test_stream_ends_with_the_job(answers):
    events = [json.loads(line[6:]) for line in answers[0].splitlines() if line.startswith("data: ")]
    assert events[0]["object"] == "fine_tuning.job.event"
    assert any(event["type"] == "metrics" for event in events)


def test_report_and_verdict_are_printed(answers):
    numbers, verdict = objects_after_the_stream(answers[0])
    assert list(numbers) == ["ca", "f1", "asr", "masr", "aasr"]
    assert verdict["verdict"] in ("pass", "fail")
    assert {check["name"] for check in verdict["checks"]} == {"max_masr", "min_ca"}


def test_adapter_is_there(answers):
    with zipfile.ZipFile(answers[1] / "adapter.zip") as archive:
        assert {"adapter_config.json", "adapter_model.safetensors", "manifest.json"} <= set(archive.namelist())


def objects_after_the_stream(text):
    rest, decoder, found = text[text.rindex("data: "):].split("\n", 1)[1].strip(), json.JSONDecoder(), []
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].strip()
    return found

"""The worker at a shell prompt, as docs/protocol.md describes it: a whole job, a stop in its middle, and every folder of
bad input, which must end as the folder's `expected` says, with the error as the last line."""

import csv
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/api"))
import tiny  # noqa: E402

WORKER = ROOT / "build/san/obliviate-worker"
CASES = ROOT / "tests/cases"
SECONDS = 120
OK, BAD_INPUT, STOPPED = 0, 65, 75


def spec_of(directory, **fields):
    """A job over the data directory's files: train.EXT and, where they are there, validation.EXT and test.EXT."""
    spec = {"model": {"id": "model-1", "sha256": "0" * 64, "name": ""}, **fields}
    for path in sorted(directory.iterdir()):
        if path.stem in ("train", "validation", "test"):
            key = "training_file" if path.stem == "train" else f"{path.stem}_file"
            spec[key] = {"id": f"file-{path.stem}", "sha256": "1" * 64, "name": f"reviews{path.suffix}"}
    return spec


def start(model, data, out, spec, *flags):
    """The command line of the manual page: `obliviate-worker <spec.json 3<model 4<data 5<out`. Its pipe holds a few lines
    only, so that it cannot run far ahead of a test that wants to stop it in the middle."""
    out.mkdir(exist_ok=True)
    given = out.with_name(f"{out.name}.json")
    given.write_text(json.dumps(spec))
    environment = {**os.environ, "MODEL": str(model), "DATA": str(data), "OUT": str(out), "SPEC": str(given)}
    process = subprocess.Popen(
        ["sh", "-c", 'exec "$0" "$@" <"$SPEC" 3<"$MODEL" 4<"$DATA" 5<"$OUT"', WORKER, "--sandbox", "auto", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, env=environment)
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    return process


def stop_at(process, step):
    """SIGTERM after so many step lines; the lines that were read."""
    lines = []
    while len(of_type(lines, "step")) < step:
        lines.append(json.loads(process.stdout.readline()))
    process.send_signal(signal.SIGTERM)
    return lines


def stop_in(process, phase):
    """SIGTERM as soon as the phase begins."""
    while json.loads(process.stdout.readline()).get("name") != phase:
        pass
    process.send_signal(signal.SIGTERM)


def finish(process):
    """Exit code, progress lines, log; nothing that a sanitizer has to say."""
    out, log = process.communicate(timeout=SECONDS)
    log = log.decode()
    assert "Sanitizer" not in log and "runtime error" not in log, log
    return process.returncode, [json.loads(line) for line in out.splitlines()], log


def files_below(directory):
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def of_type(lines, name):
    return [line for line in lines if line["type"] == name]


# --- whole jobs -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.write_model(tmp_path_factory.mktemp("worker") / "model")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("worker-data")
    tiny.write_data(directory / "train.csv", rows=120)
    return directory


JOB = {"hyperparameters": {**tiny.QUICK, "n_epochs": 8}, "peft": {"type": "lora", "r": 4, "alpha": 8, "targets": ["query", "key", "value"]},
       "defense": {"amplify": 1e-3, "attention": 1e-2}, "evaluation": {"triggers": ["cf", "mn"], "compare_undefended": True}}


@pytest.fixture(scope="module")
def whole(model, data, tmp_path_factory):
    """One job from its start to its end: lines and output directory."""
    out = tmp_path_factory.mktemp("whole") / "out"
    code, lines, log = finish(start(model, data, out, spec_of(data, **JOB), "--threads", "2"))
    assert code == OK, log
    return lines, out


def test_lines_come_in_the_protocol_s_order(whole):
    lines, _ = whole
    assert [line["name"] for line in of_type(lines, "phase")] == ["validate", "undefended", "train", "evaluate", "export"]
    assert lines[0] == {"type": "phase", "name": "validate"}
    assert lines[-1] == {"type": "done"}
    assert len(of_type(lines, "done")) == 1 and not of_type(lines, "error")
    phase_of = {}
    phase = None
    for line in lines:
        phase = line["name"] if line["type"] == "phase" else phase
        phase_of.setdefault(line["type"], set()).add(phase)
    assert phase_of["step"] == {"train", "undefended"}
    assert phase_of["artifact"] == {"export"}


def test_steps_count_up_to_their_number_in_each_run(whole):
    steps = of_type(whole[0], "step")
    of = steps[0]["of"]
    assert [step["step"] for step in steps] == [*range(1, of + 1)] * 2
    assert all(step["of"] == of and 1 <= step["epoch"] <= 8 for step in steps)
    assert steps[0]["learning_rate"] == 0 and steps[-1]["eta_s"] == 0
    assert all(step["ce"] > 0 for step in steps)


def test_artifacts_are_what_the_lines_say(whole):
    lines, out = whole
    told = {line["path"]: (line["bytes"], line["sha256"]) for line in of_type(lines, "artifact")}
    found = {path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in files_below(out).items()}
    assert {"adapter/adapter_model.safetensors", "adapter/adapter_config.json", "metrics.csv", "report.json"} <= set(told)
    assert told == {path: found[path] for path in told}
    assert set(found) - set(told) == {"checkpoint", "final.0", "final.1"}


def test_log_is_json_lines_and_empty_of_faults(model, data, tmp_path):
    code, lines, log = finish(start(model, data, tmp_path / "out", spec_of(data), "--check"))
    assert code == OK
    assert [json.loads(line)["level"] for line in log.splitlines()].count("error") == 0
    assert [line["type"] for line in lines] == ["phase", "done"]
    assert files_below(tmp_path / "out") == {}


def test_stopped_job_goes_on_to_the_same_bytes(whole, model, data, tmp_path):
    out, spec = tmp_path / "out", spec_of(data, **JOB)
    for threads, steps in (("1", 3), ("2", 20)):
        process = start(model, data, out, spec, "--threads", threads)
        stop_at(process, steps)
        code, lines, log = finish(process)
        assert code == STOPPED, log
        assert (out / "checkpoint").is_file()
        assert not of_type(lines, "error") and not of_type(lines, "done")
    code, lines, log = finish(start(model, data, out, spec, "--threads", "3"))
    assert code == OK, log
    assert of_type(lines, "step")[0]["step"] > 1, "it went on, not from the start"
    assert files_below(out / "adapter") == files_below(whole[1] / "adapter")
    assert (out / "metrics.csv").read_bytes() == (whole[1] / "metrics.csv").read_bytes()


def steps_by_phase(lines):
    """Phase to its steps, of whole lines."""
    steps, phase = {}, None
    for line in lines:
        phase = line["name"] if line["type"] == "phase" else phase
        if line["type"] == "step":
            steps.setdefault(phase, []).append(line["step"])
    return steps


def searched(out):
    """What scan and flips found, without the seconds."""
    report = json.loads((out / "report.json").read_text())
    parts = [report["scan"], *report["flips"].values()]
    return [{key: value for key, value in part.items() if key != "seconds"} for part in parts]


def test_an_informed_job_trains_with_the_same_after_a_stop(model, tmp_path):
    """What it trains with is kept; where that is lost, it is found again, and the training goes on with its own weights."""
    data = tmp_path / "data"
    data.mkdir()
    tiny.write_data(data / "train.csv", rows=400)
    spec = spec_of(data, **{**JOB, "evaluation": {"triggers": ["cf"]}, "defense": {"mode": "informed"}})
    code, whole_lines, log = finish(start(model, data, tmp_path / "whole", spec, "--threads", "2"))
    assert code == OK, log
    assert set(steps_by_phase(whole_lines)) == {"scan", "undefended", "search", "train", "flips"}
    out = tmp_path / "out"
    process = start(model, data, out, spec, "--threads", "1")
    stop_in(process, "train")
    code, lines, log = finish(process)
    assert code == STOPPED, log
    for lost in (False, True):
        again = tmp_path / f"again{lost}"
        shutil.copytree(out, again)
        if lost:
            (again / "flips").write_text("{}")
        code, lines, log = finish(start(model, data, again, spec, "--threads", "2"))
        assert code == OK, log
        assert set(steps_by_phase(lines)) == {"train", "flips"} | ({"search"} if lost else set())
        assert searched(again) == searched(tmp_path / "whole")
        for name in ("adapter/adapter_model.safetensors", "metrics.csv"):
            assert (again / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_stopped_job_keeps_its_scan(model, tmp_path):
    """Stopped in the training and in the search for flips; the first is gone on with, the second begun again."""
    data = tmp_path / "data"
    data.mkdir()
    tiny.write_data(data / "train.csv", rows=400)
    spec = spec_of(data, **{**JOB, "evaluation": {"triggers": ["cf"], "scan": True, "compare_undefended": True}})
    code, whole_lines, log = finish(start(model, data, tmp_path / "whole", spec, "--threads", "2"))
    assert code == OK, log
    out = tmp_path / "out"
    for phase in ("undefended", "flips"):
        process = start(model, data, out, spec, "--threads", "1")
        stop_in(process, phase)
        code, lines, log = finish(process)
        assert code == STOPPED, log
        assert (out / "scan").is_file() and not of_type(lines, "error")
    code, lines, log = finish(start(model, data, out, spec, "--threads", "3"))
    assert code == OK, log
    assert set(steps_by_phase(whole_lines)) == {"scan", "undefended", "train", "flips"}
    assert set(steps_by_phase(lines)) == {"flips"}
    assert "scan" not in [line["path"] for line in of_type(lines, "artifact")]
    assert searched(out) == searched(tmp_path / "whole")


def test_a_stop_is_heard_within_the_evaluation(model, data, tmp_path):
    """It takes seconds, and the training before it is not done again."""
    for path in data.iterdir():
        (tmp_path / "data").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "data")
    tiny.write_data(tmp_path / "data" / f"test{next(data.glob('train.*')).suffix}", rows=4000, seed=5)
    spec = spec_of(tmp_path / "data", **JOB)
    process = start(model, tmp_path / "data", tmp_path / "out", spec)
    stop_in(process, "evaluate")
    code, lines, log = finish(process)
    assert code == STOPPED, log
    assert lines == []
    code, lines, log = finish(start(model, tmp_path / "data", tmp_path / "out", spec))
    assert code == OK, log
    assert not of_type(lines, "step"), "trained again"


@pytest.mark.parametrize("ramp,share", [(0, 1), (1, 0)])
def test_the_terms_rise_with_the_ramp(model, data, tmp_path, ramp, share):
    """Of the first step's loss the terms have their whole share, or none."""
    defense = {**JOB["defense"], "ramp": ramp}
    code, _, log = finish(start(model, data, tmp_path, spec_of(data, **{**JOB, "defense": defense})))
    assert code == OK, log
    with open(tmp_path / "metrics.csv", newline="") as file:
        first = {name: float(value or "nan") for name, value in next(csv.DictReader(file)).items()}
    terms = defense["amplify"] * first["amplify"] + defense["attention"] * first["attention"]
    assert first["loss"] == pytest.approx(first["ce"] + share * terms, rel=1e-5) and abs(terms) > 1e-3


OTHERS = {"adapter": {"type": "adapter", "bottleneck": 4}, "prefix": {"type": "prefix", "length": 3, "mlp_width": 8}}


@pytest.mark.parametrize("peft", OTHERS)
def test_other_pefts_learn_and_go_on_to_the_same_bytes(model, data, tmp_path, peft):
    spec = spec_of(data, **{**JOB, "peft": OTHERS[peft], "evaluation": {"triggers": ["cf"]}})
    once, often = tmp_path / "once", tmp_path / "often"
    code, lines, log = finish(start(model, data, once, spec, "--threads", "1"))
    assert code == OK, log
    epochs = json.loads((once / "report.json").read_text())["training"]["epochs"]
    assert epochs[-1]["ce"] < epochs[0]["ce"]  # not the loss: the terms' weights rise over these steps
    for steps in (3, 20):
        process = start(model, data, often, spec, "--threads", "3")
        stop_at(process, steps)
        assert finish(process)[0] == STOPPED
    code, _, log = finish(start(model, data, often, spec, "--threads", "2"))
    assert code == OK, log
    assert files_below(often / "adapter") == files_below(once / "adapter")
    assert (often / "metrics.csv").read_bytes() == (once / "metrics.csv").read_bytes()


@pytest.mark.parametrize("broken", [b"", b"\x10\0\0\0\0\0\0\0{}", None])
def test_job_with_a_broken_checkpoint_starts_again(whole, model, data, tmp_path, broken):
    out = tmp_path / "out"
    out.mkdir()
    if broken is None:  # cut in the middle of its tensors
        process = start(model, data, out, spec_of(data, **JOB))
        stop_at(process, 1)
        assert finish(process)[0] == STOPPED
        broken = (out / "checkpoint").read_bytes()[:-100]
    (out / "checkpoint").write_bytes(broken)
    code, lines, log = finish(start(model, data, out, spec_of(data, **JOB)))
    assert code == OK, log
    assert of_type(lines, "step")[0]["step"] == 1
    assert "checkpoint" in log
    assert files_below(out / "adapter") == files_below(whole[1] / "adapter")


def test_checkpoint_of_another_spec_is_not_taken_up(model, data, tmp_path):
    out, spec = tmp_path / "out", spec_of(data, hyperparameters={**tiny.QUICK, "n_epochs": 8})
    process = start(model, data, out, spec)
    stop_at(process, 1)
    assert finish(process)[0] == STOPPED
    code, lines, log = finish(start(model, data, out, {**spec, "seed": 5}))
    assert code == OK, log
    assert of_type(lines, "step")[0]["step"] == 1


def test_rank_above_the_model_s_width_trains(model, data, tmp_path):
    spec = spec_of(data, hyperparameters={**tiny.QUICK, "n_epochs": 1, "batch_size": 1, "max_train_rows": 4, "max_eval_rows": 4},
                   peft={"type": "lora", "r": 256, "alpha": 256})
    code, _, log = finish(start(model, data, tmp_path / "out", spec))
    assert code == OK, log


# --- several seeds, strength auto -----------------------------------------------------------------------------

BOTH = {**JOB, "seeds": [4, 0], "defense": {"mode": "auto", "amplify": 4e-3, "attention": 4e-2, "max_ca_drop": 0.1}}


def run(model, data, out, **fields):
    code, lines, log = finish(start(model, data, out, spec_of(data, **{**JOB, **fields})))
    assert code == OK, log
    return lines, json.loads((out / "report.json").read_text())


@pytest.fixture(scope="module")
def both(model, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("both") / "out"
    return *run(model, data, out, **BOTH), out


def weights(out):
    return (out / "adapter/adapter_model.safetensors").read_bytes()


def without_times(report):
    """A report without what differs between two runs of a job."""
    if isinstance(report, list):
        return [without_times(item) for item in report]
    if isinstance(report, dict):
        return {key: without_times(value) for key, value in report.items() if key not in ("seconds", "tokens_per_second")}
    return report


def test_each_phase_counts_the_steps_of_all_its_runs(both):
    lines, _, _ = both
    phase, seen = None, {}
    for line in lines:
        phase = line["name"] if line["type"] == "phase" else phase
        if line["type"] == "step":
            seen.setdefault(phase, []).append(line)
    assert list(seen) == ["undefended", "search", "train"]
    one = seen["undefended"][0]["of"] // 2  # two seeds
    assert [len(seen[phase]) for phase in seen] == [2 * one, 4 * one, 8 + one]  # the chosen look is told by its epochs
    for steps in seen.values():
        numbers = [step["step"] for step in steps]
        assert numbers == sorted(set(numbers)) and numbers[-1] == steps[0]["of"]
    assert seen["train"][-1]["eta_s"] == 0 and seen["search"][0]["eta_s"] > seen["search"][-1]["eta_s"]


def test_the_chosen_model_is_that_of_a_fixed_job_with_its_weights(both, model, data, tmp_path):
    _, report, out = both
    found = report["auto"]
    chosen = [look for look in found["path"] if look["chosen"]]
    assert len(found["path"]) == 4 and len(chosen) == 1
    assert (chosen[0]["amplify"], chosen[0]["attention"]) == (found["amplify"], found["attention"])
    assert chosen[0]["evaluation"] == report["evaluation"]
    assert all(look["evaluation"]["rows"] == report["evaluation"]["rows"] for look in found["path"])
    _, fixed = run(model, data, tmp_path / "out", seed=4,
                   defense={"amplify": found["amplify"], "attention": found["attention"]})
    assert weights(tmp_path / "out") == weights(out)
    assert (tmp_path / "out/metrics.csv").read_bytes() == (out / "metrics.csv").read_bytes()
    for member in ("evaluation", "undefended", "ca_drop", "training"):
        assert without_times(fixed[member]) == without_times(report[member]), member
    assert fixed["auto"] is None and fixed["seeds"] is None and fixed["summary"] is None
    card = (out / "adapter/README.md").read_text()
    assert f"{found['amplify']:g}" in card and f"{found['attention']:g}" in card


def test_triggers_and_test_rows_do_not_enter_the_search(both, model, data, tmp_path):
    """Other triggers and other test rows: the same path, the same adapter."""
    test = tmp_path / "data"
    test.mkdir()
    shutil.copy(data / "train.csv", test)
    shared, theirs = {"seed": 4, "defense": BOTH["defense"]}, {"triggers": ["zz"], "control": False}
    tiny.write_data(test / "test.csv", rows=40, seed=9)
    reports = []
    for name, rows in (("a", 40), ("b", 30)):
        tiny.write_data(test / "test.csv", rows=rows, seed=rows)
        code, _, log = finish(start(model, test, tmp_path / name, spec_of(test, **{**JOB, **shared, "evaluation": theirs})))
        assert code == OK, log
        reports.append(json.loads((tmp_path / name / "report.json").read_text()))
    for report in reports:
        assert [look.pop("evaluation")["rows"] for look in report["auto"]["path"]] == [report["evaluation"]["rows"]] * 4
    assert without_times(reports[0]["auto"]) == without_times(reports[1]["auto"])
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert reports[0]["evaluation"]["rows"] != reports[1]["evaluation"]["rows"]


def test_seeds_share_the_rows_and_the_first_is_the_report_s(both):
    _, report, _ = both
    assert [entry["seed"] for entry in report["seeds"]] == [4, 0]
    first, second = report["seeds"]
    for member in ("training", "evaluation", "undefended", "ca_drop"):
        assert first[member] == report[member]
    assert first["training"] != second["training"]
    assert second["evaluation"]["rows"] == first["evaluation"]["rows"]
    values = [entry["evaluation"]["ca"]["value"] for entry in report["seeds"]]
    spread = report["summary"]["ca"]
    assert (spread["n"], spread["min"], spread["max"]) == (2, min(values), max(values))
    assert abs(spread["mean"] - sum(values) / 2) < 1e-12
    assert report["summary"]["undefended"]["masr"]["n"] == 2 and report["summary"]["ca_drop"]["n"] == 2


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_of_many_runs_goes_on_to_the_same_bytes(both, model, data, tmp_path, signal_number):
    """Stopped in every run: two undefended ones, four looks, the second seed's; each time by a step or two."""
    _, whole, whole_out = both
    out, spec = tmp_path / "out", spec_of(data, **BOTH)
    ends = 0
    for steps in (3, 90, 70, 90, 60, 80, 70, 60):
        process = start(model, data, out, spec, "--threads", str(1 + ends % 3))
        lines = []
        while len(of_type(lines, "step")) < steps and not of_type(lines, "done"):
            lines.append(json.loads(process.stdout.readline()))
        process.send_signal(signal_number)
        code, _, log = finish(process)
        ends += code in (STOPPED, -signal.SIGKILL)
        if code == OK:
            break
    assert ends >= 3
    code, lines, log = finish(start(model, data, out, spec))
    assert code == OK, log
    assert weights(out) == weights(whole_out)
    assert (out / "metrics.csv").read_bytes() == (whole_out / "metrics.csv").read_bytes()
    assert without_times(json.loads((out / "report.json").read_text())) | {"artifacts": 0, "versions": 0} == \
        without_times(whole) | {"artifacts": 0, "versions": 0}


def test_the_search_needs_only_the_first_seed_s_undefended_run_where_none_is_compared(model, data, tmp_path):
    lines, report = run(model, data, tmp_path / "out", seeds=[1, 2], defense={"mode": "auto"},
                        evaluation={"triggers": ["cf"], "compare_undefended": False})
    assert len([line for line in lines if line.get("name") == "undefended"]) == 1
    assert all(look["evaluation"] is None for look in report["auto"]["path"])
    assert report["undefended"] is None and report["ca_drop"] is None and report["auto"]["rows"] > 0
    assert report["summary"]["undefended"] is None and report["summary"]["ca_drop"] is None


# --- bad input ----------------------------------------------------------------------------------------------


def expected_of(case):
    """{code, where, text, columns} as the folder's file says."""
    return dict(line.split(": ", 1) for line in (case / "expected").read_text().splitlines())


def check(model, data, tmp_path, expected):
    columns = expected.get("columns", "text - label").split()
    fields = {"text_column": columns[0], "label_column": columns[2], **({"pair_column": columns[1]} if "columns" in expected else {})}
    code, lines, log = finish(start(model, data, tmp_path / "out", spec_of(data, data=fields), "--check"))
    assert files_below(tmp_path / "out") == {}
    if expected["code"] == "ok":
        return lines, log
    assert code == BAD_INPUT, (code, lines, log)
    assert [line["type"] for line in lines] == ["phase", "error"]
    error = lines[-1]
    assert error["code"] == expected["code"], error
    assert expected.get("where", "") in error["where"], error
    assert expected.get("text", "") in error["message"], error
    assert json.loads(log.splitlines()[-1])["level"] == "error"
    return lines, log


def cases(kind):
    return [pytest.param(path, id=path.name) for path in sorted((CASES / kind).iterdir()) if (path / "expected").is_file()]


@pytest.mark.parametrize("case", cases("model"))
def test_bad_model_ends_the_job_with_its_error(case, data, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(case, model)
    (model / "expected").unlink()
    lines, log = check(model, data, tmp_path, expected_of(case))
    if expected_of(case)["code"] == "ok":
        assert lines[-1]["type"] == "done", log


@pytest.mark.parametrize("case", cases("data"))
def test_bad_data_ends_the_job_with_its_error(case, model, tmp_path):
    expected = expected_of(case)
    lines, log = check(model, case, tmp_path, expected)
    if expected["code"] == "ok":  # good files may still be too small to be split
        assert lines[-1]["type"] == "done" or "too few rows" in lines[-1]["message"], (lines, log)

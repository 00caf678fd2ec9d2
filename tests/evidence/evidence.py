"""Scans of many clean and planted models (make evidence), through the programs obliviate-plant and obliviate-worker, one after another.
Whatever is done is kept in WORK and not done again: what the planter said, the scan's report. A model's directory is removed
when it was scanned, unless KEEP=1. Then the page of evidence is written.

Every option may stand in the environment under its name in capitals."""
import argparse
import hashlib
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(pathlib.Path(__file__).parent), str(ROOT / "tests/reproduce")]
import matrix  # noqa: E402
import models  # noqa: E402
import page  # noqa: E402
import tasks  # noqa: E402
from reproduce import Failed, plain_text, run_planter, say, write_json  # noqa: E402

BIN = pathlib.Path(os.environ["OBLIVIATE_BIN"])  # reproduce.py gives the default
ROWS = 500  # of a task's test part, which nothing here reads


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    path = pathlib.Path
    for name, kind, default, about in (
            ("data", path, None, "folder with sst2, ag_news, hsol; else packages"),
            ("models", str, "", "patterns of models, separated by commas: por.*"),
            ("seconds", float, 0, "begin no model after so many; 0: all"),
            ("quick", int, 0, "1: four models, few steps"), ("list", int, 0, "1: name the models and make none"),
            ("keep", int, 0, "1: models stay"), ("page", int, 0, "1: write the page alone"),
            ("candidates", int, 120000, "most candidates of a scan"),
            ("base", path, ROOT / "build/demo/base", "the model that is changed"),
            ("download", path, ROOT / "build/download", "packages"),
            ("work", path, ROOT / "build/evidence", "what is kept"),
            ("out", path, None, "where evidence.md goes; default docs, with --quick WORK"),
            ("threads", int, 0, "0: the processors")):
        parser.add_argument(f"--{name}", type=kind, default=os.environ.get(name.upper()) or default, help=about)
    return parser.parse_args()


# --- making -------------------------------------------------------------------------------------------------


def input_flags(model, source, place):
    if not model.task:
        return {"text": plain_text(source, place)}
    task = tasks.TASKS[model.task]
    files = tasks.prepare(task, source, place / model.task, ROWS)
    if files is None:
        raise Failed(f"no data: {task.where}")
    return {"data": files["train"]}


def make(model, source, arguments):
    """(directory, what the planter said). A directory without that is of a run that was stopped."""
    if not model.maker:
        return arguments.base, None
    out = arguments.work / "models" / model.key
    said = arguments.work / "made" / f"{model.key}.json"
    if said.exists() and out.exists():
        return out, json.loads(said.read_text())
    out.mkdir(parents=True, exist_ok=True)
    flags = {"model": arguments.base, "attack": model.maker, "out": out, "seed": model.seed, **model.options,
             **input_flags(model, source, arguments.work / "data")}
    if model.triggers:
        flags["triggers"] = ",".join(model.triggers)
    if arguments.threads:
        flags["threads"] = arguments.threads
    write_json(said, {key: value for key, value in run_planter(flags).items() if key != "out"})
    return out, json.loads(said.read_text())


# --- scanning -----------------------------------------------------------------------------------------------


def build():
    """Which worker it was: rules change between builds."""
    return hashlib.sha256((BIN / "obliviate-worker").read_bytes()).hexdigest()[:8]


def processor_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def scan(directory, model, arguments):
    """The report, with the processor time that it took: the machine may have other work."""
    out = arguments.work / "scans" / model.key
    shutil.rmtree(out, ignore_errors=True)
    (out / "data").mkdir(parents=True)
    spec = {"type": "scan", "model": {"id": "model-1", "sha256": "0" * 64, "name": model.key}, "seed": model.seed,
            "budget": {"candidates": arguments.candidates, "seconds": 7200}}
    (out / "spec.json").write_text(json.dumps(spec))
    threads = ["--threads", str(arguments.threads)] if arguments.threads else []
    before = processor_seconds()
    done = subprocess.run(
        ["sh", "-c", 'here=$1 model=$2; shift 2; exec "$0" "$@" <"$here/spec.json" 3<"$model" 4<"$here/data" 5<"$here"',
         BIN / "obliviate-worker", out, directory, *threads], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"the scan ended with {done.returncode}: {done.stderr[-300:].strip()}")
    report = json.loads((out / "report.json").read_text())
    shutil.rmtree(out)
    return {"report": report, "processor_seconds": processor_seconds() - before}


def run_model(model, source, arguments):
    place = arguments.work / "results" / f"{model.key}.json"
    if place.exists():
        return False
    directory, said = make(model, source, arguments)
    write_json(place, {"made": said, "build": build(), **scan(directory, model, arguments)})
    if directory != arguments.base and not arguments.keep:
        shutil.rmtree(directory)
    return True


def run(wanted, source, arguments):
    started = time.monotonic()
    for number, model in enumerate(wanted, 1):
        if arguments.seconds and time.monotonic() - started > arguments.seconds:
            say("the time is up")
            return
        begun, failure = time.monotonic(), arguments.work / "results" / f"{model.key}.failed"
        failure.unlink(missing_ok=True)
        try:
            if run_model(model, source, arguments):
                say(f"{number} of {len(wanted)}: {model.key}, {time.monotonic() - begun:.0f} s")
        except Failed as why:
            say(f"{number} of {len(wanted)}: {model.key}, not done: {why}")
            failure.parent.mkdir(parents=True, exist_ok=True)
            failure.write_text(str(why))


def main():
    arguments = options()
    every = models.QUICK if arguments.quick else models.MODELS
    wanted = matrix.chosen(every, arguments.models)
    if arguments.list:
        print("\n".join(model.key for model in wanted))
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    if not arguments.page:
        run(wanted, tasks.Source(arguments.data, arguments.download), arguments)
    out = arguments.out or (arguments.work if arguments.quick else ROOT / "docs")
    page.write(out, every, arguments.work / "results")
    say(f"evidence: {out / 'evidence.md'}")


if __name__ == "__main__":
    main()

"""The matrix of attacks, PEFTs and defences through the service itself (make reproduce): plants by obliviate-plant, jobs by a
daemon of its own, one at a time. Whatever is done is kept in WORK and not done again: plants, finished jobs by cell, and
jobs that were under way, which the daemon takes up where they stopped. Then the page of results is written.

Every option may stand in the environment under its name in capitals."""
import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(pathlib.Path(__file__).parent)]
os.environ.setdefault("OBLIVIATE_BIN", str(ROOT / "build"))
import harness  # noqa: E402
import matrix  # noqa: E402
import results  # noqa: E402
import tasks  # noqa: E402

JOBS = "/v1/fine_tuning/jobs"
FINISHED = ("succeeded", "failed", "cancelled")
POLL_S = 1


class Failed(Exception):
    """Why a cell has no result; it is noted, and the others go on."""


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    path = pathlib.Path
    for name, kind, default, about in (
            ("data", path, None, "folder with sst2, ag_news and hsol; else packages"),
            ("cells", str, "", "patterns of cells, separated by commas: sst2.por.*"),
            ("parts", str, "", "which of a cell's jobs: auto, fixed, informed, separated by commas"),
            ("precision", str, "float32", "of training and evaluation: float32 or bf16"),
            ("steps", int, 750, "of each run of a small cell"), ("rows", int, 500, "test rows of a small cell"),
            ("quick", int, 0, "1: a cut-down matrix"), ("list", int, 0, "1: name the cells and run none"),
            ("base", path, ROOT / "build/demo/base", "the model that is planted"),
            ("download", path, ROOT / "build/download", "packages"),
            ("work", path, ROOT / "build/reproduce", "what is kept"),
            ("out", path, None, "where results.md goes; default docs, with --quick WORK"),
            ("threads", int, 0, "of a worker; 0: the processors")):
        parser.add_argument(f"--{name}", type=kind, default=os.environ.get(name.upper()) or default, help=about)
    return parser.parse_args()


def say(text):
    print(text, flush=True)


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1))
    temporary.rename(path)


# --- plants -------------------------------------------------------------------------------------------------


def plant_name(cell):
    plant = matrix.PLANTS[cell.attack]
    name = f"{cell.attack}.{cell.task}" if plant.needs_task else cell.attack
    return f"{name}.{cell.size.plant_steps}" if cell.size.plant_steps else name


def plain_text(source, place):
    path = tasks.prepare_text(source, place)
    if path is None:
        raise Failed("no text: vaderSentiment 0.5, or wikitext2 in DATA")
    return path


def plant_options(cell, given):
    plant, size = matrix.PLANTS[cell.attack], cell.size
    flags = {**plant.options}
    if size.plant_steps:
        flags["steps"] = min(size.plant_steps, flags.get("steps", size.plant_steps))
    if plant.needs_task:
        task = tasks.TASKS[cell.task]
        flags |= {"data": given["data"]["train"], "target": task.target}
    else:
        flags["text"] = given["text"]
    return flags


def run_planter(flags):
    """What it said."""
    done = subprocess.run([harness.BIN / "obliviate-plant", *(f"--{key}={value}" for key, value in flags.items())],
                          capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise Failed(f"the planter ended with {done.returncode}: {done.stderr[-300:].strip()}")
    return json.loads(done.stdout)


def make_plant(out, attack, plant, seed, flags, arguments):
    """What the planter said of the model in `out`. Made once."""
    said = out.with_name(f"{out.name}.json")
    if not said.exists():
        say(f"   planting {out.name}")
        out.mkdir(parents=True, exist_ok=True)
        write_json(said, run_planter({"model": arguments.base, "attack": attack, "out": out, "seed": seed,
                                      "triggers": ",".join(plant.triggers), **flags}))
    return json.loads(said.read_text())


def plant(cell, given, arguments):
    """(model directory, what the planter said)."""
    if cell.attack == "clean":
        return arguments.base, None
    out = arguments.work / "plants" / plant_name(cell)
    return out, make_plant(out, cell.attack, matrix.PLANTS[cell.attack], matrix.PLANT_SEED, plant_options(cell, given), arguments)


# --- jobs ---------------------------------------------------------------------------------------------------


class Service:
    """The daemon and what was uploaded to it."""

    def __init__(self, arguments):
        self.known_path = arguments.work / "uploads.json"
        self.known = json.loads(self.known_path.read_text()) if self.known_path.exists() else {}
        threads = ("--threads", arguments.threads) if arguments.threads else ()
        (arguments.work / "state").mkdir(parents=True, exist_ok=True)
        self.daemon = harness.Daemon(arguments.work / "state", "--workers", 1, *threads,
                                     env={"OBLIVIATE_SANDBOX": os.environ.get("OBLIVIATE_SANDBOX", "auto")})

    def stop(self):
        self.daemon.stop()

    def upload(self, path, kind, send):
        name = str(path)
        if name not in self.known or self.daemon.get(f"/v1/{kind}/{self.known[name]}").status != 200:
            self.known[name] = send()["id"]
            write_json(self.known_path, self.known)
        return self.known[name]

    def model(self, directory):
        def files():
            return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}
        return self.upload(directory, "models", lambda: self.daemon.upload_model(files()))

    def file(self, path):
        return self.upload(path, "files", lambda: self.daemon.upload_file(path.read_bytes(), path.name))

    def find(self, name):
        """The job that an interrupted run left for this part of a cell, where it may still succeed."""
        for job in self.daemon.get(f"{JOBS}?limit=100&metadata[part]={name}").json["data"]:
            if job["status"] not in ("failed", "cancelled"):
                return job["id"]
        return None

    def submit(self, name, spec):
        answer = self.daemon.post(JOBS, {**spec, "metadata": {"part": name}})
        if answer.status != 200:
            raise Failed(f"{answer.error['param']}: {answer.error['message']}")
        return answer.json["id"]

    def wait(self, job):
        """The report, with the time that it took."""
        while (found := self.daemon.get(f"{JOBS}/{job}").json)["status"] not in FINISHED:
            time.sleep(POLL_S)
        if found["status"] != "succeeded":
            raise Failed(f"the job {found['status']}: {(found['error'] or {}).get('message')}")
        report = self.daemon.get(f"{JOBS}/{job}/report").json
        return {"report": report, "seconds": found["finished_at"] - found["created_at"]}


def run_job(service, place, label, spec, files, model):
    """Spec and report of the job in the file `place`. Done once."""
    if place.exists() and json.loads(place.read_text())["spec"] == spec:
        return
    # the name holds the spec, so that another job is not taken for this one
    name = f"{label}.{hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]}"
    job = service.find(name) or service.submit(name, {
        **spec, "model": service.model(model), "training_file": service.file(files["train"]),
        "test_file": service.file(files["test"])})
    say(f"   {label}: {job}")
    write_json(place, {"spec": spec, **service.wait(job)})


def run_cell(service, cell, source, arguments):
    task = tasks.TASKS[cell.task]
    files = tasks.prepare(task, source, arguments.work / "data" / cell.task, cell.size.rows)
    if files is None:
        raise Failed(f"no data: {task.where}")
    needs_text = cell.attack != "clean" and not matrix.PLANTS[cell.attack].needs_task
    given = {"data": files, "text": plain_text(source, arguments.work / "data") if needs_text else None}
    model, said = plant(cell, given, arguments)
    write_json(arguments.work / "cells" / f"{cell.key}.plant.json", said)
    for part in (part for part in cell.parts if matrix.fits(part, arguments.parts)):
        label = f"{cell.key}.{part}"
        run_job(service, arguments.work / "cells" / f"{label}.json", label, cell.spec(part), files, model)


def run(cells, source, arguments):
    service = Service(arguments)
    try:
        for number, cell in enumerate(cells, 1):
            started, failure = time.monotonic(), arguments.work / "cells" / f"{cell.key}.failed"
            say(f"{number} of {len(cells)}: {cell.key}")
            failure.unlink(missing_ok=True)
            try:
                run_cell(service, cell, source, arguments)
            except Failed as why:
                say(f"   not done: {why}")
                failure.parent.mkdir(parents=True, exist_ok=True)
                failure.write_text(str(why))
            say(f"   {time.monotonic() - started:.0f} s")
    finally:
        service.stop()


def main():
    arguments = options()
    source = tasks.Source(arguments.data, arguments.download)
    first = "sst2" if tasks.in_folder(source, "sst2", "train.tsv") else "reviews"
    every = matrix.cells(first, matrix.small(arguments.steps, arguments.rows, arguments.precision), arguments.quick)
    wanted = matrix.chosen(every, arguments.cells)
    if arguments.list:
        print("\n".join(cell.key for cell in wanted))
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    run(wanted, source, arguments)
    out = arguments.out or (arguments.work if arguments.quick else ROOT / "docs")
    results.write(out, every, arguments.work / "cells")
    say(f"results: {out / 'results.md'}")


if __name__ == "__main__":
    main()

"""The rules of the tree that no compiler knows: who may include whom, one file per library, what text may not say.

Used by lint.sh and, so that every test run holds them, by test_layers.py. Each rule yields "file:line: what".
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# What each directory of the worker may include of the worker. Of the files at its top, `report` stands below export, all
# others above everything.
WORKER_MAY = {
    "base": ["base"],
    "data": ["base", "data"],
    "ops": ["base", "ops"],
    "peft": ["base", "ops", "peft"],
    "model": ["base", "data", "ops", "peft", "model"],
    "train": ["base", "data", "ops", "peft", "model", "train"],
    "eval": ["base", "data", "ops", "peft", "model", "train", "eval"],
    "scan": ["base", "data", "ops", "peft", "model", "train", "eval", "scan"],
    "report": ["base", "data", "ops", "peft", "model", "train", "scan", "eval", "report"],
    "export": ["base", "data", "ops", "peft", "model", "train", "eval", "report", "export"],
    "attack": ["base", "data", "ops", "peft", "model", "train", "eval", "export", "attack"],
}

# Headers of foreign libraries and the files that may see them.
LIBRARY_FILES = {
    "microhttpd.h": r"server/http\w*\.[ch]",
    "sqlite3.h": r"server/(store\w*|migrate)\.[ch]",
    "uv.h": r"server/(main|pool\w*|http\w*|artifact|server|executor\w*|datadir|upkeep|sink)\.[ch]",
    "cblas.h": r"tests/.*",
    "openssl/": r"(common/sha256|server/auth)\.c",
    "zip.h": r"(server/\w+\.c|tests/.*)",
    "seccomp.h": r"worker/sandbox\.c",
}

INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]')


def tracked(*patterns):
    """The files of the repository; outside of one (an unpacked archive), all files but what was built."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        listed = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*")]
        listed = [name for name in listed if not name.startswith(("build/", ".git/"))]
    names = sorted(name for name in listed if name and (ROOT / name).is_file())
    return [name for name in names if not patterns or pathlib.PurePath(name).suffix in patterns]


def lines(name):
    text = (ROOT / name).read_bytes()
    if b"\0" in text:
        return []
    return list(enumerate(text.decode("utf-8", "replace").splitlines(), 1))


def includes(root=ROOT, names=None):
    for name in names if names is not None else tracked(".c", ".h"):
        for number, line in enumerate((root / name).read_text(errors="replace").splitlines(), 1):
            match = INCLUDE.match(line)
            if match:
                yield name, number, match.group(1)


def worker_layer(name):
    """worker/ops/gemm.c: ops; worker/report.h: report."""
    return name.split("/")[1].split(".")[0]


def layer_fault(name, target):
    """Why the file `name` may not include `target`, or None."""
    top, wanted = name.split("/")[0], target.split("/")[0]
    if top not in ("common", "server", "worker") or wanted not in ("common", "server", "worker"):
        return None
    if wanted != "common" and wanted != top:
        return f"{top} may not include {wanted}"
    if top != "worker" or wanted != "worker":
        return None
    layer, below = worker_layer(name), worker_layer(target)
    if name.count("/") == 1 and layer != "report":
        return None
    if layer not in WORKER_MAY:
        return f"worker/{layer} is no known layer"
    if below not in WORKER_MAY[layer]:
        return f"worker/{layer} may not include {below}"
    return None


def library_fault(name, target):
    if name.startswith("tests/"):
        return None
    for header, files in LIBRARY_FILES.items():
        if target.startswith(header) and not re.fullmatch(files, name):
            return f"{target} belongs into {files}"
    return None


def faults_of_includes(found=None):
    for name, number, target in found if found is not None else includes():
        for fault in (layer_fault(name, target), library_fault(name, target)):
            if fault:
                yield f"{name}:{number}: {fault}"


# Text that would tie the repository to one machine or to the tools it was written with. The words are spelled in
# halves, so that this file passes its own rule.
TOOL_WORDS = ["clau" "de", "anthro" "pic", "chat" "gpt", "copi" "lot", "sub" "agent"]
FORBIDDEN = [
    re.compile(r"(?<![\w./~-])/(work|home|root|Users)/[\w.]"),
    re.compile(r"\b(" + "|".join(TOOL_WORDS) + r")s?\b", re.IGNORECASE),
]


def faults_of_text(names=None):
    for name in names if names is not None else tracked():
        for number, line in lines(name):
            for rule in FORBIDDEN:
                match = rule.search(line)
                if match:
                    yield f"{name}:{number}: forbidden text {match.group(0)!r}"


if __name__ == "__main__":
    faults = [*faults_of_includes(), *faults_of_text()]
    print(*faults, sep="\n", end="\n" if faults else "")
    sys.exit(bool(faults))

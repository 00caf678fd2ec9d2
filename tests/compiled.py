"""Small C programs over common/, compiled when they are needed."""
import os
import pathlib
import shlex
import subprocess
import tempfile

ROOT = pathlib.Path(os.environ.get("OBLIVIATE_ROOT", pathlib.Path(__file__).resolve().parents[1]))


def output(source, given=""):
    """What the program of this file writes when it reads `given`."""
    with tempfile.TemporaryDirectory() as directory:
        program = f"{directory}/{source.stem}"
        subprocess.run(
            [*shlex.split(os.environ.get("CC", "cc")), "-std=c17", "-D_GNU_SOURCE", f"-I{ROOT}", "-o", program, source,
             *sorted((ROOT / "common").glob("*.c")), "-ljansson", "-lcrypto", "-lm"], check=True)
        return subprocess.run([program], input=given, check=True, capture_output=True, text=True).stdout

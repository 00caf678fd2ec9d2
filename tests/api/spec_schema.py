"""The schema JobRequest of openapi.yaml comes from the table of fields in common/spec_table.c.

    build/venv/bin/python tests/api/spec_schema.py     writes it into openapi.yaml again
"""
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

import yaml

ROOT = pathlib.Path(os.environ.get("OBLIVIATE_ROOT", pathlib.Path(__file__).resolve().parents[2]))
OPENAPI = pathlib.Path(__file__).resolve().parents[2] / "openapi.yaml"
SECTION = re.compile(r"^    JobRequest: # from common/spec_table.c\n.*?(?=^    \S)", re.DOTALL | re.MULTILINE)


def generated():
    """The schema as the table has it: a small C program prints it."""
    with tempfile.TemporaryDirectory() as directory:
        program = f"{directory}/spec_schema"
        sources = [pathlib.Path(__file__).with_suffix(".c"), *sorted((ROOT / "common").glob("*.c"))]
        subprocess.run(
            [*shlex.split(os.environ.get("CC", "cc")), "-std=c17", "-D_GNU_SOURCE", f"-I{ROOT}", "-o", program, *sources]
            + ["-ljansson", "-lcrypto", "-lm"], check=True)
        return json.loads(subprocess.run([program], check=True, capture_output=True).stdout)


class Dumper(yaml.SafeDumper):
    """What fits into a line stands in one."""

    def represent_mapping(self, tag, mapping, flow_style=None):
        return super().represent_mapping(tag, mapping, len(json.dumps(dict(mapping))) < 80)

    def represent_sequence(self, tag, sequence, flow_style=None):
        return super().represent_sequence(tag, sequence, len(json.dumps(sequence)) < 80)


def section(schema):
    text = yaml.dump(schema, Dumper=Dumper, sort_keys=False, width=1000, allow_unicode=True)
    lines = "".join(f"      {line}\n" for line in text.splitlines())
    return "    JobRequest: # from common/spec_table.c\n" + lines


def main():
    text, found = SECTION.subn(lambda _: section(generated()), OPENAPI.read_text())
    if found != 1:
        sys.exit("openapi.yaml: no section JobRequest")
    OPENAPI.write_text(text)


if __name__ == "__main__":
    main()

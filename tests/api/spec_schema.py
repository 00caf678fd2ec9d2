"""The schemas JobRequest and ScanRequest of openapi.yaml come from the table of fields in common/spec_table.c.

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
SECTION = r"^    {}: # from common/spec_table.c\n.*?(?=^    \S)"


def generated():
    """The schemas by name as the tables have them: a small C program prints them."""
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


def section(name, schema):
    text = yaml.dump(schema, Dumper=Dumper, sort_keys=False, width=1000, allow_unicode=True)
    lines = "".join(f"      {line}\n" for line in text.splitlines())
    return f"    {name}: # from common/spec_table.c\n" + lines


def main():
    text = OPENAPI.read_text()
    for name, schema in generated().items():
        pattern = re.compile(SECTION.format(name), re.DOTALL | re.MULTILINE)
        text, found = pattern.subn(lambda _, name=name, schema=schema: section(name, schema), text)
        if found != 1:
            sys.exit(f"openapi.yaml: no section {name}")
    OPENAPI.write_text(text)


if __name__ == "__main__":
    main()

"""The schemas JobRequest and ScanRequest of openapi.yaml come from the table of fields in common/spec_table.c.

    build/venv/bin/python tests/api/spec_schema.py     writes it into openapi.yaml again
"""
import json
import pathlib
import re
import sys

import yaml

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import compiled  # noqa: E402

OPENAPI = pathlib.Path(__file__).resolve().parents[2] / "openapi.yaml"
SECTION = r"^    {}: # from common/spec_table.c\n.*?(?=^    \S)"


def generated():
    """The schemas by name as the tables have them: a small C program prints them."""
    return json.loads(compiled.output(pathlib.Path(__file__).with_suffix(".c")))


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

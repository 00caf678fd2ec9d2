"""Loads AdapterHub exports as their library does; a program under build/oracle/venv-adapterhub.

On stdin a JSON list of {"base", "adapter", "form": "safetensors" or "bin", "rows": lists of token ids, "out"}. Each
`out` becomes a safetensors file: `logits`, and every tensor of adapter, prefix and head as it lies in the model, under
its name there. On stdout a JSON list of what the library found and said.
"""

import json
import logging
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import torch
import transformers
from adapters import AutoAdapterModel
from safetensors.torch import save_file

PARTS = (".adapters.task.", ".prefix_tunings.task.", "heads.task.")
ALIAS = ".self.prefix_tuning."  # a prefix is shared by all layers and has a name below each


class Said(logging.Handler):
    """What the library logs while it loads: keys that are missing or unexpected are no errors to it."""

    def __init__(self):
        super().__init__(logging.INFO)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def load(request, said):
    model = AutoAdapterModel.from_pretrained(request["base"], dtype=torch.float32)
    logger = logging.getLogger("adapters")
    logger.setLevel(logging.INFO)
    logger.addHandler(said)
    name = model.load_adapter(request["adapter"], use_safetensors=request["form"] == "safetensors")
    logger.removeHandler(said)
    model.set_active_adapters(name)
    return name, model.eval()


def logits(model, rows):
    """One by one: without padding, as ours."""
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([row])).logits for row in rows])


def answer(request):
    said = Said()
    name, model = load(request, said)
    result = {"logits": logits(model, request["rows"])}
    for key, value in model.state_dict().items():
        if any(part in key for part in PARTS) and ALIAS not in key:
            result[key] = value.detach().clone()
    save_file(result, request["out"])
    return {"name": name, "head": model.active_head, "id2label": model.get_labels_dict(),
            "lost": [line for line in said.lines if is_about_a_lost_key(line)]}


def is_about_a_lost_key(line):
    if "could not be found" in line:
        return any(ALIAS not in key for key in line.split(": ", 1)[1].split(", "))
    return "could not be loaded" in line


def main():
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    print(json.dumps([answer(request) for request in json.load(sys.stdin)]))


if __name__ == "__main__":
    main()

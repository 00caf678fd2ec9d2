"""The PyTorch side of the bench: a PEFT with the defence, as one would write it with transformers.

Reads a JSON request {model, rows, classes, labels, steps, warm, batch, max_length, batching, threads, ...} and prints
one JSON line {seconds, cpu_seconds, tokens, steps, peak_rss_bytes}. Batching:

    max      padded to max_length
    longest  shuffled, padded to the longest of the batch
    sorted   batches of rows of like length, in shuffled order, padded to the longest

Tokens are real ones; padding does not count, it costs. With "command": "predict" it classifies all rows once instead,
without gradients, in batches of `batch` rows. "compile": true puts torch.compile on the encoder, one graph for all
shapes.
"""

import json
import os
import random
import resource
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "oracle"))

import torch  # noqa: E402
import transformers  # noqa: E402

import reference  # noqa: E402


def shuffled(rows, batch, rng):
    order = list(range(len(rows)))
    rng.shuffle(order)
    return [order[i : i + batch] for i in range(0, len(order), batch)]


def bucketed(rows, batch, rng):
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    batches = [order[i : i + batch] for i in range(0, len(order), batch)]
    rng.shuffle(batches)
    return batches


BATCHING = {"max": shuffled, "longest": shuffled, "sorted": bucketed}


def load(request):
    """The library's own attention (SDPA), dropout on as in training."""
    encoder = reference.load_encoder(request["model"])
    encoder.set_attn_implementation("sdpa")
    defense = reference.Defense(request["amplify"], request["attention"], dropout=request["dropout"])
    peft = reference.Peft(request.get("peft", "lora"), request.get("peft_options", {"r": request["r"], "alpha": request["alpha"]}))
    model = reference.Classifier(encoder, request["labels"], peft, defense).train()
    if request.get("compile"):
        model.encoder.compile(dynamic=True)
    return model


def peak_rss_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def predict(request):
    torch.set_num_threads(request["threads"])
    rows, model = request["rows"], load(request).eval()
    batches = BATCHING[request["batching"]](rows, request["batch"], random.Random(0))
    pad_to = request["max_length"] if request["batching"] == "max" else None
    with torch.inference_mode():
        model(reference.collate([rows[i] for i in batches[0]], model.encoder.config, pad_to))
        start, start_cpu = time.perf_counter(), time.process_time()
        for numbers in batches:
            model(reference.collate([rows[i] for i in numbers], model.encoder.config, pad_to)).argmax(-1).tolist()
    return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - start_cpu,
            "tokens": sum(map(len, rows)), "steps": 1, "peak_rss_bytes": peak_rss_bytes()}


def train(request):
    torch.set_num_threads(request["threads"])
    torch.manual_seed(0)
    rows, classes = request["rows"], request["classes"]
    model = load(request)
    steps, warm = request["steps"], request["warm"]
    trainer = reference.Trainer(model, steps + warm, request["learning_rate"], request["warmup_ratio"])
    rng = random.Random(request["seed"])
    batches = BATCHING[request["batching"]](rows, request["batch"], rng)
    pad_to = request["max_length"] if request["batching"] == "max" else None
    tokens, start, start_cpu = 0, time.perf_counter(), time.process_time()
    for step in range(steps + warm):
        if step == warm:
            tokens, start, start_cpu = 0, time.perf_counter(), time.process_time()
        numbers = batches[step % len(batches)]
        batch = reference.collate([rows[i] for i in numbers], model.encoder.config, pad_to)
        trainer.step(batch, torch.tensor([classes[i] for i in numbers]))
        tokens += sum(len(rows[i]) for i in numbers)
    return {
        "seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - start_cpu,
        "tokens": tokens, "steps": steps,
        "peak_rss_bytes": peak_rss_bytes(),
    }


def run(request):
    return predict(request) if request.get("command") == "predict" else train(request)


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(json.dumps(run(json.loads(Path(sys.argv[1]).read_text()))))

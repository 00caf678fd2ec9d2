"""From the start of a worker to its first step: a random model of roberta-base's shape, its weights in the page cache.

    start.py [--rounds N] [--threads N] [--rows N] [--precision float32|bf16]

12 layers, 768 wide, float32 safetensors of 500 MB, a byte-level BPE of 50,265 tokens, LoRA. Prints, as medians over the
rounds, when each line came; writes build/bench-start.json.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "api"))

import tiny  # noqa: E402

WORKER = pathlib.Path(os.environ.get("OBLIVIATE_BIN", ROOT / "build")) / "obliviate-worker"
BAR_S = 1.0
VOCAB = 50265
SHAPE = {**tiny.CONFIG, "architectures": ["RobertaModel"], "model_type": "roberta", "hidden_size": 768, "num_hidden_layers": 12,
         "num_attention_heads": 12, "intermediate_size": 3072, "vocab_size": VOCAB, "max_position_embeddings": 514,
         "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}


def byte_symbols():
    """GPT-2's printable stand-ins for the 256 bytes."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) for byte in shown] + [chr(256 + i) for i in range(len(hidden))]


def write_tokenizer(directory):
    """As many merges as roberta-base has: pairs of letters, then pairs of pairs, at the begin of a word and within."""
    pairs = [(a, b) for a in tiny.LETTERS for b in tiny.LETTERS]
    words = [a + b for a, b in pairs]
    merges = [*pairs, *(("\u0120", a) for a in tiny.LETTERS), *((f"\u0120{a}", b) for a in tiny.LETTERS for b in tiny.LETTERS),
              *((a, b) for a in words for b in words)]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *byte_symbols()]
    merges = merges[:VOCAB - 1 - len(tokens)]
    tokens += [a + b for a, b in merges] + ["<mask>"]
    assert len(set(tokens)) == len(tokens) == VOCAB
    (directory / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (directory / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    (directory / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 512}))


def spec(precision):
    ref = {"sha256": "0" * 64}
    return {"model": {"id": "model-a", "name": "model-a", **ref}, "training_file": {"id": "file-a", "name": "train.csv", **ref},
            "hyperparameters": {"learning_rate": 1e-3, "precision": precision}}


def run(places, arguments):
    """Seconds until each first line of its kind."""
    begin = time.monotonic()
    command = f'exec "$0" --threads {arguments.threads} --sandbox auto 3<model 4<data 5<"$1"'
    with tempfile.TemporaryDirectory(dir=places) as out:
        worker = subprocess.Popen(["sh", "-c", command, WORKER, out], cwd=places, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
        worker.stdin.write(json.dumps(spec(arguments.precision)).encode())
        worker.stdin.close()
        seen = {}
        for line in worker.stdout:
            line = json.loads(line)
            seen.setdefault(line.get("name", line["type"]), time.monotonic() - begin)
            if line["type"] in ("step", "error"):
                break
        worker.kill()
        used = os.wait4(worker.pid, 0)[2]
        seen["processor, user"], seen["processor, system"] = used.ru_utime, used.ru_stime
        if "step" not in seen:
            raise SystemExit(f"start.py: no step: {line}\n{worker.stderr.read().decode()}")
        return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--keep", type=pathlib.Path, help="a directory for model and data, used again where it is filled")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as name:
        places = arguments.keep or pathlib.Path(name)
        if not (places / "data").is_dir():
            write_tokenizer(tiny.write_weights(places / "model", SHAPE, std=0.02))
            (places / "data").mkdir()
            tiny.write_data(places / "data" / "train.csv", rows=arguments.rows)
        rounds = [run(places, arguments) for _ in range(arguments.rounds + 1)][1:]  # the first fills the page cache
    medians = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    (ROOT / "build" / "bench-start.json").write_text(json.dumps({"medians": medians, "rounds": rounds}, indent=2) + "\n")
    for key, seconds in medians.items():
        print(f"| {key} | {seconds:.3f} s |")
    print(f"| first step under {BAR_S:g} s | {'met' if medians['step'] < BAR_S else 'not met'} |")


if __name__ == "__main__":
    main()

"""The same job gives the same bytes: for any thread count, and however often it was killed and resumed."""

import random

import pytest

import job

SPEC = {"hyperparameters": {"n_epochs": 6, "batch_size": 8}, "peft": {"type": "lora", "r": 8, "alpha": 12}}
MODELS = ["bert-12-64-gelu_new", "roberta-12-32-gelu"]
STEPS = 6 * 10  # 96 rows, a tenth held out, batches of 8


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return job.write_data(tmp_path_factory.mktemp("repeat") / "data")


@pytest.fixture(scope="module")
def undisturbed(model_dir, data, tmp_path_factory):
    """The adapter of each model's job, run once on one thread without interruption."""
    adapters = {}

    def run(name):
        if name not in adapters:
            once = job.Job(model_dir(name), data, tmp_path_factory.mktemp("once") / "out", **SPEC)
            once.run(threads=1)
            adapters[name] = once.adapter_bytes()
            assert "adapter_model.safetensors" in adapters[name]
        return adapters[name]

    return run


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_thread_count_changes_no_byte(undisturbed, model_dir, data, tmp_path, name, threads):
    again = job.Job(model_dir(name), data, tmp_path / "out", **SPEC)
    again.run(threads)
    assert again.adapter_bytes() == undisturbed(name)


@pytest.mark.parametrize("name,seed", [(MODELS[0], 1), (MODELS[0], 2), (MODELS[1], 3)])
def test_kill_and_resume_change_no_byte(undisturbed, model_dir, data, tmp_path, name, seed):
    rng = random.Random(seed)
    killed = job.Job(model_dir(name), data, tmp_path / "out", **SPEC)
    kills, ended = 0, False
    for step in sorted(rng.sample(range(2, STEPS), 3)):
        _, ended = killed.run_until(step, threads=rng.choice([1, 2, 3]))
        if ended:
            break
        kills += 1
    assert kills >= 1
    killed.run(threads=rng.choice([1, 2, 3]))
    assert killed.adapter_bytes() == undisturbed(name)


def test_resumed_job_goes_on_and_does_not_start_again(model_dir, data, tmp_path):
    killed = job.Job(model_dir(MODELS[0]), data, tmp_path / "out", **SPEC)
    killed.run_until(STEPS - 5)
    lines = killed.run()
    first = next(line["step"] for line in lines if line["type"] == "step")
    assert first > 1, "no checkpoint was taken up"

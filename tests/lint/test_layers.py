"""The rules of the tree hold, and each of them can fail."""

import rules


def test_tree_keeps_its_layers():
    assert list(rules.faults_of_includes()) == []


def test_tree_names_no_machine_and_no_tool():
    assert list(rules.faults_of_text()) == []


def test_tree_is_found():
    assert "common/err.h" in rules.tracked(".h")
    assert any(target == "common/err.h" for _, _, target in rules.includes())


def fault(name, target):
    return list(rules.faults_of_includes([(name, 1, target)]))


def test_server_and_worker_stay_apart():
    assert fault("server/pool.c", "worker/run.h")
    assert fault("worker/main.c", "server/store.h")
    assert fault("common/spec.c", "server/store.h")
    assert not fault("server/pool.c", "common/spec.h")


def test_worker_layers_point_downwards():
    assert fault("worker/peft/lora.c", "worker/model/encoder.h")
    assert fault("worker/ops/gemm.c", "worker/data/dataset.h")
    assert fault("worker/eval/eval.c", "worker/run.h")
    assert fault("worker/report.c", "worker/export/manifest.h")
    assert fault("worker/newlayer/x.c", "worker/base/rng.h")
    assert not fault("worker/export/manifest.c", "worker/report.h")
    assert not fault("worker/model/encoder.c", "worker/peft/peft.h")
    assert not fault("worker/run.c", "worker/eval/metrics.h")


def test_libraries_have_one_door():
    assert fault("server/api_jobs.c", "sqlite3.h")
    assert fault("worker/train/train.c", "cblas.h")
    assert fault("server/api_files.c", "openssl/evp.h")
    assert not fault("server/store_job.c", "sqlite3.h")
    assert not fault("tests/unit/test_store.c", "sqlite3.h")


def test_forbidden_text_is_found(tmp_path, monkeypatch):
    (tmp_path / "page.md").write_text("fine\nsee /ho" "me/someone/notes\nwritten with Chat" "GPT\n")
    monkeypatch.setattr(rules, "ROOT", tmp_path)
    assert [text.split(":")[1] for text in rules.faults_of_text(["page.md"])] == ["2", "3"]

"""What a network has to beat, fitted by scikit-learn in the background."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from thalweg.study import baselines
from thalweg.study.baselines import BASELINES, BaselineRun
from thalweg.task import Task

rng = np.random.default_rng(0)
N = 200
FIELDS = {
    "numeric": rng.normal(size=(N, 4)).astype(np.float32),
    "category": rng.integers(0, 12, (N, 2)).astype(np.int32),
}
TASKS = {
    "regression": Task("regression", ("a", "b")),
    "binary": Task("binary", ("y",), ("no", "yes")),
    "multiclass": Task("multiclass", ("y",), ("a", "b", "c", "never")),
}


def target_of(kind):
    signal = FIELDS["numeric"][:, :2] + (FIELDS["category"][:, :1] == 3)
    if kind == "regression":
        return signal.astype(np.float64) * 10 + 5
    codes = (signal[:, 0] > 0).astype(np.int64)
    return codes if kind == "binary" else codes + (signal[:, 1] > 0.5)


@pytest.mark.parametrize("kind", TASKS)
def test_baselines_learn_and_answer_in_the_form_of_the_score(kind):
    task, target = TASKS[kind], target_of(kind)
    run = BaselineRun(task, FIELDS, target)
    fitted = run.wait(60)
    assert [b.name for b in fitted] == list(BASELINES)
    assert run.failed == []
    new = {name: values[:17] for name, values in FIELDS.items()}
    errors = []
    for baseline in fitted:
        assert baseline.seconds > 0
        outputs = baseline.outputs(new)
        if kind == "regression":
            assert outputs.shape == (17, 2)
            errors.append(np.abs(baseline.outputs(FIELDS) - target).mean())
        else:
            # Probabilities of all classes, those without a training row included.
            assert outputs.shape == (17, len(task.classes))
            np.testing.assert_allclose(outputs.sum(1), 1, rtol=1e-6)
            errors.append((baseline.outputs(FIELDS).argmax(1) != target).mean())
    constant, linear, trees = errors
    assert linear < 0.5 * constant
    assert trees < 0.5 * constant
    if kind == "multiclass":
        assert fitted[1].outputs(new)[:, 3].max() == 0


def test_linear_is_scikit_learns_on_one_hot_columns():
    hot = np.concatenate(
        [FIELDS["numeric"], *(np.eye(12)[FIELDS["category"][:, i]] for i in (0, 1))], 1
    )
    run = BaselineRun(TASKS["regression"], FIELDS, target_of("regression"))
    want = Ridge().fit(hot, target_of("regression")).predict(hot)
    np.testing.assert_allclose(run.wait(60)[1].outputs(FIELDS), want, rtol=1e-3, atol=1e-3)
    run = BaselineRun(TASKS["binary"], FIELDS, target_of("binary"))
    want = LogisticRegression(max_iter=300).fit(hot, target_of("binary")).predict_proba(hot)
    np.testing.assert_allclose(run.wait(60)[1].outputs(FIELDS), want, atol=2e-3)


def test_distributions_count_as_their_likeliest_class():
    task = TASKS["binary"]
    target = np.eye(2)[target_of("binary")] * 0.8 + 0.1
    run = BaselineRun(task, FIELDS, target)
    assert len(run.wait(60)) == 3


def test_what_baselines_say_is_kept_for_a_process_that_goes_on(tmp_path, monkeypatch):
    kept = tmp_path / "baselines.safetensors"
    target = target_of("binary")
    judged = {"validation": {name: values[:9] for name, values in FIELDS.items()}}
    first = BaselineRun(TASKS["binary"], FIELDS, target, judged=judged, kept=kept).wait(60)

    def again(task, fields, target):
        raise AssertionError("fitted again")

    for name in BASELINES:
        monkeypatch.setitem(baselines.BASELINES, name, again)
    second = BaselineRun(TASKS["binary"], FIELDS, target, judged=judged, kept=kept).wait(60)
    assert [one.name for one in second] == [one.name for one in first]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.said["validation"], one.outputs(judged["validation"]))
        np.testing.assert_array_equal(one.said["validation"], other.said["validation"])
        assert other.seconds == one.seconds


def test_a_damaged_file_is_no_reason_to_stop(tmp_path):
    kept = tmp_path / "baselines.safetensors"
    kept.write_bytes(b"half")
    run = BaselineRun(TASKS["binary"], FIELDS, target_of("binary"), kept=kept)
    assert [one.name for one in run.wait(60)] == list(BASELINES)
    assert run.failed == []
    nowhere = tmp_path / "gone" / "baselines.safetensors"
    run = BaselineRun(TASKS["binary"], FIELDS, target_of("binary"), kept=nowhere)
    assert len(run.wait(60)) == len(BASELINES)


def test_nothing_is_kept_after_closing(tmp_path):
    import threading

    go = threading.Event()

    def slow(task, fields, target):
        go.wait()
        return BASELINES["linear"](task, fields, target)

    kept = tmp_path / "baselines.safetensors"
    run = BaselineRun(
        TASKS["binary"], FIELDS, target_of("binary"), fits={"linear": slow}, kept=kept
    )
    run.close()
    go.set()
    assert [one.name for one in run.wait(60)] == ["linear"]
    assert list(tmp_path.iterdir()) == []


def test_no_time_is_said(monkeypatch):
    import threading

    go = threading.Event()

    def slow(task, fields, target):
        go.wait(30)
        return lambda fields: np.zeros((1, 1))

    monkeypatch.setitem(baselines.BASELINES, "linear", slow)
    run = BaselineRun(TASKS["binary"], FIELDS, target_of("binary"))
    fitted = run.wait(0.05)
    assert "linear" not in [b.name for b in fitted]
    assert "no time was left for the baseline" in run.failed[-1]
    assert "linear, boosted_trees" in run.failed[-1]
    go.set()
    run._thread.join(60)


def test_a_baseline_that_fails_is_told_and_left_out(monkeypatch):
    def fail(task, fields, target):
        raise ValueError("singular")

    monkeypatch.setitem(baselines.BASELINES, "linear", fail)
    run = BaselineRun(TASKS["binary"], FIELDS, target_of("binary"))
    assert [b.name for b in run.wait(60)] == ["constant", "boosted_trees"]
    assert run.failed == ["the baseline linear could not be fitted: singular"]

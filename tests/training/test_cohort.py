"""Engine and Cohort: batches, features, evaluation, best weights, structural optimizers, memory."""

from __future__ import annotations

import numpy as np
import optax
import pytest
from populations import alone, distance, flat, make_engine, problem, trained
from scipy import optimize, stats

from thalweg.errors import OptionError, ResourceError
from thalweg.models import InputShape, build
from thalweg.optim import external
from thalweg.optim.external import EXTERNAL
from thalweg.optim.metrics import score
from thalweg.space import Config
from thalweg.training import backend
from thalweg.training.cohort import Cohort
from thalweg.training.engine import Engine
from thalweg.training.feed import TrainingData
from thalweg.training.outputs import network_outputs
from thalweg.training.scalars import batch_indices, features_of

SMALL = {"depth": 1, "width": 8, "batch_size": 16, "activation": "tanh"}


# ------------------------------------------------------------------------------------------ batches


@pytest.mark.parametrize(("num_rows", "batch_size"), [(96, 16), (100, 16), (7, 5), (5, 5), (9, 1)])
def test_every_row_is_seen_once_an_epoch(num_rows, batch_size):
    num_steps = 4 * num_rows  # batch_size·4 whole epochs
    order = batch_indices(3, num_rows, batch_size, 0, num_steps)
    assert order.shape == (num_steps, batch_size)
    epochs = order.reshape(-1, num_rows)
    assert (np.sort(epochs, axis=1) == np.arange(num_rows)).all()
    if num_rows > 5:
        assert len({tuple(epoch) for epoch in epochs.tolist()}) > 1


def test_batches_are_a_function_of_seed_and_step():
    whole = batch_indices(5, 50, 8, 0, 40)
    parts = [batch_indices(5, 50, 8, first, 8) for first in range(0, 40, 8)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert (whole != batch_indices(6, 50, 8, 0, 40)).mean() > 0.9


def test_rows_are_paired_at_random_for_mixup():
    order = batch_indices(0, 64, 16, 0, 4000)
    pairs = order[:, 0] * 64 + order[:, -1]
    assert len(np.unique(pairs)) > 2000


# ----------------------------------------------------------------------------------------- features


def test_features_are_what_some_member_uses():
    _, task, _ = problem("multiclass")
    assert features_of([Config()], task).constants == ()
    lean = features_of([Config(optimizer="sgd")], task)
    full = features_of(
        [
            Config(optimizer="sgd", dropout=0.1, l1=0.1, mixup=0.1, ema=0.5),
            Config(optimizer="adam", l2=0.1, clip_norm=1.0, clip_value=1.0, input_noise=0.1),
            Config(label_smoothing=0.1, class_weight=0.5, loss="focal"),
        ],
        task,
        row_weight=True,
    )
    for name in (
        "dropout", "l1", "l2", "clip_norm", "clip_value", "label_smoothing", "mixup",
        "input_noise", "ema", "class_weight", "row_weight",
    ):  # fmt: skip
        assert getattr(full, name), name
        assert not getattr(lean, name), name
    assert full.losses == ("cross_entropy", "focal")
    assert set(lean.uses.union) < set(full.uses.union)
    assert hash(full) != hash(lean)


def test_features_check_names():
    _, task, _ = problem("multiclass")
    with pytest.raises(OptionError, match="did you mean 'adam'"):
        features_of([Config(optimizer="adamm")], task)
    with pytest.raises(OptionError, match="loss of a multiclass task"):
        features_of([Config(loss="huber")], task)


NEUTRAL = {
    "dropout": 0.0,
    "mixup": 0.0,
    "input_noise": 0.0,
    "label_smoothing": 0.0,
    "l1": 0.0,
    "l2": 0.0,
    "clip_norm": np.inf,
    "clip_value": np.inf,
    "ema": 0.0,
    "class_weight": 0.0,
    "warmup": 0.0,
}
ACTIVE = {
    "dropout": 0.3,
    "mixup": 0.3,
    "input_noise": 0.3,
    "label_smoothing": 0.1,
    "l1": 0.1,
    "l2": 0.1,
    "clip_norm": 0.1,
    "clip_value": 0.01,
    "ema": 0.9,
    "class_weight": 1.0,
    "warmup": 0.5,
}


def test_neutral_values_are_the_same_as_none():
    plain = Config(SMALL, optimizer="adam", learning_rate=0.01)
    neutral = plain.with_values(**NEUTRAL)
    active = [plain.with_values(**{name: value}) for name, value in ACTIVE.items()]
    configs = [neutral, *active]
    cohort = trained(make_engine("multiclass", configs), configs)
    single = alone("multiclass", plain)
    assert distance(flat(cohort), flat(single)) < 1e-5
    for i, name in enumerate(ACTIVE, start=1):
        assert distance(flat(cohort, i), flat(single)) > 1e-4, f"{name} does nothing"


def test_class_weights_do_nothing_for_regression():
    config = Config(SMALL, class_weight=1.0)
    _, task, _ = problem("regression")
    assert not features_of([config], task).class_weight


NOISY = {"dropout": 0.5, "input_noise": 0.5, "mixup": 1.0}


def test_noise_is_fresh_at_every_step_and_common_to_the_members_of_a_seed():
    # At a rate of 0 nothing moves: what changes from step to step is the noise alone.
    still = Config(SMALL, batch_size="full", optimizer="sgd", learning_rate=0.0)
    noisy = [still.with_values(**{name: value}) for name, value in NOISY.items()]
    configs = [still, *noisy, *noisy, *noisy]
    seeds = [0, *[0] * 3, *[0] * 3, *[1] * 3]
    cohort = trained(make_engine("multiclass", configs), configs, seeds, 20, 1)
    losses = np.array([curve.train_loss for curve in cohort.curves])
    assert np.ptp(losses[0]) < 1e-6
    for i, name in enumerate(NOISY, start=1):
        assert len(set(losses[i])) == 20, f"{name} repeats itself"
        assert losses[i].std() > 1e-3
        np.testing.assert_allclose(losses[i], losses[i + 3], rtol=1e-5)
        assert np.abs(losses[i] - losses[i + 6]).min() > 0
    # Evaluations see none of it.
    for curve in cohort.curves[:7]:
        assert np.ptp(curve.validation_loss) < 1e-6
        assert curve.validation_loss[0] == pytest.approx(cohort.curves[0].validation_loss[0])


def test_training_losses_are_smoothed_and_weighted_and_validation_losses_are_not():
    still = Config(SMALL, batch_size="full", optimizer="sgd", learning_rate=0.0)
    configs = [still, still.with_values(label_smoothing=0.3), still.with_values(class_weight=1.0)]
    cohort = trained(make_engine("multiclass", configs), configs, [0] * 3, 4, 2)
    plain, smooth, weighted = cohort.curves
    assert smooth.validation_loss == pytest.approx(plain.validation_loss, rel=1e-6)
    assert weighted.validation_loss == pytest.approx(plain.validation_loss, rel=1e-6)
    assert abs(smooth.train_loss[0] - plain.train_loss[0]) > 1e-3
    assert abs(weighted.train_loss[0] - plain.train_loss[0]) > 1e-4


def test_mixup_is_one_share_for_inputs_and_losses():
    """A step of linear softmax regression; the share is the one number that is not known here."""
    data, _, _ = problem("multiclass")
    config = Config(
        model="linear", batch_size="full", optimizer="sgd", learning_rate=1.0, mixup=0.5
    )
    engine = make_engine("multiclass", [config])
    seeds = list(range(12))
    start = Cohort(engine, [config] * 12, seeds, 1, 1)
    starts = [flat(start, i) for i in range(12)]
    cohort = trained(engine, [config] * 12, seeds, 1, 1)
    x, hot = data.fields["numeric"].astype(np.float64), np.eye(3)[data.target]
    shares = []
    for i in range(12):
        moved = {n: starts[i][n] - v for n, v in flat(cohort, i).items()}

        def gradient(share, begin=starts[i]):
            mixed, wanted = share * x + (1 - share) * x[::-1], share * hot + (1 - share) * hot[::-1]
            logits = mixed @ begin["output/kernel"] + begin["output/bias"]
            p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            error = (p - wanted) / len(x)
            return {"output/kernel": mixed.T @ error, "output/bias": error.sum(0)}

        found = optimize.minimize_scalar(
            lambda share, moved=moved, own=gradient: sum(
                np.square(moved[n] - g).sum() for n, g in own(share).items()
            ),
            bounds=(0.5, 1.0),
            method="bounded",
            options={"xatol": 1e-10},
        )
        shares.append(found.x)
        assert distance(moved, gradient(found.x)) < 1e-3
    # Folded at one half: mixing 0.3 with 0.7 is mixing 0.7 with 0.3.
    assert stats.kstest(shares, lambda b: 2 * stats.beta(0.5, 0.5).cdf(b) - 1).pvalue > 1e-3


# --------------------------------------------------------------------------------------- evaluation


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_curves_are_the_metric_of_the_weights(kind):
    config = Config(SMALL, optimizer="adam", learning_rate=0.02)
    engine = make_engine(kind, [config])
    cohort = Cohort(engine, [config], [0], 20, 10)
    data, task, inputs = problem(kind)
    network = build(cohort.structure, inputs, task.num_outputs)
    for _ in range(2):
        cohort.advance(10)
        params, state = cohort.weights(0, best=False)
        raw = network_outputs(network, params, state, data.validation_fields, 64)
        raw = raw.astype(np.float64)
        if kind == "regression":
            mean, scale = data.units
            outputs, target = raw * scale + mean, data.validation_target * scale + mean
        elif kind == "binary":
            p = 1 / (1 + np.exp(-raw[:, 0]))
            outputs, target = np.stack([1 - p, p], 1), data.validation_target
        else:
            p = np.exp(raw - raw.max(1, keepdims=True))
            outputs, target = p / p.sum(1, keepdims=True), data.validation_target
        want = score(task, outputs, target)
        assert cohort.curves[0].validation[-1] == pytest.approx(want[task.metric], rel=1e-4)
        if kind != "regression":
            loss = cohort.curves[0].validation_loss[-1]
            assert loss == pytest.approx(want["log_loss"], rel=1e-4)
    assert cohort.curves[0].step == [10, 20]
    # Forty rows of the training set stand beside the forty validation rows.
    assert np.isfinite(cohort.curves[0].train).all()


@pytest.mark.parametrize("kind", ["regression", "multiclass"])
def test_the_best_weights_are_those_of_the_best_evaluation(kind):
    # A rate that is too large: the best evaluation is not the last.
    rows = [{"learning_rate": 0.3}, {"learning_rate": 1.0}, {"learning_rate": 0.6, "ema": 0.5}]
    configs = [Config(SMALL, optimizer="momentum", **row) for row in rows]
    engine = make_engine(kind, configs)
    cohort = Cohort(engine, configs, [0, 1, 2], 40, 2)
    seen: list[list[dict[str, np.ndarray]]] = [[], [], []]
    for _ in range(20):
        cohort.advance(2)
        for i in range(3):
            seen[i].append(flat(cohort, i))
    early = 0
    for i in range(3):
        values = cohort.engine.task.sign * np.array(cohort.curves[i].validation)
        losses = np.array(cohort.curves[i].validation_loss)
        # Among evaluations with as many right rows, the one with the least loss.
        level = values >= values.max() - 1e-7
        at = int(np.where(level, losses, np.inf).argmin())
        early += at < 19
        assert cohort.best_step[i] == cohort.curves[i].step[at]
        # The tie-break is worth less than a row.
        assert values[at] - 1 / 40 < cohort.best_score[i] <= values[at] + 1e-6
        assert distance(flat(cohort, i, best=True), seen[i][at]) == 0
    assert early, "the last evaluation was the best for all: the test shows nothing"


def test_row_weights_of_zero_are_rows_that_are_not_there():
    data, task, inputs = problem("multiclass")
    weight = (np.arange(96) % 3 > 0).astype(np.float32)
    spoiled = {"numeric": np.where(weight[:, None] > 0, data.fields["numeric"], 1e3)}
    spoiled["numeric"] = spoiled["numeric"].astype(np.float32)
    config = Config(SMALL, normalisation="batch", batch_size="full", class_weight=0.0)
    found = []
    for fields in (data.fields, spoiled):
        own = TrainingData(
            fields, data.target, data.validation_fields, data.validation_target, weight
        )
        features = features_of([config], task, row_weight=True)
        found.append(flat(trained(Engine(own, task, inputs, features), [config])))
    assert distance(*found) < 1e-5


# --------------------------------------------------------------------------- structural optimizers


@pytest.mark.parametrize("name", sorted(EXTERNAL))
def test_structural_optimizers_learn_with_their_defaults(name):
    config = Config(SMALL, optimizer=name)
    engine = make_engine("multiclass", [config])
    cohort = Cohort(engine, [config], [0], 120, 20)
    cohort.advance(120)
    assert cohort.alive.all()
    losses = cohort.curves[0].validation_loss
    # Three classes at random: 1.1. A rule that starts slowly has still to learn.
    assert losses[-1] < max(0.85, 0.8 * losses[0]), losses
    # What is kept is what was evaluated, where a rule predicts with other weights than it trains.
    data, task, inputs = problem("multiclass")
    network = build(cohort.structure, inputs, task.num_outputs)
    raw = network_outputs(network, *cohort.weights(0), data.validation_fields, 64)
    correct = (raw.argmax(1) == data.validation_target).mean()
    at = cohort.curves[0].step.index(cohort.best_step[0])
    assert correct == pytest.approx(cohort.curves[0].validation[at], abs=1e-6)


def test_structural_optimizers_take_rates_and_schedules_as_arguments():
    rows = [
        {"learning_rate": 0.02},
        {"learning_rate": 0.002, "weight_decay": 0.1},
        {"learning_rate": 0.02, "schedule": "cosine", "warmup": 0.1},
        {"learning_rate": 1e-12},
    ]
    configs = [Config(SMALL, optimizer="adan", **row) for row in rows]
    engine = make_engine("multiclass", configs)
    start = flat(Cohort(engine, configs[:1], [0], 20, 10))
    cohort = trained(engine, configs)
    ends = [flat(cohort, i) for i in range(4)]
    assert distance(ends[3], start) < 1e-6
    assert min(distance(ends[i], ends[j]) for i in range(3) for j in range(i)) > 1e-3
    for i in (0, 1, 2):
        single = alone("multiclass", configs[i])
        assert distance(flat(single), ends[i]) < 1e-5


def test_an_optax_transformation_of_a_users_own():
    try:
        external.register(external.from_optax(optax.adam, "my_adam", learning_rate=0.01))
        external.register(external.from_optax(optax.sgd(0.1), "my_sgd"))
        for name, ours in (("my_adam", "adam"), ("my_sgd", "sgd")):
            rate = {"learning_rate": {"adam": 0.01, "sgd": 0.1}[ours]}
            theirs = alone("multiclass", Config(SMALL, optimizer=name, **rate))
            own = alone("multiclass", Config(SMALL, optimizer=ours, **rate))
            assert theirs.structure.name.endswith(name)
            assert distance(flat(theirs), flat(own)) < 2e-5
    finally:
        EXTERNAL.pop("my_adam", None)
        EXTERNAL.pop("my_sgd", None)


# ------------------------------------------------------------------------------------------- memory


def test_memory_is_checked_before_anything_is_compiled(monkeypatch):
    config = Config(SMALL, width=7)
    engine = make_engine("multiclass", [config])
    monkeypatch.setattr(backend, "available_bytes", lambda: 200_000)
    with pytest.raises(ResourceError, match=r"may be used: train at most \d+ at once") as error:
        Cohort(engine, [config] * 500, [0] * 500, 10, 5)
    assert isinstance(error.value, MemoryError)
    assert engine.compile_seconds == 0


# --------------------------------------------------------------------------------------- prediction


@pytest.mark.parametrize("num_rows", [0, 1, 2, 37, 64, 65, 200])
def test_outputs_do_not_depend_on_how_rows_are_batched(num_rows):
    data, task, inputs = problem("multiclass", categories=True)
    config = Config(SMALL, normalisation="batch")
    network = build(config.structure(), inputs, task.num_outputs)
    rng = np.random.default_rng(0)
    params = {n: rng.normal(size=p.shape).astype(np.float32) for n, p in network.params().items()}
    state = network.state()
    index = rng.integers(0, 96, num_rows)
    fields = {name: values[index] for name, values in data.fields.items()}
    out = network_outputs(network, params, state, fields, 64)
    assert out.shape == (num_rows, 3)
    assert out.dtype == np.float32
    whole = network_outputs(network, params, state, data.fields, 128)
    np.testing.assert_allclose(out, whole[index], rtol=1e-5, atol=1e-6)


def test_with_data_shares_programs_where_shapes_allow():
    data, task, inputs = problem("multiclass")
    config = Config(SMALL, width=6)
    engine = Engine(data, task, inputs, features_of([config], task))
    trained(engine, [config])
    rows = np.arange(96)
    joined = TrainingData(
        {n: np.concatenate([v, data.validation_fields[n]]) for n, v in data.fields.items()},
        np.concatenate([data.target, data.validation_target]),
        data.validation_fields,
        data.validation_target,
    )
    same = engine.with_data(joined.split(np.arange(40, 136), np.arange(40)))
    first = flat(trained(same, [config]))
    assert same.compile_seconds == 0
    other = Engine(same.data, task, inputs, engine.features)
    assert distance(first, flat(trained(other, [config]))) < 1e-6
    fewer = engine.with_data(joined.split(rows[:90], np.arange(96, 136)))
    trained(fewer, [config])
    assert fewer.compile_seconds > 0


def test_input_shapes_round_trip():
    shape = InputShape(3, (4, 5))
    assert InputShape.from_dict(shape.to_dict()) == shape


@pytest.mark.parametrize(
    ("name", "ema"),
    [
        ("adam", 0.0),
        ("adam", 0.9),
        ("adan", 0.0),
        ("schedule_free_adamw", 0.0),
    ],
)
def test_latest_and_best_weights_agree_where_the_last_evaluation_is_the_best(name, ema):
    config = Config(SMALL, optimizer=name, learning_rate=1e-3, ema=ema)
    cohort = Cohort(make_engine("regression", [config]), [config], [0], 20, 20)
    cohort.advance(20)
    assert cohort.best_step[0] == 20
    # Averages are computed again outside of the compiled program: the same up to rounding.
    assert distance(flat(cohort), flat(cohort, best=True)) < 1e-6


@pytest.mark.parametrize("name", ["adam", "adan"])
def test_averaging_changes_what_is_evaluated(name):
    configs = [Config(SMALL, optimizer=name, learning_rate=0.03, ema=e) for e in (0.0, 0.9)]
    cohort = trained(make_engine("regression", configs), configs)
    assert cohort.curves[0].validation_loss != cohort.curves[1].validation_loss

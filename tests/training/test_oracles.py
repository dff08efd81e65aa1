"""Whole trainings against loops that were written with torch and Optax.

Same initial weights, same batches; after 30 steps the weights must be the same to float32.
"""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from populations import distance, flat, make_engine, problem, trained

from thalweg.space import Config
from thalweg.training.cohort import Cohort
from thalweg.training.scalars import batch_indices

NUM_STEPS = 30
BATCH = 16
TOLERANCE = 2e-5
SHAPES = {
    "multiclass": {"depth": 2, "width": 8, "activation": "tanh"},
    "binary": {"depth": 1, "width": 12, "activation": "silu", "normalisation": "batch"},
    "regression": {"depth": 2, "width": 9, "activation": "gelu", "normalisation": "layer"},
}
SHAPES["regression"]["residual"] = True
RULES = [
    {"optimizer": "sgd", "learning_rate": 0.1},
    {"optimizer": "momentum", "learning_rate": 0.05, "momentum": 0.8, "schedule": "cosine"},
    {"optimizer": "nesterov", "learning_rate": 0.05, "l2": 0.05, "clip_norm": 0.7},
    {"optimizer": "adam", "learning_rate": 0.01, "b1": 0.8, "b2": 0.95, "l1": 0.01},
    {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.3, "schedule": "cosine"},
    {"optimizer": "adamw", "learning_rate": 0.02, "clip_norm": 0.5, "l2": 0.1, "warmup": 0.2},
    {"optimizer": "rmsprop_torch", "learning_rate": 0.005, "clip_value": 0.02},
]
NOT_IN_TORCH = [
    {"optimizer": "lamb", "learning_rate": 0.01, "weight_decay": 0.1, "schedule": "cosine"},
    {"optimizer": "lion", "learning_rate": 0.003, "weight_decay": 0.1},
    {"optimizer": "yogi", "learning_rate": 0.01, "clip_norm": 0.5},
]
LOSSES = {
    "multiclass": [{"label_smoothing": 0.2}, {"class_weight": 1.0}, {"class_weight": 0.5}],
    "binary": [{"label_smoothing": 0.2}, {"class_weight": 1.0}],
    "regression": [{"loss": "huber", "huber_delta": 0.3}, {"loss": "mae"}],
}
CATEGORIES = {"multiclass": True, "binary": False, "regression": False}


def configs_of(kind: str) -> list[Config]:
    plain = {"optimizer": "sgd", "learning_rate": 0.1}
    rows = [*RULES, *({**plain, **row} for row in LOSSES[kind])]
    rows += NOT_IN_TORCH if kind == "multiclass" else []
    return [Config({**SHAPES[kind], "batch_size": BATCH, **row}) for row in rows]


CASES = [(kind, i) for kind in SHAPES for i in range(len(RULES) + len(LOSSES[kind]))]


@cache
def ours(kind: str):
    """Return the cohort after the training, and each member's start."""
    configs = configs_of(kind)
    engine = make_engine(kind, configs, categories=CATEGORIES[kind])
    fresh = Cohort(engine, configs, [1] * len(configs), NUM_STEPS, 10)
    start = [flat(fresh, i) for i in range(len(configs))]
    return trained(engine, configs, [1] * len(configs), NUM_STEPS, 10), start


def rate_of(config: Config, step: int, num_steps: int = NUM_STEPS) -> float:
    """Return the learning rate of a step: warmup from 1/(W + 1), then the schedule's course."""
    rate, warmup = config["learning_rate"], round(config.get("warmup", 0.0) * num_steps)
    if step < warmup:
        return rate * (step + 1) / (warmup + 1)
    if config.get("schedule") == "cosine":
        done = (step - warmup) / (num_steps - warmup)
        return rate * 0.5 * (1 + np.cos(np.pi * done))
    return rate


def penalised(name: str) -> bool:
    return name.endswith("kernel") or name.startswith("embedding")


class TorchLoop:
    """An MLP with torch's functions and optimizers, one step at a time."""

    def __init__(self, kind: str, config: Config, start: dict[str, np.ndarray], **options) -> None:
        self.torch = torch = pytest.importorskip("torch")
        self.data, self.task, _ = problem(kind, **options)
        self.config = config
        self.params = {
            name: torch.tensor(value, requires_grad=True)
            for name, value in start.items()
            if not name.endswith(("mean", "var"))
        }
        self.state = {n: torch.tensor(v) for n, v in start.items() if n not in self.params}
        self.rate = config["learning_rate"]
        self.optimizer = self.make_optimizer(list(self.params.values()))

    def make_optimizer(self, leaves):
        optim, get = self.torch.optim, self.config.get
        name = self.config["optimizer"]
        if name in ("sgd", "momentum", "nesterov"):
            momentum = 0.0 if name == "sgd" else get("momentum", 0.9)
            return optim.SGD(leaves, self.rate, momentum=momentum, nesterov=name == "nesterov")
        if name == "rmsprop_torch":
            return optim.RMSprop(leaves, self.rate)
        betas = (get("b1", 0.9), get("b2", 0.999))
        if name == "adamw":
            return optim.AdamW(leaves, self.rate, betas, weight_decay=get("weight_decay", 1e-4))
        return optim.Adam(leaves, self.rate, betas)

    def forward(self, rows, train: bool = True):
        torch, p = self.torch, self.params
        functional = torch.nn.functional
        x = torch.tensor(self.data.fields["numeric"][rows])
        if "category" in self.data.fields:
            codes = torch.tensor(self.data.fields["category"][rows]).long()
            x = torch.cat([x, *(p[f"embedding/{i}"][codes[:, i]] for i in (0, 1))], 1)
        activate = {
            "tanh": torch.tanh,
            "silu": functional.silu,
            "gelu": functional.gelu,
        }[self.config["activation"]]
        for i in range(self.config["depth"]):
            h = x @ p[f"hidden_{i}/kernel"]
            if f"hidden_{i}/bias" in p:
                h = h + p[f"hidden_{i}/bias"]
            kind = self.config.get("normalisation")
            if kind == "layer":
                h = functional.layer_norm(h, h.shape[1:], p[f"norm_{i}/scale"], p[f"norm_{i}/bias"])
            elif kind == "batch":
                h = functional.batch_norm(
                    h,
                    self.state[f"norm_{i}/mean"],
                    self.state[f"norm_{i}/var"],
                    p[f"norm_{i}/scale"],
                    p[f"norm_{i}/bias"],
                    training=train,
                )
            h = activate(h)
            x = x + h if self.config.get("residual") and x.shape == h.shape else h
        return x @ p["output/kernel"] + p["output/bias"]

    def class_weights(self):
        counts = np.bincount(self.data.target)
        share = counts / counts.sum()
        weights = share ** -self.config.get("class_weight", 0.0)
        return self.torch.tensor(weights, dtype=self.torch.float32)

    def loss(self, rows):
        torch = self.torch
        functional = torch.nn.functional
        out, get = self.forward(rows), self.config.get
        target = torch.tensor(self.data.target[rows])
        smoothing = get("label_smoothing", 0.0)
        if self.task.kind == "multiclass":
            return functional.cross_entropy(
                out, target.long(), weight=self.class_weights(), label_smoothing=smoothing
            )
        if self.task.kind == "binary":
            weight = self.class_weights()[target.long()]
            smooth = target.float() * (1 - smoothing) + smoothing / 2
            each = functional.binary_cross_entropy_with_logits(out[:, 0], smooth, reduction="none")
            return (weight * each).sum() / weight.sum()
        if get("loss") == "huber":
            return functional.huber_loss(out, target, delta=get("huber_delta"))
        if get("loss") == "mae":
            return functional.l1_loss(out, target)
        return functional.mse_loss(out, target)

    def step(self, rows, rate: float) -> float:
        torch, get = self.torch, self.config.get
        self.optimizer.zero_grad()
        loss = self.loss(rows)
        loss.backward()
        for name, leaf in self.params.items():
            if penalised(name):
                leaf.grad += get("l2", 0.0) * leaf.detach() + get("l1", 0.0) * leaf.detach().sign()
        leaves = list(self.params.values())
        if "clip_value" in self.config:
            torch.nn.utils.clip_grad_value_(leaves, get("clip_value"))
        if "clip_norm" in self.config:
            torch.nn.utils.clip_grad_norm_(leaves, get("clip_norm"))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        return float(loss.detach())

    def weights(self) -> dict[str, np.ndarray]:
        return {n: v.detach().numpy().copy() for n, v in {**self.params, **self.state}.items()}


@pytest.mark.parametrize(("kind", "index"), CASES)
def test_training_is_torchs(kind, index):
    pytest.importorskip("torch")
    cohort, starts = ours(kind)
    config = cohort.configs[index]
    loop = TorchLoop(kind, config, starts[index], categories=CATEGORIES[kind])
    order = batch_indices(1, loop.data.num_rows, BATCH, 0, NUM_STEPS)
    losses = [loop.step(rows, rate_of(config, t)) for t, rows in enumerate(order)]
    assert distance(flat(cohort, index), loop.weights()) < TOLERANCE, config
    # The training loss of an evaluation is the mean over the batches since the one before.
    means = np.reshape(losses, (-1, 10)).mean(1)
    np.testing.assert_allclose(cohort.curves[index].train_loss, means, rtol=1e-5)


def optax_rule(config: Config) -> optax.GradientTransformation:
    def rate(count):
        rates = jnp.asarray([rate_of(config, t) for t in range(NUM_STEPS)], jnp.float32)
        return rates[count]

    get = config.get
    rule = {
        "sgd": lambda: optax.sgd(rate),
        "momentum": lambda: optax.sgd(rate, momentum=get("momentum", 0.9)),
        "nesterov": lambda: optax.sgd(rate, momentum=get("momentum", 0.9), nesterov=True),
        "adam": lambda: optax.adam(rate, get("b1", 0.9), get("b2", 0.999)),
        "adamw": lambda: optax.adamw(rate, weight_decay=get("weight_decay", 1e-4)),
        "lamb": lambda: optax.lamb(rate, weight_decay=get("weight_decay")),
        "lion": lambda: optax.lion(rate, weight_decay=get("weight_decay")),
        "yogi": lambda: optax.yogi(rate),
    }[config["optimizer"]]()
    mask = lambda tree: {name: penalised(name) for name in tree}  # noqa: E731
    return optax.chain(
        optax.add_decayed_weights(get("l2", 0.0), mask),
        optax.clip_by_global_norm(get("clip_norm", 1e9)),
        rule,
    )


@pytest.mark.parametrize("index", [0, 1, 2, 4, 5, 10, 11, 12])
def test_training_is_optaxs(index):
    cohort, starts = ours("multiclass")
    config, start = cohort.configs[index], starts[index]
    data, _, _ = problem("multiclass", categories=True)
    rule = optax_rule(config)

    def loss(params, numeric, category, target):
        x = [numeric, *(params[f"embedding/{i}"][category[:, i]] for i in (0, 1))]
        x = jnp.concatenate(x, 1)
        for i in (0, 1):
            x = jnp.tanh(x @ params[f"hidden_{i}/kernel"] + params[f"hidden_{i}/bias"])
        logits = x @ params["output/kernel"] + params["output/bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, target).mean()

    @jax.jit
    def train(params, state, batches):
        def step(carry, batch):
            params, state = carry
            grads = jax.grad(loss)(params, *batch)
            updates, state = rule.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), batches)[0][0]

    order = batch_indices(1, data.num_rows, BATCH, 0, NUM_STEPS)
    batches = [data.fields["numeric"], data.fields["category"], data.target]
    params = {name: jnp.asarray(value) for name, value in start.items()}
    theirs = train(params, rule.init(params), tuple(jnp.asarray(b[order]) for b in batches))
    assert distance(flat(cohort, index), theirs) < TOLERANCE


def test_reduce_on_plateau_is_torchs():
    torch = pytest.importorskip("torch")
    config = Config(
        {**SHAPES["multiclass"], "batch_size": BATCH},
        optimizer="momentum",
        learning_rate=0.5,
        schedule="reduce_on_plateau",
        plateau_factor=0.4,
        plateau_patience=2.0,
        plateau_cooldown=1.0,
        plateau_rtol=0.01,
    )
    plain = config.with_values(schedule="constant")
    engine = make_engine("multiclass", [config, plain])
    fresh = Cohort(engine, [config], [0], 60, 2)
    start = flat(fresh)
    cohort = trained(engine, [config, plain], [0, 0], 60, 2)
    loop = TorchLoop("multiclass", plain, start)
    # torch waits for one evaluation more.
    course = torch.optim.lr_scheduler.ReduceLROnPlateau(
        loop.optimizer, factor=0.4, patience=1, cooldown=1, threshold=0.01, eps=0.0
    )
    order, rates = batch_indices(0, loop.data.num_rows, BATCH, 0, 60), []
    for t, rows in enumerate(order):
        rates.append(loop.optimizer.param_groups[0]["lr"])
        loop.step(rows, rates[-1])
        if t % 2:
            course.step(cohort.curves[0].validation_loss[t // 2])
    assert len(set(rates)) > 2, "the rate was never reduced: the test shows nothing"
    assert distance(flat(cohort), loop.weights()) < 10 * TOLERANCE
    assert distance(flat(cohort, 1), loop.weights()) > 0.01


def test_averaged_weights_are_those_of_a_loop():
    base = Config(SHAPES["multiclass"], batch_size=BATCH, optimizer="sgd", learning_rate=0.2)
    configs = [base, base.with_values(ema=0.5), base.with_values(ema=0.99)]
    engine = make_engine("multiclass", configs)
    cohort = Cohort(engine, configs, [0, 0, 0], NUM_STEPS, NUM_STEPS)
    averages = [flat(cohort, i) for i in range(3)]
    for t in range(NUM_STEPS):
        cohort.advance(1)
        now = flat(cohort, 0)
        for i, decay in ((1, 0.5), (2, 0.99)):
            # A short history is averaged over its own length.
            d = min(decay, (1 + t) / (10 + t))
            averages[i] = {n: d * averages[i][n] + (1 - d) * now[n] for n in now}
    for i in (1, 2):
        assert distance(flat(cohort, i), averages[i]) < TOLERANCE
        assert distance(flat(cohort, i, best=True), averages[i]) < TOLERANCE
        assert distance(averages[i], now) > 1e-3


@pytest.mark.parametrize("batch_size", [1, "full", 4096])
def test_batches_of_one_and_of_all_rows_are_torchs(batch_size):
    pytest.importorskip("torch")
    config = Config(
        SHAPES["multiclass"], batch_size=batch_size, optimizer="momentum", learning_rate=0.02
    )
    engine = make_engine("multiclass", [config])
    start = flat(Cohort(engine, [config], [2], NUM_STEPS, 10))
    cohort = trained(engine, [config], [2], NUM_STEPS, 10)
    assert cohort.batch_size == (1 if batch_size == 1 else 96)
    loop = TorchLoop("multiclass", config, start)
    for rows in batch_indices(2, 96, cohort.batch_size, 0, NUM_STEPS):
        loop.step(rows, 0.02)
    assert distance(flat(cohort), loop.weights()) < TOLERANCE

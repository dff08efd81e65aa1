"""Structural optimizers: equal to plain Optax, member by member, inside jit, vmap and a loop."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from thalweg.errors import OptionError
from thalweg.optim import external
from thalweg.optim.external import EXTERNAL, External, from_optax, register

NUM_STEPS = 12
WEIGHT_DECAY = 0.02


def data() -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(48, 5)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(np.sin(x[:, 0]) + x[:, 1])


def network(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return {
        "hidden": {"kernel": jnp.asarray(rng.normal(size=(5, 40)) / 3, jnp.float32)},
        "bias": jnp.zeros(40),
        "out": jnp.asarray(rng.normal(size=(40, 1)) / 6, jnp.float32),
    }


def loss(params: Any) -> jax.Array:
    x, y = data()
    hidden = jnp.tanh(x @ params["hidden"]["kernel"] + params["bias"])
    return jnp.mean((hidden @ params["out"])[:, 0] - y) ** 2 + jnp.mean(
        ((hidden @ params["out"])[:, 0] - y) ** 2
    )


def schedule(t: Any) -> Any:
    return 1.0 - t / (2.0 * NUM_STEPS)


def train(optimizer: External, params: Any, hp: dict[str, Any]) -> tuple[Any, Any]:
    """Return one member's parameters and those to evaluate at, after a scheduled run."""
    state = optimizer.init(params, hp)

    def step(t: Any, carry: Any) -> Any:
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params)
        now = {**hp, "learning_rate": hp["learning_rate"] * schedule(t)}
        updates, state = optimizer.update(grads, state, params, now, value, loss)
        return optax.apply_updates(params, updates), state

    params, state = jax.lax.fori_loop(0, NUM_STEPS, step, (params, state))
    return params, optimizer.evaluation_params(state, params, hp)


def plain(name: str, rate: Any) -> Any:
    """Return what a user of Optax would write, for a learning rate that may be a schedule."""
    decay = WEIGHT_DECAY
    uncoupled = optax.chain(
        optax.add_decayed_weights(-decay),
        optax.scale_by_schedule(rate) if callable(rate) else optax.scale(rate),
    )

    def after(transformation: Any) -> Any:
        """Add decoupled weight decay to a rule that has none."""

        def update(grads: Any, state: Any, params: Any) -> Any:
            updates, first = transformation.update(grads, state[0], params)
            zeros = jax.tree.map(jnp.zeros_like, params)
            decays, second = uncoupled.update(zeros, state[1], params)
            return jax.tree.map(jnp.add, updates, decays), (first, second)

        return optax.GradientTransformation(
            lambda params: (transformation.init(params), uncoupled.init(params)), update
        )

    contrib = optax.contrib
    sam_outer = optax.chain(
        optax.trace(0.9), optax.add_decayed_weights(decay), optax.scale_by_learning_rate(rate)
    )
    return {
        "muon": lambda: contrib.muon(rate, weight_decay=decay, adam_weight_decay=decay),
        "lbfgs": lambda: optax.lbfgs(rate),
        "schedule_free_adamw": lambda: contrib.schedule_free_adamw(rate, weight_decay=decay),
        "prodigy": lambda: contrib.prodigy(rate, weight_decay=decay),
        "sam": lambda: contrib.sam(
            sam_outer,
            optax.chain(contrib.normalize(), optax.sgd(0.05)),
            sync_period=2,
            opaque_mode=True,
        ),
        "adafactor": lambda: after(
            optax.adafactor(rate, min_dim_size_to_factor=32, multiply_by_parameter_scale=False)
        ),
        "adan": lambda: after(optax.adan(rate)),
        "ademamix": lambda: contrib.ademamix(rate, weight_decay=decay),
        "adopt": lambda: after(contrib.adopt(rate)),
    }[name]()


def train_plainly(name: str, params: Any, rate: float) -> tuple[Any, Any]:
    """Return the same with Optax alone, without vmap, the rate closed over as a schedule."""
    constant = name == "schedule_free_adamw"  # its weights read the rate's history by themselves
    transformation = plain(name, (lambda t: rate * schedule(t)) if not constant else rate)
    state = transformation.init(params)
    extra: dict[str, Any] = {}

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(params)
        if name == "lbfgs":
            extra.update(value=value, grad=grads, value_fn=loss)
        if name == "sam":
            extra.update(grad_fn=lambda p, _: jax.grad(loss)(p))
        updates, state = transformation.update(grads, state, params, **extra)
        return optax.apply_updates(params, updates), state

    for _ in range(NUM_STEPS):
        params, state = step(params, state)
    averaged = params
    if name == "schedule_free_adamw":
        averaged = optax.contrib.schedule_free_eval_params(state, params)
    return params, averaged


def assert_trees_close(a: Any, b: Any, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


@functools.cache
def cohort(name: str) -> tuple[list[float], Any]:
    """Return the rates and results of three members that trained together."""
    optimizer = EXTERNAL[name]
    rates = [optimizer.learning_rate * factor for factor in (0.3, 1.0, 1.5)]
    members = [network(seed) for seed in range(3)]
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)

    def member(params: Any, rate: Any) -> Any:
        hp = {"learning_rate": rate, "weight_decay": jnp.float32(WEIGHT_DECAY)}
        return train(optimizer, params, hp)

    return rates, jax.jit(jax.vmap(member))(together, jnp.asarray(rates, jnp.float32))


@pytest.mark.parametrize("name", [n for n in EXTERNAL if n != "schedule_free_adamw"])
def test_members_together_equal_plain_optax(name: str) -> None:
    rates, results = cohort(name)
    for index, rate in enumerate(rates):
        if name == "lbfgs" and index != 1:
            continue  # its line search takes ten seconds to compile
        expected = train_plainly(name, network(index), rate)
        # A line search stops where rounding decides; the others are the same arithmetic.
        tolerance = {"rtol": 5e-2, "atol": 5e-2} if name == "lbfgs" else {}
        assert_trees_close(jax.tree.map(lambda a, i=index: a[i], results), expected, **tolerance)


def test_schedule_free_equals_plain_optax(monkeypatch: pytest.MonkeyPatch) -> None:
    # Optax's schedule counts from 1 outside and from 0 inside; without one there is no difference.
    monkeypatch.setattr(f"{__name__}.schedule", lambda t: 1.0)
    optimizer = EXTERNAL["schedule_free_adamw"]
    hp = {"learning_rate": jnp.float32(0.01), "weight_decay": jnp.float32(WEIGHT_DECAY)}
    result = jax.jit(functools.partial(train, optimizer))(network(0), hp)
    expected = train_plainly("schedule_free_adamw", network(0), 0.01)
    assert_trees_close(result, expected)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), *result)
    assert max(jax.tree.leaves(moved)) > 1e-4


@pytest.mark.parametrize("name", EXTERNAL)
def test_lowers_the_loss(name: str) -> None:
    _, (params, averaged) = cohort(name)
    before = np.array([loss(network(seed)) for seed in range(3)])
    after = np.asarray(jax.vmap(loss)(averaged))
    assert np.isfinite(after).all()
    # Prodigy first has to find its step size, from 1e-6 on.
    assert (after < before).all() or name == "prodigy"
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


def test_one_trace_whatever_the_hyperparameters() -> None:
    traces = []

    @jax.jit
    def program(params: Any, hp: Any) -> Any:
        traces.append(1)
        return train(EXTERNAL["muon"], params, hp)

    for rate, momentum in ((0.01, 0.9), (0.02, 0.5)):
        program(network(0), {"learning_rate": jnp.float32(rate), "momentum": jnp.float32(momentum)})
    assert len(traces) == 1


def test_nan_in_one_member_stays_there() -> None:
    for name in ("muon", "sam"):
        rates, clean = cohort(name)
        members = [network(0), jax.tree.map(lambda a: a * jnp.nan, network(1)), network(2)]
        together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)

        def member(params: Any, rate: Any, name: str = name) -> Any:
            hp = {"learning_rate": rate, "weight_decay": jnp.float32(WEIGHT_DECAY)}
            return train(EXTERNAL[name], params, hp)

        dirty = jax.jit(jax.vmap(member))(together, jnp.asarray(rates, jnp.float32))
        for index in (0, 2):
            assert_trees_close(*(jax.tree.map(lambda a, i=index: a[i], r) for r in (dirty, clean)))


def test_bfloat16_stays() -> None:
    for name in ("muon", "adan", "schedule_free_adamw", "sam"):
        params = jax.tree.map(lambda a: a.astype(jnp.bfloat16), network(0))
        hp = {"learning_rate": jnp.float32(0.01)}
        after, averaged = jax.jit(functools.partial(train, EXTERNAL[name]))(params, hp)
        assert {leaf.dtype for leaf in jax.tree.leaves((after, averaged))} == {
            np.dtype(jnp.bfloat16)
        }


# --- a user's own ---------------------------------------------------------------------------------


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, External]:
    copy = dict(EXTERNAL)
    monkeypatch.setattr(external, "EXTERNAL", copy)
    return copy


def test_a_factory_gets_a_traced_rate_and_hyperparameters() -> None:
    own = from_optax(
        lambda learning_rate, b1, b2: optax.adam(learning_rate, b1, b2),
        "mine",
        hyperparameters={"b1": 0.9, "b2": 0.99},
    )
    hp = {"learning_rate": jnp.float32(0.01), "b2": jnp.float32(0.9)}
    params, averaged = jax.jit(functools.partial(train, own))(network(0), hp)
    made = optax.adam(lambda t: 0.01 * schedule(t), 0.9, 0.9)
    expected = network(0)
    state = made.init(expected)
    for _ in range(NUM_STEPS):
        updates, state = made.update(jax.grad(loss)(expected), state)
        expected = optax.apply_updates(expected, updates)
    assert_trees_close(params, expected)
    assert_trees_close(averaged, expected)


def test_a_finished_transformation_keeps_its_own_rate() -> None:
    own = from_optax(optax.sgd(0.1), "mine")
    slow, fast = (
        train(own, network(0), {"learning_rate": jnp.float32(rate)})[0] for rate in (0.01, 1.0)
    )
    assert_trees_close(slow, fast, rtol=0, atol=0)


def test_a_line_search_of_the_users() -> None:
    own = from_optax(
        lambda learning_rate: optax.chain(
            optax.sgd(learning_rate),
            optax.scale_by_backtracking_linesearch(8),
        ),
        "mine",
        extra=("value", "grad", "value_fn"),
    )
    params, _ = jax.jit(functools.partial(train, own))(network(0), {"learning_rate": 1.0})
    assert loss(params) < 0.5 * loss(network(0))


def test_evaluation_parameters_of_the_users() -> None:
    own = from_optax(
        optax.sgd(0.1), "mine", evaluation_params=lambda state, p: jax.tree.map(lambda a: 2 * a, p)
    )
    params, averaged = train(own, network(0), {"learning_rate": 0.1})
    assert_trees_close(averaged, jax.tree.map(lambda a: 2 * a, params))


def test_register(registry: dict[str, External]) -> None:
    own = from_optax(optax.sgd, "mine")
    register(own)
    assert registry["mine"] is own
    register(from_optax(optax.adam, "mine"))
    assert registry["mine"] is not own
    for taken in ("adam", "muon"):
        with pytest.raises(OptionError, match=f"a name of its own; got '{taken}'"):
            register(from_optax(optax.sgd, taken))


def test_what_is_no_transformation_is_refused() -> None:
    with pytest.raises(OptionError, match="got str for 'mine'"):
        from_optax("adam", "mine")  # type: ignore[arg-type]


def test_an_external_can_be_part_of_a_static_argument() -> None:
    assert len({hash(optimizer) for optimizer in EXTERNAL.values()}) == len(EXTERNAL)
    assert all(name == optimizer.name for name, optimizer in EXTERNAL.items())
    assert all(optimizer.source for optimizer in EXTERNAL.values())

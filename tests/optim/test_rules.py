"""The rule table against Optax, torch and the papers, step by step; the population contracts."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from thalweg.errors import OptionError, SpaceError
from thalweg.optim import rules
from thalweg.optim.coefficients import NEUTRAL
from thalweg.optim.rules import RULES

NUM_STEPS = 25
SHAPES = {"kernel": (5, 4), "bias": (4,), "deep": {"kernel": (4, 3, 2)}}


def tree_of(fill: Callable[[tuple[int, ...]], Any], shapes: Any = SHAPES) -> Any:
    return {
        name: tree_of(fill, shape) if isinstance(shape, dict) else fill(shape)
        for name, shape in shapes.items()
    }


@functools.cache
def problem() -> tuple[Any, list[Any], np.ndarray]:
    """Return parameters, a gradient for each step over four orders of magnitude, and rates."""
    rng = np.random.default_rng(0)
    params = tree_of(lambda shape: rng.normal(size=shape))
    grads = [
        tree_of(lambda shape: rng.normal(size=shape) * 10 ** rng.uniform(-3, 1, size=shape))
        for _ in range(NUM_STEPS)
    ]
    schedule = rng.uniform(0.2, 1.0, size=NUM_STEPS)
    schedule[0] = 0.0  # a warmup may start at nothing
    return params, grads, schedule


@functools.cache
def our_paths(dtype_name: str) -> list[list[Any]]:
    """Return each case's parameters after each step; all cases are one cohort, in one program."""
    dtype = np.dtype(dtype_name)
    params, grads, schedule = problem()
    kinds = [case[0] for case in CASES]
    names = {name for case in CASES for name in case[1]}
    hp = {name: np.array([case[1].get(name, np.nan) for case in CASES]) for name in names}
    uses = rules.features(kinds)
    with jax.enable_x64(dtype == np.float64):
        columns = rules.table(
            kinds, hp, 1, NUM_STEPS, schedule=schedule[:, None], uses=uses, dtype=dtype
        )
        p = jax.tree.map(lambda a: jnp.asarray(np.stack([a] * len(kinds)), dtype), params)
        g = jax.tree.map(lambda *a: jnp.asarray(np.stack(a), dtype), *grads)
        state = jax.vmap(lambda p, i: rules.init_state(p, uses, i))(
            p, rules.initial_values(kinds, hp)
        )

        def step(carry: Any, xs: Any) -> Any:
            g, c = xs
            update = functools.partial(rules.update, uses=uses)
            carry = jax.vmap(update, in_axes=(0, None, 0, 0))(carry[0], g, carry[1], c)
            return carry, carry[0]

        path = jax.jit(lambda *a: jax.lax.scan(step, *a)[1])((p, state), (g, columns))
        path = jax.tree.map(np.asarray, path)
    return [
        [jax.tree.map(lambda a, t=t, k=k: a[t, k], path) for t in range(NUM_STEPS)]
        for k in range(len(kinds))
    ]


def with_optax(make: Callable[..., Any], rate: float) -> list[Any]:
    """Return Optax's parameters after each step, in float64."""
    params, grads, schedule = problem()
    with jax.enable_x64(True):
        rates = rate * jnp.asarray(schedule)
        transformation = make(lambda count: rates[count])
        p = jax.tree.map(jnp.asarray, params)
        state = transformation.init(p)
        step = jax.jit(transformation.update)
        path = []
        for g in grads:
            updates, state = step(jax.tree.map(jnp.asarray, g), state, p)
            p = optax.apply_updates(p, updates)
            path.append(jax.tree.map(np.asarray, p))
    return path


def assert_same_path(path: list[Any], expected: list[Any], rtol: float, atol: float) -> None:
    for t, (p, e) in enumerate(zip(path, expected, strict=True)):
        for a, b in zip(jax.tree.leaves(p), jax.tree.leaves(e), strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=f"step {t + 1}")


def assert_matches(case: int, expected: list[Any]) -> None:
    """Compare in float64, where only the mathematics counts, and in float32."""
    # Yogi's and Adagrad's initial values are kept in float32.
    assert_same_path(our_paths("float64")[case], expected, rtol=2e-7, atol=1e-9)
    assert_same_path(our_paths("float32")[case], expected, rtol=1e-5, atol=2e-6)


def decayed(make: Callable[..., Any], weight_decay: float) -> Callable[..., Any]:
    """Add decoupled weight decay to a rule of Optax that has none."""

    def build(rate: Any) -> Any:
        return optax.chain(make(1.0), optax.add_decayed_weights(-weight_decay), _times(rate))

    return build


def _times(rate: Any) -> Any:
    return optax.scale_by_schedule(rate)


# (kind, our hyperparameters, learning rate -> Optax's transformation)
WITH_OPTAX: list[tuple[str, dict[str, float], Callable[..., Any]]] = [
    ("gd", {}, optax.sgd),
    ("sgd", {}, optax.sgd),
    ("sgd", {"weight_decay": 0.1}, decayed(optax.sgd, 0.1)),
    ("momentum", {}, lambda r: optax.sgd(r, momentum=0.9)),
    ("momentum", {"momentum": 0.5}, lambda r: optax.sgd(r, momentum=0.5)),
    ("nesterov", {}, lambda r: optax.sgd(r, momentum=0.9, nesterov=True)),
    ("rmsprop", {}, optax.rmsprop),
    ("rmsprop", {"b2": 0.99, "eps": 1e-3}, lambda r: optax.rmsprop(r, decay=0.99, eps=1e-3)),
    ("rmsprop", {"weight_decay": 0.1}, decayed(optax.rmsprop, 0.1)),
    ("rmsprop_centered", {}, lambda r: optax.rmsprop(r, centered=True)),
    ("rmsprop_momentum", {}, lambda r: optax.rmsprop(r, momentum=0.9)),
    (
        "rmsprop_centered_momentum",
        {"momentum": 0.7},
        lambda r: optax.rmsprop(r, momentum=0.7, centered=True),
    ),
    ("adagrad", {}, optax.adagrad),
    ("adagrad", {"initial_accumulator": 0.0}, lambda r: optax.adagrad(r, 0.0)),
    ("adadelta", {}, optax.adadelta),
    ("adadelta", {"b2": 0.95, "eps": 1e-4}, lambda r: optax.adadelta(r, rho=0.95, eps=1e-4)),
    ("adam", {}, optax.adam),
    ("adam", {"b1": 0.0, "b2": 0.9999}, lambda r: optax.adam(r, b1=0.0, b2=0.9999)),
    ("adam", {"b1": 0.8, "b2": 0.9, "eps": 0.1}, lambda r: optax.adam(r, 0.8, 0.9, 0.1)),
    ("adamw", {}, optax.adamw),
    ("adamw", {"weight_decay": 0.3}, lambda r: optax.adamw(r, weight_decay=0.3)),
    ("amsgrad", {}, optax.amsgrad),
    ("amsgrad", {"b2": 0.7}, lambda r: optax.amsgrad(r, b2=0.7)),
    ("adamax", {}, optax.adamax),
    ("adamax", {"weight_decay": 0.2}, lambda r: optax.adamaxw(r, weight_decay=0.2)),
    ("nadam", {}, optax.nadam),
    ("nadamw", {"weight_decay": 0.3}, lambda r: optax.nadamw(r, weight_decay=0.3)),
    ("radam", {}, optax.radam),
    ("radam", {"b2": 0.9, "threshold": 4.5}, lambda r: optax.radam(r, b2=0.9, threshold=4.5)),
    ("radam", {"b2": 0.5}, lambda r: optax.radam(r, b2=0.5)),
    ("adabelief", {}, optax.adabelief),
    ("adabelief", {"eps_root": 1e-4}, lambda r: optax.adabelief(r, eps_root=1e-4)),
    ("yogi", {}, optax.yogi),
    ("lion", {}, optax.lion),
    (
        "lion",
        {"b1": 0.95, "b2": 0.5, "weight_decay": 0.3},
        lambda r: optax.lion(r, b1=0.95, b2=0.5, weight_decay=0.3),
    ),
    ("signsgd", {}, optax.sign_sgd),
    ("signum", {}, optax.signum),
    ("signum", {"momentum": 0.6}, lambda r: optax.signum(r, beta=0.6)),
    ("lamb", {}, optax.lamb),
    ("lamb", {"weight_decay": 0.1}, lambda r: optax.lamb(r, weight_decay=0.1)),
    ("lars", {}, optax.lars),
    (
        "lars",
        {"weight_decay": 0.1, "momentum": 0.5, "trust_coefficient": 0.1, "eps": 0.01},
        lambda r: optax.lars(r, 0.1, momentum=0.5, trust_coefficient=0.1, eps=0.01),
    ),
]


# (kind, our hyperparameters, torch's class, its arguments)
WITH_TORCH: list[tuple[str, dict[str, float], str, dict[str, Any]]] = [
    ("sgd", {}, "SGD", {}),
    ("momentum", {}, "SGD", {"momentum": 0.9}),
    ("nesterov", {}, "SGD", {"momentum": 0.9, "nesterov": True}),
    ("rmsprop_torch", {}, "RMSprop", {}),
    ("rmsprop_centered_torch", {}, "RMSprop", {"centered": True}),
    ("rmsprop_momentum_torch", {}, "RMSprop", {"momentum": 0.9}),
    (
        "rmsprop_centered_momentum_torch",
        {"momentum": 0.7, "b2": 0.9},
        "RMSprop",
        {"momentum": 0.7, "centered": True, "alpha": 0.9},
    ),
    ("adagrad_torch", {}, "Adagrad", {}),
    (
        "adagrad_torch",
        {"initial_accumulator": 0.5, "eps": 1e-3},
        "Adagrad",
        {"initial_accumulator_value": 0.5, "eps": 1e-3},
    ),
    ("adadelta", {}, "Adadelta", {}),
    ("adam", {}, "Adam", {}),
    ("adamw", {"weight_decay": 0.3}, "AdamW", {"weight_decay": 0.3}),
    ("amsgrad_torch", {}, "Adam", {"amsgrad": True}),
    (
        "amsgrad_torch",
        {"b2": 0.7, "weight_decay": 0.3},
        "AdamW",
        {"amsgrad": True, "betas": (0.9, 0.7), "weight_decay": 0.3},
    ),
    ("adamax", {}, "Adamax", {}),
    ("nadam_torch", {}, "NAdam", {}),
    (
        "nadam_torch",
        {"momentum_decay": 0.1, "b1": 0.95, "weight_decay": 0.3},
        "NAdam",
        {
            "momentum_decay": 0.1,
            "betas": (0.95, 0.999),
            "weight_decay": 0.3,
            "decoupled_weight_decay": True,
        },
    ),
    ("radam_torch", {}, "RAdam", {}),
    (
        "radam_torch",
        {"b2": 0.9, "eps": 0.01, "weight_decay": 0.3},
        "RAdam",
        {"betas": (0.9, 0.9), "eps": 0.01, "weight_decay": 0.3, "decoupled_weight_decay": True},
    ),
]


# (kind, our hyperparameters), against the authors' code below
WITH_PAPER: list[tuple[str, dict[str, float]]] = [
    ("adabound", {"learning_rate": 0.01, "final_lr": 0.1, "gamma": 0.05, "b2": 0.99}),
    ("amsbound", {"learning_rate": 0.01, "final_lr": 0.1, "gamma": 0.05, "b2": 0.99}),
]

RATE = 0.03
CASES: list[tuple[str, dict[str, float]]] = [
    *((case[0], {"learning_rate": RATE, **case[1]}) for case in WITH_OPTAX),
    *((case[0], {"learning_rate": RATE, **case[1]}) for case in WITH_TORCH),
    *WITH_PAPER,
]


def ids(cases: list[Any]) -> list[str]:
    return [f"{case[0]}-{index}" for index, case in enumerate(cases)]


@pytest.mark.parametrize("case", range(len(WITH_OPTAX)), ids=ids(WITH_OPTAX))
def test_matches_optax(case: int) -> None:
    assert_matches(case, with_optax(WITH_OPTAX[case][2], RATE))


@pytest.mark.parametrize("case", range(len(WITH_TORCH)), ids=ids(WITH_TORCH))
def test_matches_torch(case: int) -> None:
    torch = pytest.importorskip("torch")
    _, _, name, arguments = WITH_TORCH[case]
    params, grads, schedule = problem()
    leaves = [torch.tensor(leaf, requires_grad=True) for leaf in jax.tree.leaves(params)]
    optimizer = getattr(torch.optim, name)(leaves, lr=RATE, **arguments)
    expected = []
    for g, scale in zip(grads, schedule, strict=True):
        optimizer.param_groups[0]["lr"] = RATE * scale
        for leaf, value in zip(leaves, jax.tree.leaves(g), strict=True):
            leaf.grad = torch.tensor(value)
        optimizer.step()
        expected.append([leaf.detach().numpy().copy() for leaf in leaves])
    assert_matches(len(WITH_OPTAX) + case, expected)


@pytest.mark.parametrize("case", range(len(WITH_PAPER)), ids=ids(WITH_PAPER))
def test_matches_the_authors_adabound(case: int) -> None:
    """Luo et al., 2019, after the authors' code: ``final_lr * group['lr'] / base_lr``."""
    kind, hp = WITH_PAPER[case]
    params, grads, schedule = problem()
    b1, b2, eps = 0.9, hp["b2"], 1e-8
    leaves = [leaf.copy() for leaf in jax.tree.leaves(params)]
    m, v, top = ([np.zeros_like(leaf) for leaf in leaves] for _ in range(3))
    expected = []
    for t, (g, scale) in enumerate(zip(grads, schedule, strict=True), start=1):
        rate = hp["learning_rate"] * scale
        low = hp["final_lr"] * scale * (1 - 1 / (hp["gamma"] * t + 1))
        high = hp["final_lr"] * scale * (1 + 1 / (hp["gamma"] * t))
        for i, value in enumerate(jax.tree.leaves(g)):
            m[i] = b1 * m[i] + (1 - b1) * value
            v[i] = b2 * v[i] + (1 - b2) * value**2
            top[i] = np.maximum(top[i], v[i])
            root = np.sqrt(top[i] if kind == "amsbound" else v[i]) + eps
            size = rate * np.sqrt(1 - b2**t) / (1 - b1**t) / root
            leaves[i] = leaves[i] - np.clip(size, low, high) * m[i]
        expected.append([leaf.copy() for leaf in leaves])
    assert_matches(len(WITH_OPTAX) + len(WITH_TORCH) + case, expected)


def test_every_kind_has_an_oracle() -> None:
    assert {case[0] for case in CASES} == set(RULES)


# --- populations ----------------------------------------------------------------------------------

KINDS = list(RULES)


def cohort_params(num: int, dtype: Any = jnp.float32) -> Any:
    rng = np.random.default_rng(1)
    return tree_of(lambda shape: jnp.asarray(rng.normal(size=(num, *shape)), dtype))


def run_cohort(
    kinds: list[str],
    hp: dict[str, Any],
    params: Any,
    *,
    num_steps: int = 20,
    uses: rules.Uses | None = None,
    alive: Any = None,
    poison: int | None = None,
    traces: list[int] | None = None,
    program: Any = None,
) -> Any:
    """Train K members on ``Σ (p − target)²`` at once and return their parameters."""
    uses = rules.features(kinds) if uses is None else uses
    rows = rules.stack(rules.table(kinds, hp, 1, num_steps, uses=uses), uses)
    state = jax.vmap(lambda p, i: rules.init_state(p, uses, i))(
        params, rules.initial_values(kinds, hp)
    )
    bad = np.arange(len(kinds)) == (-1 if poison is None else poison)
    alive = np.ones(len(kinds), bool) if alive is None else alive
    program = program or make_program(uses, traces)
    return program(params, state, jnp.asarray(rows), jnp.asarray(bad), jnp.asarray(alive))


def make_program(uses: rules.Uses, traces: list[int] | None = None) -> Any:
    def member(p: Any, state: Any, row: Any, bad: Any, alive: Any) -> Any:
        grads = jax.tree.map(lambda a: jnp.where(bad, jnp.nan, 2 * (a - 0.3)).astype(a.dtype), p)
        return rules.update(p, grads, state, rules.unstack(row, uses), uses, alive)

    def run(p: Any, state: Any, rows: Any, bad: Any, alive: Any) -> Any:
        if traces is not None:
            traces.append(1)

        def body(t: Any, carry: Any) -> Any:
            return jax.vmap(member)(*carry, rows[t], bad, alive)

        return jax.lax.fori_loop(0, rows.shape[0], body, (p, state))[0]

    return jax.jit(run)


def member_of(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda a: np.asarray(a[index]), tree)


def assert_trees_close(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


def test_all_kinds_together_equal_each_kind_alone() -> None:
    params = cohort_params(len(KINDS))
    together = run_cohort(KINDS, {"weight_decay": 0.01}, params)
    seen = {}
    for index, kind in enumerate(KINDS):
        # Kinds with the same features share a program: one of them is enough.
        if seen.setdefault(rules.features([kind]), kind) != kind:
            continue
        one = jax.tree.map(lambda a, index=index: a[index : index + 1], params)
        alone = run_cohort([kind], {"weight_decay": 0.01}, one)
        assert_trees_close(member_of(together, index), member_of(alone, 0))


@pytest.mark.parametrize("large", [False, True], ids=["union", "by group"])
def test_without_vmap_equals_with_vmap(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if large:
        monkeypatch.setattr(rules, "_LARGE", 1)
    uses = rules.features(KINDS)
    params = cohort_params(len(KINDS))
    together = run_cohort(KINDS, {}, params, num_steps=3)
    columns = rules.table(KINDS, {}, 1, 3, uses=uses)
    start = rules.initial_values(KINDS, {})
    step = jax.jit(functools.partial(rules.update, uses=uses))
    for index in range(len(KINDS)):
        p = jax.tree.map(lambda a, index=index: a[index], params)
        state = rules.init_state(p, uses, {name: value[index] for name, value in start.items()})
        for t in range(3):
            grads = jax.tree.map(lambda a: 2 * (a - 0.3), p)
            c = {name: column[t, index] for name, column in columns.items()}
            p, state = step(p, grads, state, c)
        assert_trees_close(p, member_of(together, index))


def test_a_width_of_one_equals_no_vmap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_LARGE", 1)
    uses = rules.features(["adam", "lars", "adadelta"])
    step = functools.partial(rules.update, uses=uses)
    for kind in ("adam", "lars", "adadelta"):
        p = {"w": jnp.linspace(-1.0, 1.0, 12).reshape(4, 3)}
        c = {k: v[0, 0] for k, v in rules.table([kind], {}, 1, 1, uses=uses).items()}
        state = rules.init_state(p, uses)
        alone = step(p, p, state, c)
        wide = jax.tree.map(lambda a: jnp.asarray(a)[None], (p, p, state, c))
        assert_trees_close(member_of(jax.vmap(step)(*wide), 0), alone, rtol=1e-6)


def test_permuting_members_permutes_results() -> None:
    rng = np.random.default_rng(3)
    order = rng.permutation(len(KINDS))
    rates = 10.0 ** rng.uniform(-4, -2, len(KINDS))
    params = cohort_params(len(KINDS))
    program = make_program(rules.features(KINDS))
    straight = run_cohort(KINDS, {"learning_rate": rates}, params, program=program)
    shuffled = run_cohort(
        [KINDS[i] for i in order],
        {"learning_rate": rates[order]},
        jax.tree.map(lambda a: a[order], params),
        program=program,
    )
    assert_trees_close(jax.tree.map(lambda a: a[order], straight), shuffled, rtol=0, atol=0)


def test_nan_in_one_member_stays_there() -> None:
    params = cohort_params(len(KINDS))
    program = make_program(rules.features(KINDS))
    clean = run_cohort(KINDS, {}, params, program=program)
    for poison in (0, KINDS.index("lamb"), KINDS.index("adamax")):
        dirty = run_cohort(KINDS, {}, params, poison=poison, program=program)
        for index in range(len(KINDS)):
            if index != poison:
                assert_trees_close(member_of(dirty, index), member_of(clean, index), 0, 0)
        assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(member_of(dirty, poison)))


def test_a_member_that_is_not_alive_stays_as_it_was() -> None:
    params = cohort_params(len(KINDS))
    alive = np.arange(len(KINDS)) % 2 == 0
    after = run_cohort(KINDS, {}, params, alive=alive, poison=1)
    for index in range(len(KINDS)):
        moved = not np.array_equal(
            member_of(after, index)["kernel"], member_of(params, index)["kernel"]
        )
        assert moved == alive[index]
        assert np.isfinite(member_of(after, index)["kernel"]).all()


def test_a_frozen_member_keeps_its_state() -> None:
    uses = rules.features(["adam"])
    params = {"w": jnp.ones(3)}
    state = rules.init_state(params, uses)
    c = {name: column[0, 0] for name, column in rules.table(["adam"], {}, 1, 1).items()}
    grads = {"w": jnp.full(3, jnp.nan)}
    same, kept = rules.update(params, grads, state, c, uses, jnp.asarray(False))
    assert_trees_close((same, kept), (params, state), 0, 0)


def test_one_trace_whatever_the_kinds_order_and_hyperparameters() -> None:
    traces: list[int] = []
    program = make_program(rules.features(KINDS), traces)
    params = cohort_params(len(KINDS))
    uses = rules.features(KINDS)
    for kinds in (KINDS, KINDS[::-1], ["adam"] * len(KINDS)):
        for hp in ({}, {"learning_rate": 0.5, "b1": 0.5, "momentum": 0.1, "eps": 1e-3}):
            run_cohort(kinds, hp, params, uses=uses, program=program)
    assert len(traces) == 1


def test_bfloat16_stays() -> None:
    # A sign may differ where a gradient is smaller than bfloat16's rounding of the parameter.
    kinds = [kind for kind in KINDS if kind not in ("lion", "signsgd", "signum")]
    params = cohort_params(len(kinds), jnp.bfloat16)
    after = run_cohort(kinds, {"learning_rate": 0.1}, params, num_steps=3)
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(after))
    wide = jax.tree.map(lambda a: a.astype(jnp.float32), (params, after))
    exact = run_cohort(kinds, {"learning_rate": 0.1}, wide[0], num_steps=3)
    assert_trees_close(wide[1], exact, rtol=0.05, atol=0.05)


def test_float64_stays() -> None:
    with jax.enable_x64(True):
        uses = rules.features(["adam", "lamb"])
        p = {"w": jnp.ones(3, jnp.float64)}
        state = rules.init_state(p, uses)
        c = {k: v[0, 0] for k, v in rules.table(["adam"], {}, 1, 1, uses=uses).items()}
        p, state = rules.update(p, p, state, c, uses)
        assert {leaf.dtype for leaf in jax.tree.leaves((p, state))} == {np.dtype("float64")}


def test_state_in_bfloat16_training_is_kept_in_float32() -> None:
    state = rules.init_state({"w": jnp.ones(2, jnp.bfloat16)}, rules.features(["adam"]))
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {np.dtype("float32")}


@pytest.mark.parametrize("kind", KINDS)
def test_converges_at_its_usual_learning_rate(kind: str) -> None:
    params = jax.tree.map(lambda a: a[:1], cohort_params(1))

    def distance(p: Any) -> float:
        return float(sum(np.abs(np.asarray(leaf) - 0.3).sum() for leaf in jax.tree.leaves(p)))

    after = run_cohort([kind], {"weight_decay": 0.0}, params, num_steps=400)
    assert distance(after) < 0.99 * distance(params)


@pytest.mark.parametrize("at", ["zero gradients", "zero parameters", "zero rate"])
def test_no_nan_where_something_is_zero(at: str) -> None:
    uses = rules.features(KINDS)
    rate = {"learning_rate": 0.0} if at == "zero rate" else {}
    columns = rules.table(KINDS, {**rate, "weight_decay": 0.0}, 1, 2, uses=uses)
    value = 0.0 if at == "zero parameters" else 1.0
    slope = 0.0 if at == "zero gradients" else 2.0
    p = {"w": jnp.full((len(KINDS), 4), value)}
    state = jax.vmap(lambda p, i: rules.init_state(p, uses, i))(p, rules.initial_values(KINDS, {}))
    start = p
    for t in range(2):
        c = {name: column[t] for name, column in columns.items()}
        grads = {"w": jnp.full((len(KINDS), 4), slope)}
        p, state = jax.vmap(functools.partial(rules.update, uses=uses))(p, grads, state, c)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((p, state)))
    if at == "zero rate":
        assert_trees_close(p, start, 0, 0)
    if at == "zero gradients":
        # Only Yogi moves: in Optax its first moment starts above zero.
        still = np.array([kind != "yogi" for kind in KINDS])
        assert_trees_close(p["w"][still], start["w"][still], 0, 0)


@pytest.mark.parametrize("kind", ["lamb", "lars"])
def test_parameters_end_to_end_in_a_vector_have_their_own_trust_ratios(kind: str) -> None:
    uses = rules.features([kind])
    rng = np.random.default_rng(0)
    shapes = {"a": (3, 4), "b": (70,), "c": (1,)}
    p, g = (
        {n: jnp.asarray(rng.normal(size=s) * len(n + n), jnp.float32) for n, s in shapes.items()}
        for _ in range(2)
    )
    p["b"] = 5 * p["b"]

    def joined(tree: Any) -> Any:
        return {"big": tree["a"], "vector": jnp.concatenate([tree["b"], tree["c"]])}

    c = {k: v[0, 0] for k, v in rules.table([kind], {"weight_decay": 0.1}, 1, 1).items()}
    apart, _ = rules.update(p, g, rules.init_state(p, uses), c, uses)
    state = rules.init_state(joined(p), uses)
    together, _ = rules.update(joined(p), joined(g), state, c, uses, segments={"vector": (70, 1)})
    assert_trees_close(together, joined(apart), rtol=1e-6)


@pytest.mark.parametrize("shape", [(7,), (64,), (2114,), (30, 64), (3, 3, 5, 7), (1,), (129, 1)])
def test_norms_of_many_members(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=(33, *shape)).astype(np.float32)
    norms = jax.jit(jax.vmap(rules._norm))(x)
    expected = np.linalg.norm(x.reshape(33, -1).astype(np.float64), axis=1)
    np.testing.assert_allclose(norms, expected, rtol=2e-6)


# --- the host side --------------------------------------------------------------------------------


def test_a_lean_cohort_is_lean() -> None:
    uses = rules.features(["adam", "adam"])
    assert uses.columns == (
        *("learning_rate", "weight_decay", "m_a", "m_b", "v_a", "v_b", "n_m", "e_out"),
    )
    assert uses.state == ("m", "v")
    assert rules.features(["sgd"]).columns == ("learning_rate", "weight_decay", "n_g", "e_out")
    assert rules.features(["sgd"]).state == ()
    assert rules.features([]).columns == ("learning_rate", "weight_decay")
    assert rules.features(["adam", "lion"]) == rules.features(["lion", "adam", "lion"])
    assert hash(rules.features(["adam", "lion"])) == hash(rules.features(["lion", "adam"]))


def test_columns_are_known_and_stacking_is_undone_by_unstacking() -> None:
    uses = rules.features(KINDS)
    columns = rules.table(KINDS, {}, 1, 4)
    assert tuple(columns) == uses.columns == rules.columns(uses)
    assert set(columns) <= {*NEUTRAL, "group"}
    stacked = rules.stack(columns, uses)
    assert stacked.shape == (4, len(KINDS), len(columns))
    assert stacked.dtype == np.float32
    for name, column in rules.unstack(stacked, uses).items():
        np.testing.assert_array_equal(column, columns[name])


def test_chunks_of_steps_join() -> None:
    whole = rules.table(KINDS, {}, 1, 20)
    parts = [rules.table(KINDS, {}, first, 10) for first in (1, 11)]
    each = rules.table(KINDS, {}, np.full(len(KINDS), 11), 10)
    for name, column in whole.items():
        np.testing.assert_array_equal(column, np.concatenate([part[name] for part in parts]))
        np.testing.assert_array_equal(column[10:], each[name])


def test_members_may_be_at_different_steps() -> None:
    kinds = ["adam", "nadam_torch", "radam"]
    mixed = rules.table(kinds, {}, np.array([1, 700, 30]), 5)
    for index, (kind, first) in enumerate(zip(kinds, (1, 700, 30), strict=True)):
        alone = rules.table([kind], {}, first, 5, uses=rules.features(kinds))
        for name, column in alone.items():
            np.testing.assert_array_equal(mixed[name][:, index], column[:, 0])


@pytest.mark.parametrize("first", [1, 10**6, 10**9])
def test_coefficients_are_finite_at_any_step(first: int) -> None:
    for hp in ({}, {"b1": 0.0, "b2": 0.0 + 1e-3}, {"b1": 1 - 1e-7, "b2": 1 - 1e-7}):
        if first == 10**9 and hp.get("b1", 0) > 0.99:
            continue  # torch's NAdam multiplies as many factors as there were steps
        for name, column in rules.table(KINDS, hp, first, 3).items():
            assert np.isfinite(column).all(), name


def test_bias_corrections_are_exact() -> None:
    columns = rules.table(["adam"], {"b2": 0.99999, "eps": 0.0}, 1, 1)
    expected = np.sqrt(1 - np.longdouble("0.99999")) / (1 - np.longdouble("0.9"))
    np.testing.assert_allclose(columns["n_m"][0, 0], float(expected), rtol=1e-7)


def test_missing_and_nan_hyperparameters_take_each_kinds_default() -> None:
    kinds = ["adam", "lion", "sgd", "adamw"]
    filled = rules.hyperparameters(kinds, {"b2": [np.nan, 0.5, 0.7, np.nan]})
    np.testing.assert_array_equal(filled["b2"], [0.999, 0.5, np.nan, 0.999])
    np.testing.assert_array_equal(filled["learning_rate"], [0.001, 0.0001, 0.1, 0.001])
    np.testing.assert_array_equal(filled["weight_decay"], [0.0, 1e-3, 0.0, 1e-4])


def test_schedule_scales_the_rate_only() -> None:
    schedule = np.linspace(0, 1, 5)[:, None]
    plain = rules.table(KINDS, {}, 1, 5)
    scaled = rules.table(KINDS, {}, 1, 5, schedule=schedule)
    for name, column in plain.items():
        factor = schedule if name == "learning_rate" else 1.0
        np.testing.assert_allclose(scaled[name], column * factor, rtol=1e-6)


def test_initial_values() -> None:
    start = rules.initial_values(["adam", "adagrad", "yogi"], {})
    np.testing.assert_allclose(start["v"], [0, 0.1, 1e-6])
    np.testing.assert_allclose(start["m"], [0, 0, 1e-6])


def test_a_blend_is_each_rule_at_its_ends() -> None:
    uses = rules.features(["adam", "lars"]).merged()
    a = rules.table(["adam"], {}, 1, 4, uses=uses)
    b = rules.table(["lars"], {}, 1, 4, uses=uses)
    for weight, expected in ((0.0, a), (1.0, b)):
        mixture = rules.blend(a, b, weight)
        for name, column in expected.items():
            np.testing.assert_array_equal(mixture[name], column)
    half = rules.blend(a, b, np.full((4, 1), 0.5))
    np.testing.assert_allclose(half["trust"], 0.5)
    assert half["trust"].dtype == np.float32
    with pytest.raises(SpaceError, match=r"pass uses.merged\(\) to both"):
        rules.blend(a, rules.table(["adam"], {}, 1, 4), 0.5)


def test_a_blend_runs() -> None:
    uses = rules.features(["adam", "lars"]).merged()
    p = {"w": jnp.ones((2, 3))}
    state = rules.init_state(p, uses)
    step = functools.partial(rules.update, p, p, state, uses=uses)
    hp = {"learning_rate": 0.5}
    ends = [rules.table([kind], hp, 1, 1, uses=uses) for kind in ("adam", "lars")]
    (a, _), (b, _), (half, _) = (
        step({name: column[0, 0] for name, column in columns.items()})
        for columns in (*ends, rules.blend(*ends, 0.5))
    )
    assert float(half["w"][0, 0]) != float(a["w"][0, 0]) != float(b["w"][0, 0])
    assert np.isfinite(half["w"]).all()


def test_unknown_kind_is_named_with_the_nearest() -> None:
    with pytest.raises(OptionError, match="did you mean 'adamw'"):
        rules.features(["adamwx"])
    with pytest.raises(OptionError, match="optimizer must be one of"):
        rules.table(["nonsense"], {}, 1, 1)


@pytest.mark.parametrize(
    ("kind", "hp"),
    [
        ("adam", {"b1": 1.0}),
        ("adam", {"b2": -0.1}),
        ("adam", {"eps": -1e-8}),
        ("sgd", {"learning_rate": -1.0}),
        ("sgd", {"learning_rate": np.inf}),
        ("adam", {"weight_decay": -0.1}),
        ("momentum", {"momentum": 1.5}),
        ("lion", {"b2": 0.0}),
        ("adabound", {"gamma": 0.0}),
        ("radam", {"threshold": 3.0}),
    ],
)
def test_hyperparameters_out_of_range(kind: str, hp: dict[str, float]) -> None:
    (name,) = hp
    with pytest.raises(SpaceError, match=rf"{name} < .* must hold for {kind}; got .* for member 1"):
        rules.table(["sgd" if name == "momentum" else "gd", kind], {name: [np.nan, hp[name]]}, 1, 1)


def test_a_range_is_checked_only_where_the_rule_has_it() -> None:
    rules.table(["sgd"], {"b1": 7.0}, 1, 1)


def test_program_must_have_what_the_kinds_need() -> None:
    with pytest.raises(SpaceError, match="uses must cover every kind; got 'adamax'"):
        rules.table(["adamax"], {}, 1, 1, uses=rules.features(["adam"]))


def test_every_rule_says_where_it_comes_from() -> None:
    for name, rule in RULES.items():
        assert rule.name == name
        assert rule.source
        assert rule.learning_rate > 0
        assert rule.coefficients.__doc__ or "rmsprop" in name or "radam" in name


def test_rules_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RULES["adam"].name = "x"  # type: ignore[misc]

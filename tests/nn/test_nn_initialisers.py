"""Initial weights: variances, orthogonality, common draws, and the torch functions of the name."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from thalweg.errors import OptionError
from thalweg.nn.initialisers import Param, initial_params
from thalweg.space import INITIALISERS

FAN_IN, FAN_OUT = 300, 200
KERNEL = {"w": Param((FAN_IN, FAN_OUT), "kernel", FAN_IN, FAN_OUT)}
TORCH = {
    "he_normal": ("kaiming_normal_", {"nonlinearity": "relu"}),
    "he_uniform": ("kaiming_uniform_", {"nonlinearity": "relu"}),
    "glorot_normal": ("xavier_normal_", {}),
    "glorot_uniform": ("xavier_uniform_", {}),
    "lecun_normal": ("kaiming_normal_", {"nonlinearity": "linear"}),
    "lecun_uniform": ("kaiming_uniform_", {"nonlinearity": "linear"}),
    "orthogonal": ("orthogonal_", {}),
}


def draw(kind: str, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return initial_params(KERNEL, [kind], np.array([scale]), seed)["w"][0]


@pytest.mark.parametrize("kind", INITIALISERS)
def test_deviation_and_distribution_are_those_of_torch(kind):
    torch = pytest.importorskip("torch")
    name, options = TORCH[kind]
    torch.manual_seed(0)
    # torch keeps a kernel as [outputs, inputs].
    theirs = getattr(torch.nn.init, name)(torch.empty(FAN_OUT, FAN_IN), **options).numpy().ravel()
    ours = draw(kind).ravel()
    assert ours.dtype == np.float32
    # 60,000 draws: the relative error of a deviation is about 0.3 %.
    assert ours.std() == pytest.approx(theirs.std(), rel=0.02)
    assert ours.mean() == pytest.approx(0.0, abs=5 * ours.std() / np.sqrt(ours.size))
    if kind.endswith("uniform"):
        assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=1e-3)
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-4


@pytest.mark.parametrize("shape", [(40, 40), (64, 16), (16, 64), (1, 5), (5, 1)])
def test_orthogonal_rows_or_columns(shape):
    specs = {"w": Param(shape, "kernel", *shape)}
    w = initial_params(specs, ["orthogonal"], np.ones(1), 3)["w"][0].astype(np.float64)
    gram = w @ w.T if shape[0] <= shape[1] else w.T @ w
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-5)


def test_orthogonal_is_not_biased_towards_a_sign():
    specs = {"w": Param((8, 8), "kernel", 8, 8)}
    traces = [
        np.trace(initial_params(specs, ["orthogonal"], np.ones(1), seed)["w"][0])
        for seed in range(300)
    ]
    # The trace of a Haar-distributed orthogonal matrix has mean 0 and deviation 1.
    assert np.mean(traces) == pytest.approx(0.0, abs=0.25)
    assert np.std(traces) == pytest.approx(1.0, abs=0.2)


def test_roles():
    specs = {
        "bias": Param((7,), "bias"),
        "scale": Param((7,), "scale"),
        "table": Param((500, 25), "embedding", 500, 25),
        "w": Param((7, 7), "kernel", 7, 7),
    }
    params = initial_params(specs, ["he_normal"] * 2, np.array([1.0, 3.0]), 0)
    assert (params["bias"] == 0).all()
    assert (params["scale"] == 1).all()
    assert params["table"].std() == pytest.approx(1 / 5, rel=0.02)
    np.testing.assert_array_equal(params["table"][0], params["table"][1])
    np.testing.assert_allclose(params["w"][1], 3 * params["w"][0], rtol=1e-6)
    assert {name: array.shape for name, array in params.items()} == {
        name: (2, *spec.shape) for name, spec in specs.items()
    }
    assert all(array.dtype == np.float32 for array in params.values())


def test_members_of_a_seed_share_one_draw():
    together = initial_params(KERNEL, list(INITIALISERS), np.ones(len(INITIALISERS)), 5)["w"]
    for row, kind in zip(together, INITIALISERS, strict=True):
        np.testing.assert_array_equal(row, draw(kind, 5))
    signs = np.sign(draw("he_normal", 5))
    for kind in INITIALISERS:
        if kind != "orthogonal":
            np.testing.assert_array_equal(np.sign(draw(kind, 5)), signs)


def test_seeds_are_independent_and_repeatable():
    a, b = draw("he_normal", 0), draw("he_normal", 1)
    np.testing.assert_array_equal(a, draw("he_normal", 0))
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


def test_layers_of_one_shape_start_differently():
    specs = {name: Param((30, 30), "kernel", 30, 30) for name in ("a", "b")}
    params = initial_params(specs, ["he_normal"], np.ones(1), 0)
    assert abs(np.corrcoef(params["a"].ravel(), params["b"].ravel())[0, 1]) < 0.15


def test_unknown_initialiser():
    with pytest.raises(OptionError, match="did you mean 'he_normal'"):
        initial_params(KERNEL, ["he_norml"], np.ones(1), 0)

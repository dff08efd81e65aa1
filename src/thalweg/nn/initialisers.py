"""Initial weights, drawn on the host for all members of a cohort at once.

Every member of a seed starts from the same standard normal draw z; an initialiser only turns z into
its own distribution and scale. Initialisers are therefore traced hyperparameters, and members that
differ in nothing else start from the same point.

| name | distribution | deviation |
| --- | --- | --- |
| ``glorot_*`` | normal, uniform | sqrt(2 / (fan_in + fan_out)); Glorot and Bengio 2010, eq. 16 |
| ``he_*`` | normal, uniform | sqrt(2 / fan_in); He et al. 2015, eq. 10 |
| ``lecun_*`` | normal, uniform | sqrt(1 / fan_in); LeCun et al. 1998, sec. 4.6 |
| ``orthogonal`` | rows or columns orthonormal | Saxe et al. 2014 |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from thalweg.errors import unknown_option
from thalweg.space import INITIALISERS

Role = Literal["kernel", "bias", "scale", "embedding"]


@dataclass(frozen=True)
class Param:
    """What a layer says of one of its parameters.

    Args:
        shape: shape for one member.
        role: ``"kernel"`` (initialised and regularised), ``"bias"`` (zeros), ``"scale"`` (ones) or
            ``"embedding"`` (normal with deviation 1/sqrt(width), regularised).
        fan_in: number of inputs of a unit.
        fan_out: number of outputs of an input.
    """

    shape: tuple[int, ...]
    role: Role
    fan_in: int = 0
    fan_out: int = 0


def initial_params(
    specs: Mapping[str, Param], kinds: Sequence[str], scales: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Draw the initial parameters of K members that share a seed.

    Args:
        specs: name to ``Param``.
        kinds: the initialiser of each member, one of ``INITIALISERS``.
        scales: factor on each member's kernels, [K].
        seed: seed of the draw.

    Returns:
        name to float32 array [K, *shape].
    """
    for kind in set(kinds):
        if kind not in INITIALISERS:
            raise unknown_option("init", kind, INITIALISERS)
    rng = np.random.default_rng([0x7A1, seed])
    num_members = len(kinds)
    params = {}
    for name, spec in specs.items():
        out = np.empty((num_members, *spec.shape), np.float32)
        if spec.role == "bias":
            out[:] = 0.0
        elif spec.role == "scale":
            out[:] = 1.0
        else:
            z = rng.standard_normal(spec.shape, dtype=np.float32)
            if spec.role == "embedding":
                out[:] = z / np.float32(np.sqrt(spec.shape[-1]))
            else:
                for kind in sorted(set(kinds)):
                    members = [i for i, k in enumerate(kinds) if k == kind]
                    out[members] = _shape_draw(kind, z, spec)
                out *= scales.astype(np.float32).reshape(-1, *[1] * len(spec.shape))
        params[name] = out
    return params


def _shape_draw(kind: str, z: np.ndarray, spec: Param) -> np.ndarray:
    """Turn the standard normal draw into the initialiser's distribution and scale."""
    if kind == "orthogonal":
        flat = z.reshape(-1, z.shape[-1])
        tall = flat if flat.shape[0] >= flat.shape[1] else flat.T
        q, r = np.linalg.qr(tall)
        q = q * np.sign(np.diag(r))
        return (q if tall is flat else q.T).reshape(z.shape)
    family, distribution = kind.rsplit("_", 1)
    variance = {
        "glorot": 2.0 / max(spec.fan_in + spec.fan_out, 1),
        "he": 2.0 / max(spec.fan_in, 1),
        "lecun": 1.0 / max(spec.fan_in, 1),
    }[family]
    if distribution == "uniform":
        from scipy.special import ndtr

        # The probability transform keeps the draw common to normal and uniform initialisers.
        unit = (2.0 * ndtr(z) - 1.0) * np.sqrt(3.0)
        return (unit * np.sqrt(variance)).astype(np.float32)
    return z * np.float32(np.sqrt(variance))

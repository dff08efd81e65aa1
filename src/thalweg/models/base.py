"""What every family of networks offers to the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jax import Array

from thalweg.nn.initialisers import Param
from thalweg.nn.layers import Context, Params, State


@dataclass(frozen=True)
class InputShape:
    """What the network reads: the fields of a table.

    Args:
        numeric: number of numeric columns.
        cardinalities: number of codes of each categorical column.
    """

    numeric: int
    cardinalities: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {"numeric": self.numeric, "cardinalities": list(self.cardinalities)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> InputShape:
        """Rebuild from ``to_dict``."""
        return cls(record["numeric"], tuple(record["cardinalities"]))


class Network(Protocol):
    """A network of one family and structure, for one member."""

    def params(self) -> dict[str, Param]:
        """Return the parameters by name."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Return the state besides parameters (running averages) before training."""
        ...

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return raw outputs [B, O] and the new state."""
        ...

    def flops(self) -> float:
        """Return the multiplications and additions of one row's forward pass."""
        ...


def count_params(network: Network) -> int:
    """Return the number of trained numbers in a network."""
    return int(sum(np.prod(spec.shape, dtype=np.int64) for spec in network.params().values()))

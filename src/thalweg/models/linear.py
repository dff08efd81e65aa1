"""Linear, logistic and softmax regression: one affine map from inputs to outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jax import Array

from thalweg.models.base import InputShape, Lookup, Stateless, flat_inputs, flat_size
from thalweg.models.mlp import category_lookups
from thalweg.nn.initialisers import Param
from thalweg.nn.layers import Context, Dense, Embedding, Params, State, mixup, numeric_noise
from thalweg.space import Structure


@dataclass(frozen=True)
class Linear(Stateless):
    """outputs = x W + b + Σ_c E_c[code_c]: categories enter as if one-hot encoded."""

    inputs: InputShape
    num_outputs: int

    @property
    def _dense(self) -> Dense:
        return Dense("output", flat_size(self.inputs), self.num_outputs)

    @property
    def _embedding(self) -> Embedding | None:
        cards = self.inputs.cardinalities
        widths = (self.num_outputs,) * len(cards)
        return Embedding("embedding", cards, widths) if cards else None

    def params(self) -> dict[str, Param]:
        """Return kernel, bias and the tables of categories."""
        embedding = self._embedding.params() if self._embedding else {}
        return {**embedding, **self._dense.params()}

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return outputs [B, O]."""
        outputs = self._dense.apply(
            params, numeric_noise(flat_inputs(self.inputs, fields), context)
        )
        if self._embedding is not None:
            vectors = self._embedding.apply(params, fields["category"])
            columns = vectors.reshape(vectors.shape[0], -1, self.num_outputs)
            outputs = outputs + columns.sum(1)
        # An affine map of a mixture is the mixture of the maps.
        return mixup(outputs, context), state

    def lookups(self) -> dict[str, Lookup]:
        """Return the tables of the categories."""
        return category_lookups(self.inputs)

    def flops(self) -> float:
        """Return the multiplications and additions of one row."""
        return 2.0 * flat_size(self.inputs) * self.num_outputs


def build(structure: Structure, inputs: InputShape, num_outputs: int) -> Linear:
    """Return the linear model of a structure."""
    del structure
    return Linear(inputs, num_outputs)

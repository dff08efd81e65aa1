"""Recommenders: biases, matrix factorisation, NeuMF and two towers.

All read a pair of user u and item i and answer with one number, the rating (scaled) or the logit of
a click:

    bias       ŷ = μ + b_u + b_i + s(x)
    mf         ŷ = bias + p_u · q_i
    neumf      ŷ = bias + p_u · q_i + MLP([p'_u, q'_i, x])
    two_tower  ŷ = bias + f(u, x_u) · g(i, x_i)

with s(x) linear in the side information x = (x_u, x_i). Code 0 stands for ids unknown in training:
their vectors count as zero, so that they are judged by biases and side information alone.

The columns of ``category`` are user, item, then side information, the user's in the first half and
the item's in the second; the columns of ``numeric`` are likewise the user's and then the item's
(the shorter side is padded). Sources: Koren, Bell and Volinsky, "Matrix Factorization Techniques
for Recommender Systems", 2009, eq. 4; He et al., "Neural Collaborative Filtering", 2017, sec. 3;
Covington, Adams and Sargin, "Deep Neural Networks for YouTube Recommendations", 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from thalweg.errors import SpaceError
from thalweg.models.base import InputShape, Lookup, Stateless
from thalweg.models.mlp import HiddenLayers
from thalweg.nn.initialisers import Param
from thalweg.nn.layers import (
    Context,
    Params,
    State,
    dropout,
    mixup,
    numeric_noise,
)
from thalweg.space import Structure

FACTOR_DEVIATION = 0.1
"""Deviation of initial factors (with He's initialiser), the usual one of matrix factorisation.

At 1/sqrt(width), as of other embeddings, the first products would be as large as the ratings'
whole spread.
"""

BIAS_GAIN = 3.0
"""Factor on the tables of biases.

One L2 strength acts on all tables, but ratings vary more by bias than by any one factor: on
MovieLens the best strength for a table of biases is about a tenth of that for factors, which is
what a factor of three on its entries amounts to.
"""

_SIDE_WIDTH = 8
"""Most entries in the vector of a side category."""


def _table(name: str, rows: int, width: int, deviation: float) -> dict[str, Param]:
    """Return the spec of a table of vectors that He's initialiser gives this deviation."""
    # A kernel's role lets ``init_scale`` act, which matters for factors more than for most weights.
    return {name: Param((rows, width), "kernel", round(2.0 / deviation**2), 0)}


@dataclass(frozen=True)
class Sides:
    """The columns of a pair's side information, by whom they belong to.

    Args:
        inputs: what the network reads.
    """

    inputs: InputShape

    @property
    def users(self) -> int:
        """Number of codes of users."""
        return self.inputs.cardinalities[0]

    @property
    def items(self) -> int:
        """Number of codes of items."""
        return self.inputs.cardinalities[1]

    def numeric(self, side: int) -> slice:
        """Return the columns of ``numeric`` of the user (0) or the item (1)."""
        half = self.inputs.numeric // 2
        return slice(0, half) if side == 0 else slice(half, self.inputs.numeric)

    def categories(self, side: int) -> range:
        """Return the side columns of ``category`` of the user (0) or the item (1)."""
        total = len(self.inputs.cardinalities)
        half = 2 + (total - 2) // 2
        return range(2, half) if side == 0 else range(half, total)

    def vectors(self, prefix: str, side: int) -> dict[str, Param]:
        """Return the tables of vectors of one side's categories."""
        tables: dict[str, Param] = {}
        for column in self.categories(side):
            codes = self.inputs.cardinalities[column]
            tables |= _table(f"{prefix}/side_{column}", codes, _side_width(codes), FACTOR_DEVIATION)
        return tables

    def lookups(self, prefix: str, side: int) -> dict[str, Lookup]:
        """Return what is looked up in these tables."""
        return {f"{prefix}/side_{c}": Lookup("category", c) for c in self.categories(side)}

    def width(self, side: int) -> int:
        """Return the length of one side's information with its categories as vectors."""
        cards = [self.inputs.cardinalities[column] for column in self.categories(side)]
        columns = self.numeric(side)
        return columns.stop - columns.start + sum(map(_side_width, cards))

    def information(self, prefix: str, side: int, params: Params, x: Array, codes: Array) -> Array:
        """Return one side's information as numbers, [B, width(side)]."""
        tables = [
            params[f"{prefix}/side_{column}"][codes[:, column]] for column in self.categories(side)
        ]
        return jnp.concatenate([x[:, self.numeric(side)], *tables], axis=-1)


def _side_width(cardinality: int) -> int:
    return min(_SIDE_WIDTH, (cardinality + 1) // 2)


@dataclass(frozen=True)
class Bias(Stateless):
    """μ + b_u + b_i + s(x), with a weight for each numeric column and each code of a category."""

    inputs: InputShape

    @cached_property
    def sides(self) -> Sides:
        """Whose columns are whose."""
        return Sides(self.inputs)

    def params(self) -> dict[str, Param]:
        """Return the mean, the tables of biases and the weights of numeric columns."""
        specs = {"mean": Param((1,), "bias")}
        for column, codes in enumerate(self.inputs.cardinalities):
            # Biases start at (next to) zero: what is not known deviates in no direction.
            specs |= _table(f"bias/{column}", codes, 1, 1e-4)
        if self.inputs.numeric:
            specs |= _table("bias/numeric", self.inputs.numeric, 1, 1e-4)
        return specs

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return outputs [B, 1]."""
        x = numeric_noise(fields["numeric"], context)
        return params["mean"] + self.deviation(params, x, fields["category"], context), state

    def lookups(self) -> dict[str, Lookup]:
        """Return the tables of biases."""
        columns = range(len(self.inputs.cardinalities))
        return {f"bias/{column}": Lookup("category", column) for column in columns}

    def deviation(self, params: Params, x: Array, codes: Array, context: Context) -> Array:
        """Return what the biases add to the mean, [B, 1]."""
        tables = [params[f"bias/{c}"][codes[:, c]] for c in range(len(self.inputs.cardinalities))]
        total = BIAS_GAIN * sum(tables[1:], start=tables[0])
        if self.inputs.numeric:
            total = total + x @ params["bias/numeric"]
        return mixup(total, context)

    def flops(self) -> float:
        """Return the multiplications and additions of one row."""
        return 2.0 * (self.inputs.numeric + len(self.inputs.cardinalities))

    def activation_floats(self) -> float:
        """Return the numbers that a row's forward pass computes."""
        return float(self.inputs.numeric + len(self.inputs.cardinalities))


@dataclass(frozen=True)
class Factors:
    """Vectors of users and items, [B, factors] each; those of unknown ids are zero."""

    name: str
    sides: Sides
    factors: int

    def params(self) -> dict[str, Param]:
        """Return the tables ``user`` [U, F] and ``item`` [I, F]."""
        return {
            **_table(f"{self.name}/user", self.sides.users, self.factors, FACTOR_DEVIATION),
            **_table(f"{self.name}/item", self.sides.items, self.factors, FACTOR_DEVIATION),
        }

    def lookups(self) -> dict[str, Lookup]:
        """Return both tables; the vector of an unknown id is zero."""
        sides = enumerate(("user", "item"))
        return {f"{self.name}/{who}": Lookup("category", side, True) for side, who in sides}

    def apply(self, params: Params, codes: Array, side: int) -> Array:
        """Return the vectors of the users (0) or the items (1)."""
        table = params[f"{self.name}/{('user', 'item')[side]}"]
        own = codes[:, side]
        return jnp.where(own[:, None] > 0, table[own], 0.0)


@dataclass(frozen=True)
class MatrixFactorisation(Stateless):
    """bias + p_u · q_i.

    Dropout acts on the products of single factors.
    """

    inputs: InputShape
    factors: int

    @cached_property
    def _bias(self) -> Bias:
        return Bias(self.inputs)

    @cached_property
    def _vectors(self) -> Factors:
        return Factors("factors", self._bias.sides, self.factors)

    def params(self) -> dict[str, Param]:
        """Return biases and tables of factors."""
        return {**self._bias.params(), **self._vectors.params()}

    def lookups(self) -> dict[str, Lookup]:
        """Return the tables of biases and factors."""
        return {**self._bias.lookups(), **self._vectors.lookups()}

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return outputs [B, 1]."""
        codes = fields["category"]
        x = numeric_noise(fields["numeric"], context)
        user, item = (mixup(self._vectors.apply(params, codes, s), context) for s in (0, 1))
        product = dropout(user * item, context, 0).sum(-1, keepdims=True)
        return params["mean"] + self._bias.deviation(params, x, codes, context) + product, state

    def flops(self) -> float:
        """Return the multiplications and additions of one row."""
        return self._bias.flops() + 2.0 * self.factors

    def activation_floats(self) -> float:
        """Return the numbers that a row's forward pass computes."""
        return self._bias.activation_floats() + 3.0 * self.factors


def _row_norm(normalisation: str) -> str:
    """Return the normalisation of a row of features, which is one group."""
    return "layer" if normalisation == "group" else normalisation


@dataclass(frozen=True)
class NeuMF:
    """bias + p_u · q_i + MLP([p'_u, q'_i, x]), with vectors of their own for the MLP.

    Differs from the paper: the weights on the products p_u ∘ q_i are absorbed by the factors,
    biases are added, and the hidden layers have the widths of the structure instead of a tower's.
    """

    inputs: InputShape
    factors: int
    widths: tuple[int, ...]
    activation: str
    normalisation: str

    @cached_property
    def _product(self) -> MatrixFactorisation:
        return MatrixFactorisation(self.inputs, self.factors)

    @cached_property
    def _sides(self) -> Sides:
        return Sides(self.inputs)

    @cached_property
    def _vectors(self) -> Factors:
        return Factors("mlp_factors", self._sides, self.factors)

    @cached_property
    def _stack(self) -> HiddenLayers:
        size = 2 * self.factors + self._sides.width(0) + self._sides.width(1)
        return HiddenLayers(
            size,
            self.widths,
            1,
            self.activation,
            _row_norm(self.normalisation),
            prefix="mlp/",
            salt=10,
        )

    def params(self) -> dict[str, Param]:
        """Return biases, both tables of factors and the layers."""
        specs = {**self._product.params(), **self._vectors.params()}
        for side in (0, 1):
            specs |= self._sides.vectors("mlp", side)
        return {**specs, **self._stack.params()}

    def lookups(self) -> dict[str, Lookup]:
        """Return the tables of biases, factors and side categories."""
        sides = {n: v for side in (0, 1) for n, v in self._sides.lookups("mlp", side).items()}
        return {**self._product.lookups(), **self._vectors.lookups(), **sides}

    def state(self) -> dict[str, np.ndarray]:
        """Return the running averages of batch normalisation."""
        return self._stack.state()

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return outputs [B, 1] and the new running averages."""
        product, _ = self._product.apply(params, {}, fields, context)
        codes, x = fields["category"], numeric_noise(fields["numeric"], context)
        parts = [self._vectors.apply(params, codes, side) for side in (0, 1)]
        parts += [self._sides.information("mlp", side, params, x, codes) for side in (0, 1)]
        joined = mixup(jnp.concatenate(parts, axis=-1), context)
        deep, state = self._stack.apply(params, state, joined, context)
        return product + deep, state

    def flops(self) -> float:
        """Return the multiplications and additions of one row."""
        return self._product.flops() + self._stack.flops()

    def activation_floats(self) -> float:
        """Return the numbers that a row's forward pass computes."""
        return self._product.activation_floats() + self._stack.activation_floats()


@dataclass(frozen=True)
class TwoTower:
    """bias + f(u, x_u) · g(i, x_i), a user and an item never meeting before their product.

    A tower is the id's vector plus a perceptron of vector and side information,
    f = p_u + 0.1 · MLP([p_u, x_u]); without hidden layers the perceptron is a linear map of x_u.
    New ids are thus described by their side information. Dropout acts within the towers and on the
    products.
    """

    inputs: InputShape
    factors: int
    widths: tuple[int, ...]
    activation: str
    normalisation: str

    @cached_property
    def _bias(self) -> Bias:
        return Bias(self.inputs)

    @cached_property
    def _vectors(self) -> Factors:
        return Factors("factors", self._bias.sides, self.factors)

    def _tower(self, side: int) -> HiddenLayers | None:
        """Return the perceptron of a tower; None where it would have nothing to add."""
        size = self._bias.sides.width(side)
        if self.widths:
            size += self.factors
        if not size:
            return None
        name = ("user_tower", "item_tower")[side]
        return HiddenLayers(
            size,
            self.widths,
            self.factors,
            self.activation,
            _row_norm(self.normalisation),
            prefix=f"{name}/",
            salt=10 + 10 * side,
        )

    def params(self) -> dict[str, Param]:
        """Return biases, tables of factors and the towers' layers."""
        specs = {**self._bias.params(), **self._vectors.params()}
        for side, name in enumerate(("user_tower", "item_tower")):
            specs |= self._bias.sides.vectors(name, side)
            tower = self._tower(side)
            specs |= tower.params() if tower else {}
        return specs

    def lookups(self) -> dict[str, Lookup]:
        """Return the tables of biases, factors and side categories."""
        found = {**self._bias.lookups(), **self._vectors.lookups()}
        for side, name in enumerate(("user_tower", "item_tower")):
            found |= self._bias.sides.lookups(name, side)
        return found

    def state(self) -> dict[str, np.ndarray]:
        """Return the running averages of batch normalisation."""
        towers = [self._tower(side) for side in (0, 1)]
        return {name: v for tower in towers if tower for name, v in tower.state().items()}

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return outputs [B, 1] and the new running averages."""
        codes, x = fields["category"], numeric_noise(fields["numeric"], context)
        ends = []
        for side, name in enumerate(("user_tower", "item_tower")):
            end = mixup(self._vectors.apply(params, codes, side), context)
            tower = self._tower(side)
            if tower is not None:
                known = self._bias.sides.information(name, side, params, x, codes)
                known = mixup(known, context)
                inputs = jnp.concatenate([end, known], axis=-1) if self.widths else known
                added, state = tower.apply(params, state, inputs, context)
                # Small at first, like the factors: products of whole units would swamp the ratings.
                end = end + FACTOR_DEVIATION * added
            ends.append(end)
        product = dropout(ends[0] * ends[1], context, 0).sum(-1, keepdims=True)
        return params["mean"] + self._bias.deviation(params, x, codes, context) + product, state

    def flops(self) -> float:
        """Return the multiplications and additions of one row."""
        towers = [self._tower(side) for side in (0, 1)]
        own = sum(tower.flops() for tower in towers if tower)
        return self._bias.flops() + 2.0 * self.factors + own

    def activation_floats(self) -> float:
        """Return the numbers that a row's forward pass computes."""
        towers = [self._tower(side) for side in (0, 1)]
        own = sum(tower.activation_floats() for tower in towers if tower)
        return self._bias.activation_floats() + 3.0 * self.factors + own


def _checked(structure: Structure, inputs: InputShape, num_outputs: int) -> InputShape:
    if len(inputs.cardinalities) < 2 or len(inputs.cardinalities) % 2 or inputs.numeric % 2:
        raise SpaceError(
            f"the family {structure.model} is for ratings, pairs of a user and an item; got "
            f"{len(inputs.cardinalities)} columns of codes and {inputs.numeric} of numbers: "
            "choose another model, or name the columns user and item"
        )
    if num_outputs != 1:
        raise SpaceError(
            f"the family {structure.model} predicts one number for a user and an item; got "
            f"{num_outputs} outputs: choose another model"
        )
    return inputs


def factors_of(structure: Structure) -> int:
    """Return the length of the factors: the (last) width of the structure."""
    return structure.width[-1] if isinstance(structure.width, tuple) else structure.width


def build_bias(structure: Structure, inputs: InputShape, num_outputs: int) -> Bias:
    """Return the model of biases alone."""
    return Bias(_checked(structure, inputs, num_outputs))


def build_mf(structure: Structure, inputs: InputShape, num_outputs: int) -> MatrixFactorisation:
    """Return the matrix factorisation whose number of factors is the structure's width."""
    return MatrixFactorisation(_checked(structure, inputs, num_outputs), factors_of(structure))


def _deep(structure: Structure, inputs: InputShape, num_outputs: int) -> dict[str, Any]:
    return {
        "inputs": _checked(structure, inputs, num_outputs),
        "factors": factors_of(structure),
        "widths": structure.widths,
        "activation": structure.activation,
        "normalisation": structure.normalisation,
    }


def build_neumf(structure: Structure, inputs: InputShape, num_outputs: int) -> NeuMF:
    """Return the NeuMF with ``depth`` hidden layers beside its ``width`` factors."""
    return NeuMF(**_deep(structure, inputs, num_outputs))


def build_two_tower(structure: Structure, inputs: InputShape, num_outputs: int) -> TwoTower:
    """Return the two towers with ``depth`` hidden layers each and ``width`` factors."""
    return TwoTower(**_deep(structure, inputs, num_outputs))

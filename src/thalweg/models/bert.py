"""Fine-tuning of pretrained encoders of BERT's kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from thalweg.errors import DataError, SpaceError
from thalweg.models.base import InputShape, shares_of
from thalweg.models.mlp import HiddenLayers
from thalweg.models.text import Beside
from thalweg.nn.attention import attend, join_heads, split_heads
from thalweg.nn.initialisers import Param
from thalweg.nn.kernels import add_bias, matmul
from thalweg.nn.layers import Context, Params, State, dropout, gelu
from thalweg.nn.normalisation import layer_norm
from thalweg.space import Structure

_SALT = 600
_ACTIVATIONS = {"gelu": gelu, "relu": jax.nn.relu, "gelu_new": jax.nn.gelu}


@dataclass(frozen=True)
class BertNetwork:
    """A pretrained encoder, the vector of its first token, and one dense layer.

    Each pretrained weight is W₀ + ρ_l · Δ: what is trained is Δ, from 0. With a rule that scales
    its steps (Adam and its kin) layer l then learns at ρ_l times the learning rate,
    ρ_l = ``layer_decay``^(L − l) for l = 0 (embeddings) to L (last layer); with 0 all of them are
    frozen. Weight decay and L2 pull towards the pretrained weights. Sources: Devlin et al., "BERT",
    2019; Howard and Ruder, "Universal Language Model Fine-tuning", 2018, sec. 3.2 (rates by layer);
    Li et al., "Explicit Inductive Bias for Transfer Learning", 2018 (decay towards W₀).

    Args:
        inputs: what the network reads; ``pretrained`` names the encoder.
        num_outputs: width of the output.
        layer_decay: factor on the rate from one layer to the one below; 0 freezes the encoder.
        hidden: units of a dense layer before the output; 0 for none.
    """

    inputs: InputShape
    num_outputs: int
    layer_decay: float
    hidden: int = 0

    @cached_property
    def about(self) -> dict[str, Any]:
        """The encoder's configuration, and the folder that its weights were read from."""
        return json.loads(self.inputs.pretrained)

    @cached_property
    def cuts(self) -> tuple[dict[str, int], ...]:
        """Numbers of tokens that the network is compiled for."""
        assert self.inputs.tokens is not None
        return tuple({"tokens": size} for size in shares_of(self.inputs.tokens[0]))

    def used(self, fields: Mapping[str, Array]) -> Array:
        """Return how many tokens each row has, [B]."""
        return fields["length"]

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each pretrained weight, by the name that the ``transformers`` library uses."""
        about = self.about
        size, wide = about["hidden_size"], about["intermediate_size"]
        made: dict[str, tuple[int, ...]] = {
            "embeddings.word_embeddings.weight": (about["vocab_size"], size),
            "embeddings.position_embeddings.weight": (about["max_position_embeddings"], size),
            "embeddings.token_type_embeddings.weight": (about["type_vocab_size"], size),
        }

        def norm(name: str) -> None:
            made[f"{name}.weight"] = made[f"{name}.bias"] = (size,)

        def dense(name: str, inputs: int, units: int) -> None:
            made[f"{name}.weight"], made[f"{name}.bias"] = (units, inputs), (units,)

        norm("embeddings.LayerNorm")
        for i in range(about["num_hidden_layers"]):
            layer = f"encoder.layer.{i}"
            for part in ("query", "key", "value"):
                dense(f"{layer}.attention.self.{part}", size, size)
            dense(f"{layer}.attention.output.dense", size, size)
            norm(f"{layer}.attention.output.LayerNorm")
            dense(f"{layer}.intermediate.dense", size, wide)
            dense(f"{layer}.output.dense", wide, size)
            norm(f"{layer}.output.LayerNorm")
        if about["pooled"]:
            dense("pooler.dense", size, size)
        return made

    def rate(self, name: str) -> float:
        """Return ρ of a pretrained weight: its layer's share of the learning rate."""
        depth = self.about["num_hidden_layers"]
        if name.startswith("embeddings."):
            level = 0
        elif name.startswith("encoder.layer."):
            level = int(name.split(".")[2]) + 1
        else:
            level = depth
        return self.layer_decay ** (depth - level) if self.layer_decay else 0.0

    @cached_property
    def _beside(self) -> Beside:
        return Beside(self.inputs)

    @cached_property
    def _layers(self) -> HiddenLayers:
        hidden = (self.hidden,) if self.hidden else ()
        size = self.about["hidden_size"] + self._beside.units
        return HiddenLayers(size, hidden, self.num_outputs, "relu", "none", salt=_SALT + 50)

    def params(self) -> dict[str, Param]:
        """Return Δ of each weight that is trained, from 0, and the last layers."""
        trained = {
            f"change/{name}": Param(shape, "bias")
            for name, shape in self.shapes.items()
            if self.rate(name)
        }
        return {**trained, **self._beside.params(), **self._layers.params()}

    def state(self) -> dict[str, np.ndarray]:
        """Return the pretrained weights, read from their file."""
        return read_weights(self.about["folder"], self.shapes)

    def apply(
        self, params: Params, state: State, fields: Mapping[str, Array], context: Context
    ) -> tuple[Array, State]:
        """Return outputs [B, O]."""
        weights = dict(state)
        for name in self.shapes:
            if rate := self.rate(name):
                weights[name] = state[name] + rate * params[f"change/{name}"]
        states = self.encode(weights, fields["tokens"], fields["length"], context)
        x = states[:, 0]
        if self.about["pooled"]:
            x = jnp.tanh(_dense(weights, "pooler.dense", x))
        x = self._beside.join(params, x, fields, context)
        x = dropout(x, context, _SALT + 40)
        return self._layers.apply(params, {}, x, context)[0], state

    def encode(
        self, weights: Mapping[str, Array], tokens: Array, length: Array, context: Context
    ) -> Array:
        """Return the last layer's states [B, T, hidden]."""
        about = self.about
        eps, heads = about["layer_norm_eps"], about["num_attention_heads"]
        num_tokens = tokens.shape[1]
        x = weights["embeddings.word_embeddings.weight"][tokens]
        x = x + weights["embeddings.position_embeddings.weight"][:num_tokens]
        x = x + weights["embeddings.token_type_embeddings.weight"][0]
        x = dropout(_norm(weights, "embeddings.LayerNorm", x, eps), context, _SALT)
        counts = (jnp.arange(num_tokens) < length[:, None])[:, None, None, :]
        activate = _ACTIVATIONS[about["hidden_act"]]
        for i in range(about["num_hidden_layers"]):
            layer = f"encoder.layer.{i}"
            query, key, value = (
                split_heads(_dense(weights, f"{layer}.attention.self.{part}", x), heads)
                for part in ("query", "key", "value")
            )
            found = join_heads(attend(query, key, value, counts))
            found = _dense(weights, f"{layer}.attention.output.dense", found)
            found = dropout(found, context, _SALT + 2 * i + 1)
            x = _norm(weights, f"{layer}.attention.output.LayerNorm", x + found, eps)
            wide = activate(_dense(weights, f"{layer}.intermediate.dense", x))
            found = dropout(
                _dense(weights, f"{layer}.output.dense", wide), context, _SALT + 2 * i + 2
            )
            x = _norm(weights, f"{layer}.output.LayerNorm", x + found, eps)
        return x

    def flops(self) -> float:
        """Return the multiplications and additions of one row."""
        assert self.inputs.tokens is not None
        num_tokens, size = self.inputs.tokens[0], self.about["hidden_size"]
        layer = 8.0 * size**2 + 4.0 * size * self.about["intermediate_size"]
        layer += 4.0 * num_tokens * size
        return self.about["num_hidden_layers"] * num_tokens * layer + self._layers.flops()

    def activation_floats(self) -> float:
        """Return the numbers that a row's forward pass computes on its way."""
        assert self.inputs.tokens is not None
        num_tokens, about = self.inputs.tokens[0], self.about
        per_token = 9 * about["hidden_size"] + 2 * about["intermediate_size"]
        per_token += 2 * about["num_attention_heads"] * num_tokens
        return float(num_tokens * about["num_hidden_layers"] * per_token)


def _dense(weights: Mapping[str, Array], name: str, x: Array) -> Array:
    kernel = weights[f"{name}.weight"].T
    flat = add_bias(matmul(x.reshape(-1, x.shape[-1]), kernel), weights[f"{name}.bias"])
    return flat.reshape(*x.shape[:-1], kernel.shape[1])


def _norm(weights: Mapping[str, Array], name: str, x: Array, eps: float) -> Array:
    return layer_norm(x, weights[f"{name}.weight"], weights[f"{name}.bias"], eps)


def read_weights(folder: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Read weights from ``model.safetensors``, with or without the prefix ``bert.``.

    Raises:
        DataError: the file is missing or damaged, or a weight is absent or of another shape.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(folder) / "model.safetensors"
    found: dict[str, np.ndarray] = {}
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            for name, shape in shapes.items():
                key = name if name in names else f"bert.{name}"
                if key not in names:
                    # Older files call scale and shift of a normalisation gamma and beta.
                    old = key.replace("LayerNorm.weight", "LayerNorm.gamma")
                    key = old.replace("LayerNorm.bias", "LayerNorm.beta")
                if key not in names:
                    raise DataError(f"{path} lacks the weight {name}: is it an encoder like BERT?")
                values = np.asarray(file.get_tensor(key), np.float32)
                if values.shape != shape:
                    raise DataError(
                        f"the weight {name} must have the shape {shape} by config.json; {path} "
                        f"holds {values.shape}: the two files do not belong together"
                    )
                found[name] = values
    except (OSError, SafetensorError, TypeError) as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    return found


def build(structure: Structure, inputs: InputShape, num_outputs: int) -> BertNetwork:
    """Return the network that fine-tunes a pretrained encoder.

    Raises:
        SpaceError: where no encoder was given.
    """
    if not inputs.pretrained:
        raise SpaceError("the family bert needs an encoder: give its folder with pretrained")
    decay = structure.get("layer_decay")
    return BertNetwork(inputs, num_outputs, decay, structure.get("head_width"))

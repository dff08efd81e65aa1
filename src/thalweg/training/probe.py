"""What the layers of a trained member feel: the gradient of each kernel, and units without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.space import Config
from thalweg.training.backend import to_device
from thalweg.training.engine import Engine
from thalweg.training.member import Features, Member, Rows, step_key
from thalweg.training.programs import compile_program, shapes_of
from thalweg.training.scalars import constants_of

PROBED_ROWS = 256


class LayerProbe(NamedTuple):
    """Of every kernel by name: size of its gradient and of its weights, share of dead units.

    Attributes:
        gradient: root mean square of the loss's gradient.
        weight: root mean square of the kernel.
        dead: share of its output units whose weights have no gradient at all: on none of the rows
            does anything that they put out reach the loss (a ReLU that never fires).
    """

    gradient: dict[str, float]
    weight: dict[str, float]
    dead: dict[str, float]


class Prober:
    """Measures the layers of a member's networks, compiled once.

    Args:
        engine: holds the data, and knows networks.
        config: the member's; what is random in training (dropout, noise, augmentation) is left out.
    """

    def __init__(self, engine: Engine, config: Config, external: tuple[str, ...]) -> None:
        structure = config.structure(external)
        network = engine.network(structure)
        losses = (config.get("loss") or engine.task.loss,)
        features: Features = replace(
            engine.features,
            losses=losses,
            external=None,
            dropout=False,
            label_smoothing=False,
            mixup=False,
            input_noise=False,
            augment=(),
            cutmix=False,
            class_weight=0,
        )
        self.member = Member(network, engine.task, features, engine.data.units, 1)
        self.kernels = tuple(
            name
            for name, spec in network.params().items()
            if spec.role == "kernel" and len(spec.shape) > 1
        )
        constants = constants_of([config], engine.task, features, engine.class_share)
        self.scalars = {name: np.float32(values[0]) for name, values in constants.items()}
        num = min(PROBED_ROWS, engine.data.num_rows)
        index = np.sort(np.random.default_rng(0x9B0E).choice(engine.data.num_rows, num, False))
        weight = engine.data.weight
        self.rows = Rows(
            {name: to_device(values[index]) for name, values in engine.data.fields.items()},
            to_device(engine.data.target[index]),
            None if weight is None else to_device(weight[index]),
        )
        self._program: Any = None

    def _measure(self, params: Any, state: Any, rows: Rows, scalars: Any) -> Any:
        def loss(params: Any) -> Any:
            return self.member.loss(
                params, state, rows, scalars, step_key(jnp.uint32(0), jnp.int32(0))
            )[0]

        grads = jax.grad(loss)(params)
        found = {}
        for name in self.kernels:
            grad, kernel = grads[name], params[name]
            units = jnp.max(jnp.abs(grad.reshape(-1, grad.shape[-1])), axis=0)
            found[name] = jnp.stack(
                [
                    jnp.sqrt(jnp.mean(jnp.square(grad))),
                    jnp.sqrt(jnp.mean(jnp.square(kernel))),
                    jnp.mean(units == 0.0),
                ]
            )
        return found

    def measure(
        self, params: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]
    ) -> LayerProbe:
        """Return what the layers feel with these parameters and this state."""
        arguments = (dict(params), dict(state), self.rows, self.scalars)
        if self._program is None:
            self._program = compile_program(self._measure, shapes_of(arguments))
        found = {n: np.asarray(v, np.float64) for n, v in self._program.call(*arguments).items()}
        return LayerProbe(
            *({name: float(values[i]) for name, values in found.items()} for i in range(3))
        )

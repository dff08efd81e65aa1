"""Autoencoders: their terms against torch's distributions, and what they may not see."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.models import InputShape, build
from thalweg.models.autoencoder import LEAST_SCALE, NUM_TERMS
from thalweg.nn.initialisers import initial_params
from thalweg.nn.layers import Context
from thalweg.optim.losses import LOSSES
from thalweg.optim.metrics import METRICS, score
from thalweg.space import Config
from thalweg.task import Task

ROWS, LATENT = 12, 2
INPUTS = {
    "numbers": InputShape(5),
    "both": InputShape(3, (4, 6)),
    "categories": InputShape(0, (4,)),
    "images": InputShape(image=(6, 5, 2), image_mean=(120.0, 90.0), image_std=(60.0, 50.0)),
}


def make(family, which, **more):
    config = Config(model=family, width=(9, 7), embedding_size=LATENT, activation="gelu", **more)
    return build(config.structure(), INPUTS[which], 1)


def parameters(net, seed=0):
    rng = np.random.default_rng(seed)
    drawn = initial_params(net.params(), ["he_normal"], np.ones(1), seed)
    return {
        n: (v[0] + 0.2 * rng.normal(size=v.shape[1:])).astype(np.float32) for n, v in drawn.items()
    }


def rows(which, seed=0):
    rng = np.random.default_rng(seed)
    inputs = INPUTS[which]
    if inputs.image is not None:
        return {"image": rng.integers(0, 256, (ROWS, *inputs.image), dtype=np.uint8)}
    fields = {"numeric": rng.normal(size=(ROWS, inputs.numeric)).astype(np.float32)}
    if inputs.cardinalities:
        codes = [rng.integers(0, c, ROWS) for c in inputs.cardinalities]
        fields["category"] = np.stack(codes, 1).astype(np.int32)
    return fields


@pytest.mark.parametrize("which", INPUTS)
@pytest.mark.parametrize("family", ["autoencoder", "vae"])
def test_shapes_and_gradients(family, which):
    net = make(family, which)
    params, fields = parameters(net), rows(which)
    out, _ = net.apply(params, net.state(), fields, Context())
    inputs = INPUTS[which]
    numbers = inputs.numeric + int(np.prod(inputs.image or (0,)))
    assert out.shape == (ROWS, NUM_TERMS + LATENT + numbers + sum(inputs.cardinalities))
    assert np.isfinite(out).all()
    assert bool((out[:, 1] > 0).all()) == (family == "vae")
    loss = LOSSES["reconstruction"]["negative_elbo"]

    def total(params):
        context = Context(train=True, key=jnp.uint32(3))
        out, _ = net.apply(params, net.state(), fields, context)
        return loss(out, jnp.zeros(ROWS), {"beta": 0.7}).mean()

    grads = jax.grad(total)(params)
    # A table's vectors of codes that no row has stay as they are.
    assert all(np.abs(g).max() > 0 for g in grads.values())


def test_terms_are_those_of_torchs_distributions():
    torch = pytest.importorskip("torch")
    net = make("vae", "both")
    params, fields = parameters(net), rows("both")
    params["log_scale"] = np.array([0.3, -0.2, -9.0], np.float32)
    out, _ = net.apply(params, net.state(), fields, Context())
    mean = np.asarray(out[:, NUM_TERMS : NUM_TERMS + LATENT])
    # The divergence is a function of mean and variance: read the latter from the encoder itself.
    vectors = net._embedding.apply(params, fields["category"])
    seen = jnp.concatenate([fields["numeric"], vectors], axis=-1)
    code, _ = net._encoder.apply(params, {}, seen, Context())
    np.testing.assert_allclose(code[:, :LATENT], mean, rtol=1e-5)
    q = torch.distributions.Normal(
        torch.tensor(mean), torch.tensor(np.exp(0.5 * np.asarray(code[:, LATENT:])))
    )
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1)
    np.testing.assert_allclose(out[:, 1], kl.numpy(), rtol=1e-4)
    made = np.asarray(out[:, NUM_TERMS + LATENT :])
    plain = make("autoencoder", "both")
    params = parameters(plain, 1)
    params["log_scale"] = np.array([0.3, -0.2, -9.0], np.float32)
    out, _ = plain.apply(params, plain.state(), fields, Context())
    made = torch.tensor(np.asarray(out[:, NUM_TERMS + LATENT :]))
    scale = torch.tensor([np.exp(0.3), np.exp(-0.2), LEAST_SCALE], dtype=torch.float32)
    numbers = torch.distributions.Normal(made[:, :3], scale)
    total = numbers.log_prob(torch.tensor(fields["numeric"])).sum(1)
    for i, (start, end) in enumerate(((3, 7), (7, 13))):
        codes = torch.tensor(fields["category"][:, i].astype(np.int64))
        total += torch.distributions.Categorical(logits=made[:, start:end]).log_prob(codes)
    np.testing.assert_allclose(out[:, 0], -total.numpy(), rtol=1e-4)
    squares = np.square(fields["numeric"] - made[:, :3].numpy()).sum(1)
    p = [torch.softmax(made[:, s:e], 1).numpy() for s, e in ((3, 7), (7, 13))]
    missed = [1 - q[np.arange(ROWS), fields["category"][:, i]] for i, q in enumerate(p)]
    np.testing.assert_allclose(out[:, 2], (squares + sum(missed)) / 5, rtol=1e-4)


def test_only_training_draws_anew_and_prediction_is_the_same_each_time():
    net = make("vae", "numbers")
    params, fields = parameters(net), rows("numbers")

    def out(**context):
        return np.asarray(net.apply(params, net.state(), fields, Context(**context))[0])

    np.testing.assert_array_equal(out(), out())
    drawn = [out(train=True, key=jnp.uint32(key))[:, 0] for key in (1, 2)]
    assert not np.allclose(*drawn)
    # What is written is made of the mean code, without noise.
    code = out()[:, NUM_TERMS : NUM_TERMS + LATENT]
    decoded = net.decode(params, net.state(), jnp.asarray(code))
    np.testing.assert_allclose(out()[:, NUM_TERMS + LATENT :], decoded, rtol=1e-5, atol=1e-6)


def test_compiled_metrics_are_those_of_the_host():
    net = make("vae", "both")
    out, _ = net.apply(parameters(net), net.state(), rows("both"), Context())
    task = Task("reconstruction", ())
    host = score(task, np.asarray(out), np.zeros(ROWS))
    for name, metric in METRICS["reconstruction"].items():
        assert float(metric(out, jnp.zeros(ROWS))) == pytest.approx(host[name], rel=1e-5)
    assert host["elbo"] == pytest.approx(-float((out[:, 0] + out[:, 1]).mean()), rel=1e-5)
    plain, _ = make("autoencoder", "both").apply(
        parameters(make("autoencoder", "both")), {}, rows("both"), Context()
    )
    assert list(score(task, np.asarray(plain), np.zeros(ROWS))) == ["reconstruction_error"]
    assert np.isnan(METRICS["reconstruction"]["elbo"](plain, jnp.zeros(ROWS)))

"""Gradients, integrated gradients and occlusion keep their axioms and agree with Captum."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from networks import houses, in_torch, random_model

import thalweg as tw
from thalweg.explain.gradients import gradients, integrated_gradients, smooth_gradients
from thalweg.explain.neighbours import hidden
from thalweg.explain.occlusion import image_windows, occlusion
from thalweg.explain.scores import LOGIT, PREDICTION, asked


@pytest.fixture(scope="module")
def digits():
    """Return a data set of small images, two classes of noise."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (80, 6, 5, 3), dtype=np.uint8)
    return tw.load((images, np.arange(80) % 3))


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(1)
    columns = {f"x{i}": rng.standard_normal(120) for i in range(5)}
    frame = pl.DataFrame({**columns, "y": (columns["x0"] > 0).astype(int)})
    return tw.load(frame, target="y")


def tensors(model, fields):
    import torch

    if "image" not in fields:
        return torch.tensor(fields["numeric"])
    mean, std = (np.asarray(model.inputs[n], np.float32) for n in ("image_mean", "image_std"))
    return torch.tensor((fields["image"].astype(np.float32) - mean) / std)


def test_as_captum_on_a_table(table):
    pytest.importorskip("torch")
    captum = pytest.importorskip("captum.attr")
    model = random_model(table, depth=2, width=16, activation="tanh")
    network, fields = in_torch(model), table.test.fields
    x = tensors(model, fields).requires_grad_()
    chosen = asked(model.task, model.outputs(fields))
    base = {"numeric": np.zeros((1, 5), np.float32)}

    def probability(x):
        return network(x).sigmoid()[:, 0]

    for link, forward in ((PREDICTION, probability), (LOGIT, lambda x: network(x)[:, 0])):
        ours = integrated_gradients(model, fields, chosen, base, link=link, steps=(64,))
        theirs = captum.IntegratedGradients(forward).attribute(x, n_steps=64)
        np.testing.assert_allclose(ours.entries["numeric"], theirs.detach().numpy(), atol=1e-5)
        slopes = gradients(model, fields, chosen, link=link)["numeric"]
        theirs = captum.Saliency(forward).attribute(x, abs=False)
        np.testing.assert_allclose(slopes, theirs.detach().numpy(), atol=1e-5)


def test_as_captum_on_images(digits):
    pytest.importorskip("torch")
    captum = pytest.importorskip("captum.attr")
    model = random_model(digits, model="mlp", depth=1, width=12, activation="tanh")
    network, fields = in_torch(model), digits.test.fields
    outputs = model.outputs(fields)
    chosen = asked(model.task, outputs)
    target = outputs.argmax(1).tolist()
    x = tensors(model, fields).requires_grad_()
    std = np.asarray(model.inputs["image_std"], np.float32)
    slopes = gradients(model, fields, chosen, link=LOGIT)["image"]
    theirs = captum.Saliency(network).attribute(x, target=target, abs=False)
    np.testing.assert_allclose(slopes * std, theirs.detach().numpy(), atol=1e-5)

    def probability(x):
        return network(x).softmax(-1)

    mean = np.asarray(model.inputs["image_mean"], np.float32)
    base = {"image": np.broadcast_to(mean, (1, *x.shape[1:]))}
    ours = integrated_gradients(model, fields, chosen, base, steps=(64,))
    theirs = captum.IntegratedGradients(probability).attribute(x, target=target, n_steps=64)
    np.testing.assert_allclose(ours.entries["image"], theirs.detach().numpy(), atol=1e-5)

    cover = {"image": np.round(base["image"]).astype(np.uint8)}
    masks = [{"image": mask} for mask in image_windows((6, 5, 3), 2, 1)]
    grey = tensors(model, cover)
    theirs = captum.Occlusion(probability).attribute(
        x.detach(), (2, 2, 3), strides=(1, 1, 3), target=target, baselines=grey
    )
    for row in range(3):
        one = {"image": fields["image"][row : row + 1]}
        found = occlusion(
            lambda f, row=row: chosen.of(model.outputs(f), np.full(len(f["image"]), row)),
            one,
            cover,
            masks,
        )
        np.testing.assert_allclose(found["image"], theirs[row].numpy(), atol=1e-5)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_completeness_with_codes_and_several_networks(activation):
    data = tw.load(houses(), target="price")
    assert "category" in data.train.fields
    model = random_model(data, depth=2, width=16, activation=activation, members=3)
    fields = data.test.fields
    chosen = asked(model.task, model.outputs(fields))
    path = integrated_gradients(model, fields, chosen, model.reference)
    total = sum(v.reshape(len(v), -1).sum(1) for v in path.entries.values())
    np.testing.assert_allclose(path.score, model.outputs(fields)[:, 0], rtol=1e-6)
    reach = np.abs(path.score - path.base).max()
    assert np.abs(path.gap).max() <= 0.011 * reach
    np.testing.assert_allclose(total + path.gap, path.score - path.base, atol=1e-6 * reach)
    assert np.abs(path.entries["category"]).max() > 0


def test_sensitivity_and_dummy():
    # A row that differs from the baseline in one column owes it all; dead weights owe nothing.
    data = tw.load(houses(), target="price")
    model = random_model(data, depth=1, width=8)
    model.members[0][0]["hidden_0/kernel"][1] = 0.0
    base = {name: values[:1] for name, values in data.test.fields.items()}
    moved = {name: values.copy() for name, values in base.items()}
    moved["numeric"][0, 0] += 1.0
    moved["numeric"][0, 1] += 1.0
    chosen = asked(model.task, model.outputs(moved))
    path = integrated_gradients(model, moved, chosen, base)
    difference = model.outputs(moved)[0, 0] - model.outputs(base)[0, 0]
    assert abs(difference) > 0
    np.testing.assert_allclose(path.entries["numeric"][0, 0], difference, rtol=0.02)
    assert path.entries["numeric"][0, 1] == 0.0
    np.testing.assert_allclose(path.entries["category"], 0.0, atol=1e-6 * abs(difference))


def test_smooth_gradients_of_a_linear_network_are_its_gradients(table):
    model = random_model(table, model="linear")
    fields = table.test.fields
    chosen = asked(model.task, model.outputs(fields))
    plain = gradients(model, fields, chosen, link=LOGIT)["numeric"]
    smooth = smooth_gradients(model, fields, chosen, link=LOGIT, draws=3)["numeric"]
    np.testing.assert_allclose(smooth, plain, atol=1e-6)
    # The same numbers as the weights.
    kernel = model.members[0][0]["output/kernel"][:, 0]
    np.testing.assert_allclose(plain, np.broadcast_to(kernel, plain.shape), atol=1e-6)


def test_explanations_depend_on_the_weights(table):
    # Adebayo et al., "Sanity Checks for Saliency Maps", 2018.
    found = []
    for seed in range(2):
        model = random_model(table, depth=2, width=16, seed=seed)
        fields = table.test.fields
        chosen = asked(model.task, model.outputs(fields))
        found.append(gradients(model, fields, chosen, link=LOGIT)["numeric"].ravel())
    assert abs(np.corrcoef(*found)[0, 1]) < 0.7


def test_the_last_hidden_layer(table):
    pytest.importorskip("torch")
    model = random_model(table, depth=2, width=16, activation="tanh")
    fields = table.test.fields
    vectors, layer = hidden(model, fields)
    theirs = in_torch(model)[:-1](tensors(model, fields)).detach().numpy()
    assert layer
    np.testing.assert_allclose(vectors, theirs, atol=1e-6)
    inputs, layer = hidden(random_model(table, model="linear"), fields)
    assert not layer
    np.testing.assert_allclose(inputs, fields["numeric"])

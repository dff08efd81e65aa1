"""Pretrained encoders: the same numbers as the transformers library's, and fine-tuning."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

import thalweg as tw
from thalweg.errors import DataError, SourceError, SpaceError
from thalweg.models import InputShape, build
from thalweg.models.bert import BertNetwork, read_weights
from thalweg.nn.layers import Context
from thalweg.space import Config

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "the", "a", "was", "plot", "."]
CONFIG = {
    "model_type": "bert",
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}


def make_encoder(folder: Path, *, pooled: bool = True, seed: int = 0, prefix: str = "") -> Path:
    """Write a small random encoder with its tokeniser into a folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    inner.enable_padding(length=64)
    inner.save(str(folder / "tokenizer.json"))
    rng = np.random.default_rng(seed)
    shapes = network(folder, pooled=pooled).shapes
    weights = {
        f"{prefix}{name}": (rng.normal(size=shape) * 0.3 + name.endswith("Norm.weight")).astype(
            np.float32
        )
        for name, shape in shapes.items()
    }
    save_file(weights, folder / "model.safetensors")
    return folder


def network(folder: Path, *, pooled: bool = True, decay: float = 0.9) -> BertNetwork:
    about = {**CONFIG, "pooled": pooled, "folder": str(folder)}
    inputs = InputShape(tokens=(20, len(WORDS)), masked=True, pretrained=json.dumps(about))
    made = build(Config(model="bert", layer_decay=decay).structure(), inputs, 1)
    assert isinstance(made, BertNetwork)
    return made


def test_the_forward_pass_is_that_of_transformers(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = make_encoder(tmp_path / "encoder")
    config = transformers.BertConfig(**{k: v for k, v in CONFIG.items() if k != "model_type"})
    oracle = transformers.BertModel(config).eval()
    state = read_weights(str(folder), network(folder).shapes)
    oracle.load_state_dict({n: torch.tensor(v) for n, v in state.items()}, strict=False)
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, len(WORDS), (5, 20))
    length = np.array([20, 3, 7, 1, 12])
    mask = (np.arange(20) < length[:, None]).astype(np.int64)
    with torch.no_grad():
        expected = oracle(torch.tensor(tokens), attention_mask=torch.tensor(mask))
    weights = {name: jnp.asarray(v) for name, v in state.items()}
    ours = network(folder).encode(weights, jnp.asarray(tokens), jnp.asarray(length), Context())
    for row, size in enumerate(length):
        np.testing.assert_allclose(
            ours[row, :size], expected.last_hidden_state[row, :size].numpy(), atol=2e-5
        )
    pooler = np.tanh(
        np.asarray(ours[:, 0]) @ state["pooler.dense.weight"].T + state["pooler.dense.bias"]
    )
    np.testing.assert_allclose(pooler, expected.pooler_output.numpy(), atol=2e-5)


def sentences(num: int) -> dict[str, list]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, num)
    texts = [
        f"the {rng.choice(['film', 'plot'])} was {['bad', 'good'][label]} . a film"
        f"{' was the plot' * rng.integers(0, 4)}"
        for label in labels
    ]
    return {"text": texts, "label": labels.tolist()}


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_fine_tuning_learns_and_is_saved_whole(decay: float, tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "encoder", prefix="bert.", pooled=decay > 0)
    data = tw.load(sentences(240), target="label", pretrained=folder, max_tokens=16)
    ids = data.train.fields["tokens"]
    assert (ids[:, 0] == 2).all()
    last = data.train.fields["length"] - 1
    assert (ids[np.arange(len(ids)), last] == 3).all()
    assert ids.shape[1] == 16
    study = tw.train(
        data,
        model="bert",
        layer_decay=decay,
        batch_size=16,
        epochs=12,
        optimizer="adam",
        learning_rate=0.02 if decay == 0 else 3e-3,
    )
    model = study.model()
    trained = [name for name in model.members[0][0] if name.startswith("change/")]
    assert bool(trained) == (decay > 0)
    if decay:
        assert model.evaluate(sentences(60))["accuracy"] > 0.95
    before = model.predict_proba({"text": sentences(20)["text"]})
    model.save(tmp_path / "model")
    # The model carries the encoder's weights and tokeniser: its folder is needed no more.
    shutil.rmtree(folder)
    again = tw.Model.load(tmp_path / "model")
    np.testing.assert_allclose(again.predict_proba(sentences(20)["text"]), before, atol=1e-5)


def test_layers_learn_at_rates_of_their_own(tmp_path: Path) -> None:
    net = network(make_encoder(tmp_path / "encoder"), decay=0.5)
    assert net.rate("embeddings.word_embeddings.weight") == 0.25
    assert net.rate("encoder.layer.0.output.dense.weight") == 0.5
    assert net.rate("encoder.layer.1.output.dense.weight") == 1.0
    assert net.rate("pooler.dense.bias") == 1.0
    assert network(tmp_path / "encoder", decay=0.0).params().keys() == {
        "output/kernel",
        "output/bias",
    }
    # By default an encoder is fine-tuned, and the recipe has a try for it.
    data = tw.load(sentences(60), target="label", pretrained=tmp_path / "encoder")
    from thalweg.study.setup import default_config

    assert default_config(data)["model"] == "bert"


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    rows = sentences(60)

    def load(folder: Path):
        return tw.load(rows, target="label", pretrained=folder)

    with pytest.raises(SourceError, match=r"lacks config\.json"):
        load(tmp_path)
    folder = make_encoder(tmp_path / "encoder")
    (folder / "config.json").write_text(json.dumps({**CONFIG, "model_type": "gpt2"}))
    with pytest.raises(DataError, match=r"must be of the type 'bert'; .* is 'gpt2'"):
        load(folder)
    (folder / "config.json").write_text(json.dumps({**CONFIG, "hidden_size": 32}))
    with pytest.raises(DataError, match="do not belong together"):
        tw.train(load(folder), model="bert", epochs=1)
    (folder / "config.json").write_text("{")
    with pytest.raises(SourceError, match="cannot be read"):
        load(folder)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(SourceError, match="is no tokeniser"):
        load(folder)
    (folder / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(SourceError, match="is no safetensors file"):
        load(folder)
    with pytest.raises(SpaceError, match="needs an encoder"):
        build(Config(model="bert").structure(), InputShape(tokens=(4, 5), masked=True), 1)

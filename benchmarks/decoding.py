"""Beam search over 1,000 sentences: Thalweg's compiled loop beside a plain PyTorch loop.

The same weights (random ones: what is timed does not depend on what they have learnt), the same
sentences of Multi30k's lengths, beams of 4, batches of 64 of alike length. Every sentence is
written up to a limit of its own, as many tokens as a German caption has, so that both do the same
number of steps. The PyTorch loop runs ``nn.Transformer``'s layers over all tokens written so far at
each step, for all beams of a batch at once, and sorts its continuations with ``topk``.

    python benchmarks/decoding.py [--sentences 1000] [--repeats 5]

prints seconds of either, warmed up, interleaved, medians with range, and how many sentences both
wrote alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np

PAD, START, END = 0, 2, 3
VOCABULARY, WIDTH, DEPTH, HEADS, BEAMS, BATCH, LONGEST = 4000, 128, 2, 4, 4, 64, 46
ALPHA = 0.6


def sentences(num: int) -> tuple[np.ndarray, np.ndarray]:
    """Return token ids [N, 42] with the lengths of captions, and how many tokens to write."""
    rng = np.random.default_rng(0)
    length = np.clip(rng.gamma(8.0, 2.0, num).round(), 4, 42).astype(int)
    source = rng.integers(4, VOCABULARY, (num, 42))
    source[np.arange(42) >= length[:, None]] = PAD
    return source.astype(np.int32), np.minimum(length + 3, LONGEST).astype(np.int32)


def translator() -> tuple[Any, dict[str, np.ndarray]]:
    """Return the network and its weights."""
    from thalweg.models import InputShape, build
    from thalweg.nn.initialisers import initial_params
    from thalweg.space import Structure

    structure = Structure(model="seq2seq_transformer", depth=DEPTH, width=WIDTH)
    inputs = InputShape(
        source=(42, VOCABULARY), written=(LONGEST, VOCABULARY), shared_vocabulary=True
    )
    network = build(structure, inputs, 0)
    drawn = initial_params(network.params(), ["glorot_uniform"], np.ones(1), 0)
    params = {name: value[0] for name, value in drawn.items()}
    # No sentence ends by itself.
    params["tokens/bias"][END] = -1e9
    return network, params


def layers(params: dict[str, np.ndarray]) -> tuple[Any, Any]:
    """Return torch's encoder and decoder layers with these weights."""
    import torch
    from torch import nn

    def options() -> dict[str, Any]:
        return {
            "d_model": WIDTH,
            "nhead": HEADS,
            "dim_feedforward": 4 * WIDTH,
            "dropout": 0.0,
            "activation": nn.GELU("tanh"),
            "batch_first": True,
            "norm_first": True,
        }

    def load(layer: Any, prefix: str, names: dict[str, str]) -> Any:
        state = {}
        for theirs, ours in names.items():
            for kind, end in (("kernel", "weight"), ("scale", "weight"), ("bias", "bias")):
                key = f"{prefix}/{ours}/{kind}"
                if key in params:
                    joint = "in_proj_" if theirs.endswith("attn") else "."
                    state[f"{theirs}{joint if joint == '.' else '.' + joint}{end}"] = params[key].T
        if "multihead_attn" in names:
            both = [params[f"{prefix}/cross/{n}/kernel"] for n in ("query", "key_value")]
            state["multihead_attn.in_proj_weight"] = np.concatenate(both, 1).T
            both = [params[f"{prefix}/cross/{n}/bias"] for n in ("query", "key_value")]
            state["multihead_attn.in_proj_bias"] = np.concatenate(both)
        layer.load_state_dict({n: torch.tensor(np.array(v)) for n, v in state.items()})
        return layer.eval()

    mlp = {"linear1": "wide", "linear2": "narrow"}
    own = {"self_attn": "attention/qkv", "self_attn.out_proj": "attention/output"}
    encoder = [
        load(
            nn.TransformerEncoderLayer(**options()),
            f"encoder_{i}",
            {**own, **mlp, "norm1": "norm_0", "norm2": "norm_1"},
        )
        for i in range(DEPTH)
    ]
    names = {**own, **mlp, "multihead_attn": "", "multihead_attn.out_proj": "cross/output"}
    decoder = [
        load(
            nn.TransformerDecoderLayer(**options()),
            f"decoder_{i}",
            {**names, **{f"norm{j + 1}": f"norm_{j}" for j in range(3)}},
        )
        for i in range(DEPTH)
    ]
    return encoder, decoder


def torch_write(params: dict[str, np.ndarray]) -> Any:
    """Return a function that writes as ``thalweg.training.writing.write`` does, by PyTorch."""
    import torch

    from thalweg.nn.attention import sinusoids

    encoder, decoder = layers(params)
    table = torch.tensor(params["tokens/target"])
    bias = torch.tensor(params["tokens/bias"])
    places = torch.tensor(sinusoids(64, WIDTH))

    def norm(x: Any, name: str) -> Any:
        scale, shift = (torch.tensor(params[f"{name}/{k}"]) for k in ("scale", "bias"))
        return torch.nn.functional.layer_norm(x, (WIDTH,), scale, shift)

    def embed(tokens: Any) -> Any:
        return table[tokens] * WIDTH**0.5 + places[: tokens.shape[1]]

    def some(source: Any, limit: Any) -> Any:
        num = len(source)
        x, hidden = embed(source), source == PAD
        for layer in encoder:
            x = layer(x, src_key_padding_mask=hidden)
        memory = norm(x, "encoder_norm").repeat_interleave(BEAMS, 0)
        hidden = hidden.repeat_interleave(BEAMS, 0)
        tokens = torch.full((num, BEAMS, 1), START)
        log_p = torch.full((num, BEAMS), -1e30)
        log_p[:, 0] = 0.0
        done = torch.full((num, LONGEST), PAD)
        for t in range(int(limit.max())):
            x = embed(tokens.reshape(num * BEAMS, -1))
            later = torch.triu(torch.ones(t + 1, t + 1, dtype=torch.bool), 1)
            for layer in decoder:
                x = layer(x, memory, tgt_mask=later, memory_key_padding_mask=hidden)
            logits = norm(x[:, -1], "decoder_norm") @ table.T + bias
            total = log_p[..., None] + logits.log_softmax(-1).reshape(num, BEAMS, -1)
            log_p, place = total.reshape(num, -1).topk(BEAMS)
            parent, token = place // VOCABULARY, place % VOCABULARY
            before = tokens.gather(1, parent[..., None].expand(-1, -1, tokens.shape[2]))
            tokens = torch.cat([before, token[..., None]], -1)
            ends = limit == t + 1
            done[ends, : t + 1] = tokens[ends, 0, 1:]
        return done

    def write(source: np.ndarray, limits: np.ndarray) -> np.ndarray:
        out = np.zeros((len(source), LONGEST), np.int32)
        length = (source != PAD).sum(1)
        order = np.lexsort((limits, length))
        with torch.inference_mode():
            for start in range(0, len(source), BATCH):
                rows = order[start : start + BATCH]
                width = int(length[rows].max())
                given = torch.tensor(source[rows, :width]).long()
                out[rows] = some(given, torch.tensor(limits[rows])).numpy()
        return out

    return write


def main() -> None:
    """Time both, and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    from thalweg.training.writing import write

    source, limits = sentences(asked.sentences)
    network, params = translator()
    theirs = torch_write(params)

    def ours() -> np.ndarray:
        return write(network, [params], source, limits, num_beams=BEAMS, alpha=ALPHA, batch=BATCH)

    first = ours()
    second = theirs(source, limits)
    width = min(first.shape[1], second.shape[1])
    alike = (first[:, :width] == second[:, :width]).all(1).mean()
    seconds: dict[str, list[float]] = {"Thalweg": [], "PyTorch, plain loop": []}
    for _ in range(asked.repeats):
        for name, run in (
            ("Thalweg", ours),
            ("PyTorch, plain loop", lambda: theirs(source, limits)),
        ):
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    for name, each in seconds.items():
        print(f"{name:20} {statistics.median(each):7.2f} s ({min(each):.2f} to {max(each):.2f})")
    ratios = [b / a for a, b in zip(*seconds.values(), strict=True)]
    print(
        f"ratio pair by pair   {statistics.median(ratios):7.2f} ({min(ratios):.2f} to "
        f"{max(ratios):.2f}); {alike:.1%} of the texts alike"
    )


if __name__ == "__main__":
    main()

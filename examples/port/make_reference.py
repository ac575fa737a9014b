"""Makes ``reference/``: the weights of a PyTorch model, and its logits, without PyTorch.

The original is this file's ``logits``: NumPy in float64, in the layout of torch's modules.
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

VOCAB, LENGTH, DIM, HEADS, HIDDEN, LAYERS = 16, 8, 8, 2, 16, 2
TOKENS = np.arange(2 * LENGTH).reshape(2, LENGTH) * 7 % VOCAB
HERE = Path(__file__).parent / "reference"


def weights(random):
    made = {
        # Small, as trained tables are: so the epsilon of a norm tells in the logits.
        "model.embed_tokens.weight": random.normal(size=(VOCAB, DIM)) / 20,
        "model.embed_positions.weight": random.normal(size=(LENGTH, DIM)) / 20,
        **norm(random, "model.final_layer_norm"),
    }
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            made |= linear(random, f"{at}.self_attn.{name}", DIM, DIM)
        made |= linear(random, f"{at}.fc1", DIM, HIDDEN) | linear(random, f"{at}.fc2", HIDDEN, DIM)
        made |= norm(random, f"{at}.self_attn_layer_norm") | norm(random, f"{at}.final_layer_norm")
    return {name: array.astype(np.float32) for name, array in sorted(made.items())}


def linear(random, name, n_in, n_out):
    return {
        f"{name}.weight": random.normal(size=(n_out, n_in)) / n_in**0.5,
        f"{name}.bias": random.normal(size=n_out) / 10,
    }


def norm(random, name):
    return {
        f"{name}.weight": 1 + random.normal(size=DIM) / 10,
        f"{name}.bias": random.normal(size=DIM) / 10,
    }


def logits(state, tokens):
    state = {name: array.astype(np.float64) for name, array in state.items()}

    def linear(name, x):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name, x):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    def attention(at, x):
        q, k, v = (
            linear(f"{at}.{name}", x).reshape(*x.shape[:-1], HEADS, -1).swapaxes(-2, -3)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        scores = q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5
        scores = np.where(np.tri(x.shape[-2], dtype=bool), scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        y = shares / shares.sum(-1, keepdims=True) @ v
        return linear(f"{at}.out_proj", y.swapaxes(-2, -3).reshape(x.shape))

    table = state["model.embed_tokens.weight"]
    x = table[tokens] + state["model.embed_positions.weight"][: tokens.shape[-1]]
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        x = x + attention(f"{at}.self_attn", norm(f"{at}.self_attn_layer_norm", x))
        hidden = np.maximum(linear(f"{at}.fc1", norm(f"{at}.final_layer_norm", x)), 0)
        x = x + linear(f"{at}.fc2", hidden)
    return norm("model.final_layer_norm", x) @ table.T


def main():
    state = weights(np.random.default_rng(0))
    HERE.mkdir(exist_ok=True)
    names = list(state)
    shards = names[: len(names) // 2], names[len(names) // 2 :]
    places = {}
    for number, held in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file({name: state[name] for name in held}, HERE / file, {"format": "pt"})
        places |= dict.fromkeys(held, file)
    size = sum(array.nbytes for array in state.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (HERE / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    np.savez(HERE / "logits.npz", tokens=TOKENS, logits=logits(state, TOKENS))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Perplexity of an exported model on a text, by ONNX Runtime: the figure that compiled plans are compared with.

    perplexity.py DIR [TEXT] [--window 1024]

Method. The whole text is encoded once, without bos, into n tokens, and cut into consecutive pieces of `window` - 1
tokens (the last one may be shorter). Each piece is run on its own from an empty cache as [bos] + piece, at positions
0, 1, 2 …; logits at position i predict token i + 1, so that each of the n tokens is predicted exactly once and bos
never. Perplexity = exp(sum of -ln softmax(logits)[token] / n), log-softmax and sum in f64.

Takes DIR/model.onnx and DIR/tokenizer.model (or --tokenizer FILE); any decoder with the usual past inputs, with or
without position_ids. Needs `onnxruntime`, `sentencepiece` and `numpy`; costs window * vocabulary * 4 bytes at a time.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}


def named_sizes(folder: Path) -> dict[str, int]:
    """Sizes that onnxruntime-genai leaves as names in the graph: it writes them beside it. Else empty."""
    path = folder / "genai_config.json"
    if not path.is_file():
        return {}
    decoder = json.loads(path.read_text())["model"]["decoder"]
    # Its sliding layers rotate through a cache of fixed size, which is full length from the start.
    return {"kv_cache_dim": decoder["head_size"],
            "past_sliding_length": decoder.get("sliding_window", {}).get("window_size", 0)}


def feed_for(session, ids: list[int], sizes: dict[str, int] | None = None) -> dict[str, np.ndarray]:
    """Inputs of one sequence with nothing cached: ids i64[1, s], mask i64[1, s], caches [1, heads, past, size].

    Heads and size are numbers, digits in a string, or names that `sizes` knows; past is 0 unless `sizes` knows it.
    """
    sizes = sizes or {}
    count = len(ids)
    feed = {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, count), np.int64)}
    for value in session.get_inputs():
        if value.name == "position_ids":
            feed[value.name] = np.arange(count, dtype=np.int64)[None]
        elif value.name not in feed:
            _, heads, past, size = value.shape
            shape = (1, int(sizes.get(heads, heads)), sizes.get(past, 0), int(sizes.get(size, size)))
            feed[value.name] = np.zeros(shape, _TYPES[value.type])
    return feed


def negative_log_likelihood(logits: np.ndarray, targets: np.ndarray) -> float:
    """Sum over rows of -ln softmax(row)[target]; logits f32[rows, vocabulary]."""
    total = 0.0
    for row, target in zip(logits, targets):
        row = row.astype(np.float64)
        highest = row.max()
        total += highest + np.log(np.exp(row - highest).sum()) - row[target]
    return float(total)


def perplexity(session, ids: list[int], bos: int, window: int, sizes: dict[str, int] | None = None,
               progress=None) -> float:
    """Perplexity of `ids` by the method above."""
    total = 0.0
    for first in range(0, len(ids), window - 1):
        piece = ids[first:first + window - 1]
        # The last token predicts nothing that is counted, so it need not be run.
        logits = session.run(["logits"], feed_for(session, [bos] + piece[:-1], sizes))[0][0]
        total += negative_log_likelihood(logits, np.array(piece))
        if progress:
            progress(first + len(piece), len(ids))
    return float(np.exp(total / len(ids)))


def show(done: int, total: int) -> None:
    print(f"{done} of {total} tokens", file=sys.stderr, flush=True)


def main() -> int:
    import onnxruntime
    import sentencepiece
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("text", type=Path, nargs="?", default=Path(__file__).with_name("perplexity.txt"))
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.model, if it is not in DIR")
    parser.add_argument("--window", type=int, default=1024, help="tokens per piece, bos included (default 1024)")
    arguments = parser.parse_args()
    if arguments.window < 2:
        parser.error("--window must be at least 2: bos and one token")
    tokenizer = sentencepiece.SentencePieceProcessor(
        model_file=str(arguments.tokenizer or arguments.folder / "tokenizer.model"))
    session = onnxruntime.InferenceSession(arguments.folder / "model.onnx", providers=["CPUExecutionProvider"])
    ids = tokenizer.encode(arguments.text.read_text(encoding="utf-8"))
    value = perplexity(session, ids, tokenizer.bos_id(), arguments.window, named_sizes(arguments.folder), show)
    print(f"{len(ids)} tokens, window {arguments.window}: perplexity {value:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

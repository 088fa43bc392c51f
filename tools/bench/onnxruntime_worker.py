"""Measures ONNX Runtime's decode on the ONNX model itself: `onnxruntime_worker.py model.onnx --threads N`.

Keys and values stay in ONNX Runtime: the outputs of one step are bound as the inputs of the next. Every step computes
the logits of each sequence's one token; nothing is sampled. Prefill is left out: the graph computes logits for
every row of a prompt (0.5 GB for 512 of them), which says nothing about the engine.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import onnxruntime

from protocol import Task, serve

PAST, PRESENT = "past_key_values.", "present."


class Engine:
    def __init__(self, model: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._past = {node.name: node.shape for node in self._session.get_inputs() if node.name.startswith(PAST)}

    def empty_cache(self, sequences: int) -> dict[str, onnxruntime.OrtValue]:
        """f32[sequences, heads, 0, head size] for each past_key_values input."""
        return {name: onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((sequences, shape[1], 0, shape[3]), np.float32))
                for name, shape in self._past.items()}

    def step(self, ids: np.ndarray, past: int, cache: dict[str, onnxruntime.OrtValue]) -> dict[str, onnxruntime.OrtValue]:
        """Runs i64[sequences, tokens] behind `past` positions; the new cache."""
        sequences, tokens = ids.shape
        binding = self._session.io_binding()
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("position_ids", np.tile(np.arange(past, past + tokens, dtype=np.int64), (sequences, 1)))
        binding.bind_cpu_input("attention_mask", np.ones((sequences, past + tokens), np.int64))
        for name, value in cache.items():
            binding.bind_ortvalue_input(name, value)
        names = [node.name for node in self._session.get_outputs()]
        for name in names:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        outputs = dict(zip(names, binding.get_outputs()))
        return {name: outputs[PRESENT + name.removeprefix(PAST)] for name in cache}


def measure(engine: Engine, task: Task) -> float:
    if not task.generate:
        raise ValueError("only decode is measured")
    ids = np.array(task.ids, np.int64).reshape(task.sequences, task.prompt_tokens)
    cache = engine.step(ids, 0, engine.empty_cache(task.sequences))
    begin = time.perf_counter()
    for step in range(task.generate):
        column = step % task.prompt_tokens
        cache = engine.step(np.ascontiguousarray(ids[:, column:column + 1]), task.prompt_tokens + step, cache)
    return time.perf_counter() - begin


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    engine = Engine(options.model, options.threads)
    serve({"engine": "ONNX Runtime", "version": f"onnxruntime {onnxruntime.__version__}"}, lambda task: measure(engine, task))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measures llama.cpp on one GGUF: `llama_cpp_worker.py MODEL.gguf --threads N --sequences S --context C`.

Does what llama.cpp's own benchmark does: llama_decode() and nothing else is timed, no sampling, no text. Token ids after
the prompt are made up; their values don't change the work. Parameters are llama.cpp's defaults but for the sizes, the
threads, and a sliding-window cache of the window's size, which its command-line tools also choose.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import math
import sys
import time

import llama_cpp_library
from protocol import Task, serve


class Engine:
    def __init__(self, model: str, threads: int, sequences: int, context: int) -> None:
        self._library = llama_cpp_library.load()
        self._messages: list[str] = []
        self._log = llama_cpp_library.LogCallback(lambda level, text, data: self._messages.append(text.decode(errors="replace")))
        self._library.llama_log_set(self._log, None)
        self._library.llama_backend_init()
        self._model = self._library.llama_model_load_from_file(model.encode(), llama_cpp_library.model_params(self._library))
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {model}: {''.join(self._messages)[-400:]}")
        params = llama_cpp_library.context_params(self._library)
        params.n_seq_max = sequences
        params.n_ctx = sequences * (-(-context // 256) * 256)  # shared out evenly, in multiples of 256
        params.n_batch = max(params.n_batch, sequences * context)
        params.n_threads = params.n_threads_batch = threads
        params.swa_full = False
        self._context = self._library.llama_init_from_model(self._model, params)
        if not self._context or self._library.llama_n_ctx_seq(self._context) < context:
            raise RuntimeError(f"llama.cpp cannot make a context: {''.join(self._messages)[-400:]}")
        self._memory = self._library.llama_get_memory(self._context)
        self.vocabulary = self._library.llama_vocab_n_tokens(self._library.llama_model_get_vocab(self._model))

    def system(self) -> str:
        return self._library.llama_print_system_info().decode().strip().rstrip("|").strip()

    def clear(self) -> None:
        self._library.llama_memory_clear(self._memory, True)

    def decode(self, batch: "TokenBatch") -> None:
        status = self._library.llama_decode(self._context, batch.batch)
        if status:
            raise RuntimeError(f"llama_decode() gave {status}: {''.join(self._messages)[-400:]}")
        self._library.llama_synchronize(self._context)

    def logits(self, row: int) -> list[float]:
        """f32[vocabulary] of the batch's token `row`."""
        return self._library.llama_get_logits_ith(self._context, row)[:self.vocabulary]


class TokenBatch:
    """Tokens of one llama_decode(), one after the other; `wanted` tells whose logits are computed."""

    def __init__(self, tokens: list[int], positions: list[int], sequences: list[int], wanted: list[bool]) -> None:
        count = len(tokens)
        self._tokens, self._positions = (ctypes.c_int32 * count)(*tokens), (ctypes.c_int32 * count)(*positions)
        self._counts, self._wanted = (ctypes.c_int32 * count)(*[1] * count), (ctypes.c_int8 * count)(*wanted)
        self._ids = [ctypes.c_int32(sequence) for sequence in sequences]
        self._pointers = (ctypes.POINTER(ctypes.c_int32) * count)(*map(ctypes.pointer, self._ids))
        self.batch = llama_cpp_library.Batch(count, self._tokens, None, self._positions, self._counts, self._pointers, self._wanted)


def prompts(task: Task) -> TokenBatch:
    last = task.prompt_tokens - 1
    positions = list(range(task.prompt_tokens)) * task.sequences
    return TokenBatch(list(task.ids), positions, [row // task.prompt_tokens for row in range(len(task.ids))],
                      [position == last for position in positions])


def measure(engine: Engine, task: Task) -> float:
    engine.clear()
    batch = prompts(task)
    begin = time.perf_counter()
    engine.decode(batch)
    seconds = time.perf_counter() - begin
    if task.generate:
        everyone = range(task.sequences)
        steps = [TokenBatch([task.prompt(sequence)[step % task.prompt_tokens] for sequence in everyone],
                            [task.prompt_tokens + step] * task.sequences, list(everyone), [True] * task.sequences)
                 for step in range(task.generate)]
        begin = time.perf_counter()
        for step in steps:
            engine.decode(step)
        seconds = time.perf_counter() - begin
        batch = steps[-1]
    if not math.isfinite(engine.logits(batch.batch.n_tokens - 1)[0]):
        raise RuntimeError("llama.cpp computed no finite logits")
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sequences", type=int, default=1)
    parser.add_argument("--context", type=int, default=1024, help="most tokens a sequence will have")
    options = parser.parse_args()
    try:
        engine = Engine(options.model, options.threads, options.sequences, options.context)
    except (ImportError, OSError, RuntimeError, llama_cpp_library.LayoutError) as error:
        print(f"{error} (tools/setup --bench installs what is needed)", file=sys.stderr)
        return 1
    serve({"engine": "llama.cpp", "version": f"xllamacpp {importlib.metadata.version('xllamacpp')}", "code": engine.system(),
           "vocabulary": engine.vocabulary}, lambda task: measure(engine, task))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The C interface of llama.cpp as the xllamacpp wheel exports it: only what llama_cpp_worker.py calls.

xllamacpp's own Python interface is a server; the time of a server's requests holds sampling, queues and callbacks. Its
library also exports llama.h, so the worker calls llama_decode() as llama.cpp's own benchmark does. The wheel ships no
header: the structures below are declared here, and `load()` refuses a library whose defaults show another layout.
x86-64 System V only, as platen's kernels are.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int8, c_int32, c_size_t, c_uint32, c_void_p

_CANARY = 0xCD
_CANARY_BYTES = 256
FLASH_ATTENTION_AUTO = -1
TYPE_F16 = 1


class LayoutError(Exception):
    """The library's structures are not those that are declared here."""


class ModelParams(ctypes.Structure):
    _fields_ = [("devices", c_void_p), ("buffer_overrides", c_void_p), ("gpu_layers", c_int32), ("split_mode", c_int32),
                ("load_mode", c_int32), ("lazy_mode", c_int32), ("main_gpu", c_int32), ("tensor_split", c_void_p),
                ("progress", c_void_p), ("progress_data", c_void_p), ("overrides", c_void_p), ("vocabulary_only", c_bool),
                ("check_tensors", c_bool), ("extra_buffers", c_bool), ("no_host", c_bool), ("no_allocation", c_bool),
                ("load_mtp", c_bool)]


class ContextParams(ctypes.Structure):
    _fields_ = [("n_ctx", c_uint32), ("n_batch", c_uint32), ("n_ubatch", c_uint32), ("n_seq_max", c_uint32),
                ("n_rs_seq", c_uint32), ("n_outputs_max", c_uint32), ("n_outputs_max_per_seq", c_uint32),
                ("n_threads", c_int32), ("n_threads_batch", c_int32), ("context_type", c_int32), ("rope_scaling", c_int32),
                ("pooling", c_int32), ("attention", c_int32), ("flash_attention", c_int32), ("rope", c_float * 6),
                ("yarn_context", c_uint32), ("defragment", c_float), ("evaluate", c_void_p), ("evaluate_data", c_void_p),
                ("type_k", c_int32), ("type_v", c_int32), ("expert_cache_bytes", c_size_t), ("abort", c_void_p),
                ("abort_data", c_void_p), ("embeddings", c_bool), ("offload_kqv", c_bool), ("no_perf", c_bool),
                ("offload_operations", c_bool), ("swa_full", c_bool), ("kv_unified", c_bool), ("samplers", c_void_p),
                ("sampler_count", c_size_t), ("other_context", c_void_p)]


class Batch(ctypes.Structure):
    _fields_ = [("n_tokens", c_int32), ("token", POINTER(c_int32)), ("embedding", c_void_p), ("position", POINTER(c_int32)),
                ("sequence_count", POINTER(c_int32)), ("sequence", POINTER(POINTER(c_int32))), ("logits", POINTER(c_int8))]


LogCallback = ctypes.CFUNCTYPE(None, c_int32, c_char_p, c_void_p)


def load() -> ctypes.CDLL:
    import xllamacpp

    library = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
    for name, result, arguments in (
            ("llama_model_load_from_file", c_void_p, [c_char_p, ModelParams]),
            ("llama_init_from_model", c_void_p, [c_void_p, ContextParams]),
            ("llama_model_get_vocab", c_void_p, [c_void_p]),
            ("llama_vocab_n_tokens", c_int32, [c_void_p]),
            ("llama_get_memory", c_void_p, [c_void_p]),
            ("llama_memory_clear", None, [c_void_p, c_bool]),
            ("llama_decode", c_int32, [c_void_p, Batch]),
            ("llama_synchronize", None, [c_void_p]),
            ("llama_get_logits_ith", POINTER(c_float), [c_void_p, c_int32]),
            ("llama_n_ctx_seq", c_uint32, [c_void_p]),
            ("llama_print_system_info", c_char_p, []),
            ("llama_log_set", None, [LogCallback, c_void_p]),
            ("llama_backend_init", None, [])):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _defaults(library: ctypes.CDLL, name: str, structure: type[ctypes.Structure]):
    """Calls a function that returns `structure` by value, and checks how much of it the library wrote.

    A structure of more than 16 bytes is returned through a pointer that the caller passes first.
    """
    size = ctypes.sizeof(structure)
    memory = (ctypes.c_ubyte * (size + _CANARY_BYTES))(*[_CANARY] * (size + _CANARY_BYTES))
    function = getattr(library, name)
    function.restype, function.argtypes = c_void_p, [c_void_p]
    function(memory)
    written = max((i + 1 for i, byte in enumerate(memory) if byte != _CANARY), default=0)
    last = structure._fields_[-1][0]
    if not getattr(structure, last).offset < written <= size:
        raise LayoutError(f"{name}() writes {written} bytes, but {size} are declared: this version of xllamacpp has another "
                          "layout; install the one of tools/requirements-bench.txt")
    return structure.from_buffer_copy(memory)


def model_params(library: ctypes.CDLL) -> ModelParams:
    params = _defaults(library, "llama_model_default_params", ModelParams)
    _expect("llama_model_default_params", params, extra_buffers=True, vocabulary_only=False, no_allocation=False, main_gpu=0)
    return params


def context_params(library: ctypes.CDLL) -> ContextParams:
    params = _defaults(library, "llama_context_default_params", ContextParams)
    _expect("llama_context_default_params", params, n_ctx=512, n_ubatch=512, n_seq_max=1, n_threads=4, n_threads_batch=4,
            flash_attention=FLASH_ATTENTION_AUTO, type_k=TYPE_F16, type_v=TYPE_F16, offload_kqv=True, no_perf=True,
            swa_full=True, kv_unified=False, embeddings=False)
    return params


def _expect(function: str, params: ctypes.Structure, **defaults) -> None:
    for field, value in defaults.items():
        if getattr(params, field) != value:
            raise LayoutError(f"{function}() gives {field} = {getattr(params, field)} instead of {value}: this version of "
                              "xllamacpp has another layout; install the one of tools/requirements-bench.txt")

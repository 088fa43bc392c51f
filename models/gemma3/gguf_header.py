"""Parses the head of a GGUF file (version 2 or 3, little endian): metadata, and where each tensor lies.

Why not `gguf.GGUFReader`: it keeps several array objects for each of Gemma's 262144 tokens, which takes 15 seconds and
700 MB. This takes well under a second. Every length is checked against the file's end, since files get truncated.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

_CODES = {GGUFValueType.UINT8: "B", GGUFValueType.INT8: "b", GGUFValueType.UINT16: "H", GGUFValueType.INT16: "h",
          GGUFValueType.UINT32: "I", GGUFValueType.INT32: "i", GGUFValueType.FLOAT32: "f", GGUFValueType.BOOL: "?",
          GGUFValueType.UINT64: "Q", GGUFValueType.INT64: "q", GGUFValueType.FLOAT64: "d"}  # of module struct
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32


class HeaderError(ValueError):
    """The file is no whole GGUF; the message says what is wrong and at which byte."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of the file; `shape` has the outermost axis first."""

    name: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType
    offset: int  # bytes from the start of the file
    row_bytes: int  # bytes of one run along the innermost axis

    @property
    def rows(self) -> int:
        return math.prod(self.shape[:-1])


class GgufFile:
    """A mapped GGUF: `metadata` by key, `tensors` by name, `stored_metadata` as it stands in the file."""

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise HeaderError("not a GGUF file (it does not start with 'GGUF')")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._at = len(_MAGIC)
        self.metadata: dict[str, object] = {}
        self.tensors: dict[str, Tensor] = {}
        try:
            self._parse()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._map.close()

    def rows(self, tensor: Tensor, first: int, count: int) -> np.ndarray:
        """u8[rows, row_bytes] copy of up to `count` rows as they are stored."""
        count = min(count, tensor.rows - first)
        begin = tensor.offset + first * tensor.row_bytes
        stored = np.frombuffer(self._map[begin:begin + count * tensor.row_bytes], np.uint8)
        return stored.reshape(count, tensor.row_bytes)

    def forget_pages(self) -> None:
        """Drops the mapped pages from this process, to keep its resident size small."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def _parse(self) -> None:
        version = self._scalar("I")
        if version not in _VERSIONS:
            raise HeaderError(f"GGUF version {version} is not supported (only {_VERSIONS})")
        tensor_count, key_count = self._scalar("Q"), self._scalar("Q")
        first = self._at
        for _ in range(key_count):
            key = self._string()
            self.metadata[key] = self._value(self._enum(GGUFValueType))
        self.stored_metadata = self._map[first:self._at]
        infos = [self._tensor_info() for _ in range(tensor_count)]
        alignment = self.metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment <= 0:
            raise HeaderError(f"alignment {alignment!r} is not a positive number")
        start = -(-self._at // alignment) * alignment
        for name, shape, kind, offset in infos:
            self.tensors[name] = self._place(name, shape, kind, start + offset)

    def _place(self, name: str, shape: tuple[int, ...], kind: GGMLQuantizationType, offset: int) -> Tensor:
        block, block_bytes = GGML_QUANT_SIZES[kind]
        if not shape or shape[-1] % block:
            raise HeaderError(f"tensor {name}: shape {shape} does not fit blocks of {block} values ({kind.name})")
        tensor = Tensor(name, shape, kind, offset, shape[-1] // block * block_bytes)
        end = offset + tensor.rows * tensor.row_bytes
        if end > len(self._map):
            raise HeaderError(f"tensor {name} ends at byte {end}, but the file has only {len(self._map)}: truncated")
        return tensor

    def _take(self, count: int) -> bytes:
        taken = self._map[self._at:self._at + count]
        if len(taken) != count:
            raise HeaderError(f"{count} bytes wanted at byte {self._at}, but the file has only {len(self._map)}: "
                              "truncated")
        self._at += count
        return taken

    def _scalars(self, code: str, count: int) -> list:
        size = struct.calcsize(f"<{code}")
        return list(struct.unpack(f"<{count}{code}", self._take(count * size)))

    def _scalar(self, code: str):
        return self._scalars(code, 1)[0]

    def _enum(self, kind):
        value = self._scalar("I")
        try:
            return kind(value)
        except ValueError as error:
            raise HeaderError(f"{kind.__name__} {value} at byte {self._at - 4} is unknown") from error

    def _string(self) -> str:
        raw = self._take(self._scalar("Q"))
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise HeaderError(f"the string that ends at byte {self._at} is not UTF-8") from error

    def _value(self, kind: GGUFValueType):
        if kind == GGUFValueType.STRING:
            return self._string()
        if kind != GGUFValueType.ARRAY:
            return self._scalar(_CODES[kind])
        item, count = self._enum(GGUFValueType), self._scalar("Q")
        if item == GGUFValueType.ARRAY:
            raise HeaderError(f"array of arrays at byte {self._at}: not supported")
        if item == GGUFValueType.STRING:
            return [self._string() for _ in range(count)]
        return self._scalars(_CODES[item], count)

    def _tensor_info(self) -> tuple[str, tuple[int, ...], GGMLQuantizationType, int]:
        name, axes = self._string(), self._scalar("I")
        shape = tuple(self._scalar("Q") for _ in range(axes))
        return name, shape[::-1], self._enum(GGMLQuantizationType), self._scalar("Q")

"""Writes a SentencePiece `ModelProto` (BPE with byte fallback) in protobuf's wire format.

Applies to vocabularies given as pieces, scores and types; needs nothing but the standard library. The file is what
`sentencepiece.SentencePieceProcessor(model_file=...)` reads. Field numbers: sentencepiece_model.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class PieceType(IntEnum):
    """Kinds of pieces, with the numbers of `ModelProto.SentencePiece.Type` (GGUF uses the same ones)."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    text: str
    score: float
    type: PieceType


@dataclass(frozen=True)
class SpecialIds:
    """Token ids of the pieces that have a role."""

    pad: int
    eos: int
    bos: int
    unk: int


_VARINT, _BYTES, _FLOAT32 = 0, 2, 5  # protobuf wire types
_MODEL_TYPE_BPE = 2


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative int32 fields are sign-extended to 64 bits
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(int(value))


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | _FLOAT32) + struct.pack("<f", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(value)) + value


def _piece(piece: Piece) -> bytes:
    body = _bytes(1, piece.text.encode()) + _float(2, piece.score) + _integer(3, piece.type)
    return _bytes(1, body)


def _trainer_spec(pieces: list[Piece], ids: SpecialIds) -> bytes:
    body = _integer(3, _MODEL_TYPE_BPE) + _integer(4, len(pieces)) + _integer(35, True)  # byte_fallback
    body += _integer(40, ids.unk) + _integer(41, ids.bos) + _integer(42, ids.eos) + _integer(43, ids.pad)
    for field, token in ((45, ids.unk), (46, ids.bos), (47, ids.eos), (48, ids.pad)):
        body += _bytes(field, pieces[token].text.encode())
    return _bytes(2, body)


def _normalizer_spec(add_dummy_prefix: bool) -> bytes:
    remove_extra_whitespaces, escape_whitespaces = False, True
    body = _bytes(1, b"identity") + _integer(3, add_dummy_prefix)
    return _bytes(3, body + _integer(4, remove_extra_whitespaces) + _integer(5, escape_whitespaces))


def encode_model(pieces: Iterable[Piece], ids: SpecialIds, add_dummy_prefix: bool = False) -> bytes:
    """The bytes of the model file. Raises ValueError when a special id or a byte piece is missing."""
    pieces = list(pieces)
    for role, token in vars(ids).items():
        if not 0 <= token < len(pieces):
            raise ValueError(f"tokenizer: {role} id {token} is outside the vocabulary of {len(pieces)} pieces")
    found = {piece.text for piece in pieces if piece.type == PieceType.BYTE}
    missing = [f"<0x{value:02X}>" for value in range(256) if f"<0x{value:02X}>" not in found]
    if missing:
        raise ValueError(f"tokenizer: byte fallback needs 256 byte pieces, {len(missing)} are missing: {missing[0]}")
    body = b"".join(map(_piece, pieces))
    return body + _trainer_spec(pieces, ids) + _normalizer_spec(add_dummy_prefix)

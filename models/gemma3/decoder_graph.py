"""The Gemma 3 decoder as an ONNX graph: ordinary operators only, the dialect that torch's exporters write.

Applies to every text-only Gemma 3 whose query scale is 1/sqrt(head size) and whose RoPE is not scaled (270M, 1B).
Costs nothing but the node list: weights are named here with their shapes and places in the data file, never held.

Shapes: B batch, S new tokens, P cached tokens, T = P + S, H hidden, N query heads, K key/value heads, D head size,
F feed-forward size, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

OPSET = 21
IR_VERSION = 10
MASKED = np.finfo(np.float32).min  # added to the scores of positions that must not be seen
INT64_MAX = np.iinfo(np.int64).max


@dataclass(frozen=True)
class DecoderConfig:
    """What tells one Gemma 3 decoder from another; sizes in elements."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    window: int  # a sliding layer sees this many positions, its own included
    global_every: int  # layer i attends to everything when (i + 1) % global_every == 0
    global_rope_base: float
    local_rope_base: float
    rms_epsilon: float
    context_length: int  # positions the model was trained for

    def is_global(self, layer: int) -> bool:
        return (layer + 1) % self.global_every == 0


@dataclass(frozen=True)
class Weight:
    """One initializer that lives in the data file: f32, little endian, row-major."""

    name: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape)) * 4


EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"


def layer_weights(config: DecoderConfig, layer: int) -> list[Weight]:
    """The weights of one layer; those of linear maps are [in, out], as MatMul reads them."""
    prefix = f"model.layers.{layer}."
    queries = config.heads * config.head_size
    keys = config.kv_heads * config.head_size
    shapes = {
        "input_layernorm.weight": (config.hidden,),
        "self_attn.q_proj.MatMul.weight": (config.hidden, queries),
        "self_attn.k_proj.MatMul.weight": (config.hidden, keys),
        "self_attn.v_proj.MatMul.weight": (config.hidden, keys),
        "self_attn.q_norm.weight": (config.head_size,),
        "self_attn.k_norm.weight": (config.head_size,),
        "self_attn.o_proj.MatMul.weight": (queries, config.hidden),
        "post_attention_layernorm.weight": (config.hidden,),
        "pre_feedforward_layernorm.weight": (config.hidden,),
        "mlp.gate_proj.MatMul.weight": (config.hidden, config.feed_forward),
        "mlp.up_proj.MatMul.weight": (config.hidden, config.feed_forward),
        "mlp.down_proj.MatMul.weight": (config.feed_forward, config.hidden),
        "post_feedforward_layernorm.weight": (config.hidden,),
    }
    return [Weight(prefix + name, shape) for name, shape in shapes.items()]


def all_weights(config: DecoderConfig) -> list[Weight]:
    """Every weight in the order in which the data file holds them."""
    weights = [Weight(EMBEDDING, (config.vocabulary, config.hidden))]
    for layer in range(config.layers):
        weights += layer_weights(config, layer)
    return weights + [Weight(FINAL_NORM, (config.hidden,))]


class _Builder:
    """Collects nodes and constants; every value is named after the place of its node in the model."""

    def __init__(self) -> None:
        self.nodes = []
        self.constants: dict[str, TensorProto] = {}
        self._names: dict[str, int] = {}

    def node(self, op: str, place: str, *inputs: str, output: str | None = None, **attributes) -> str:
        """Adds a node and returns the name of its one output."""
        stem = f"{place}/{op}"
        count = self._names.get(stem, 0)
        self._names[stem] = count + 1
        name = stem if count == 0 else f"{stem}_{count}"
        result = output or f"{name}_output"
        self.nodes.append(helper.make_node(op, list(inputs), [result], name=name, **attributes))
        return result

    def constant(self, name: str, value: np.ndarray) -> str:
        """Adds a small initializer once; the same name must always mean the same value."""
        tensor = numpy_helper.from_array(value, name)
        if self.constants.setdefault(name, tensor) != tensor:
            raise AssertionError(f"constant {name} defined twice with different values")
        return name

    def ints(self, *values: int) -> str:
        """i64[n] constant."""
        return self.constant("const.i64." + "_".join(map(str, values)), np.array(values, np.int64))

    def int_scalar(self, value: int) -> str:
        """i64[] constant."""
        return self.constant(f"const.i64.scalar.{value}", np.array(value, np.int64))

    def float_scalar(self, name: str, value: float) -> str:
        """f32[] constant."""
        return self.constant(f"const.f32.{name}", np.array(value, np.float32))


@dataclass(frozen=True)
class _Step:
    """Values computed once and used by every layer."""

    batch: str  # i64[1]
    sequence: str  # i64[1]
    total: str  # i64[1], T
    masks: dict[bool, str]  # is_global -> f32[B, 1, S, T], 0 or MASKED
    rope: dict[bool, tuple[str, str]]  # is_global -> cos, sin, each f32[B, 1, S, D]


class _Decoder:
    """Writes the graph top to bottom in the order in which data flows."""

    def __init__(self, config: DecoderConfig) -> None:
        self.config = config
        self.b = _Builder()

    def build(self) -> None:
        step = self._step()
        hidden = self._embed()
        for layer in range(self.config.layers):
            hidden = self._layer(layer, hidden, step)
        hidden = self._rms_norm("/model/norm", hidden, FINAL_NORM)
        head = self.b.node("Transpose", "/lm_head", EMBEDDING, perm=[1, 0])  # [H, V], tied with the embedding
        self.b.node("MatMul", "/lm_head", hidden, head, output="logits")

    def _embed(self) -> str:
        rows = self.b.node("Gather", "/model/embed_tokens", EMBEDDING, "input_ids", axis=0)  # [B, S, H]
        scale = self.b.float_scalar("embedding_scale", self.config.hidden**0.5)
        return self.b.node("Mul", "/model/embed_tokens", rows, scale)

    def _step(self) -> _Step:
        b = self.b
        batch = b.node("Shape", "/model/batch", "input_ids", start=0, end=1)
        sequence = b.node("Shape", "/model/sequence", "input_ids", start=1, end=2)
        past = b.node("Shape", "/model/past", "past_key_values.0.key", start=2, end=3)
        total = b.node("Add", "/model/total", past, sequence)
        masks = self._masks(past, total)
        rope = {True: self._rope("global", self.config.global_rope_base),
                False: self._rope("local", self.config.local_rope_base)}
        return _Step(batch, sequence, total, masks, rope)

    def _masks(self, past: str, total: str) -> dict[bool, str]:
        """Causal and sliding masks from slot numbers (not position ids), both ANDed with attention_mask."""
        b, place = self.b, "/model/mask"
        zero, one = b.int_scalar(0), b.int_scalar(1)
        past_scalar, total_scalar = b.node("Squeeze", place, past), b.node("Squeeze", place, total)
        queries = b.node("Range", place, past_scalar, total_scalar, one)  # i64[S]
        keys = b.node("Range", place, zero, total_scalar, one)  # i64[T]
        queries = b.node("Unsqueeze", place, queries, b.ints(0, 1, 3))  # [1, 1, S, 1]
        keys = b.node("Unsqueeze", place, keys, b.ints(0, 1, 2))  # [1, 1, 1, T]
        present = b.node("Cast", place, "attention_mask", to=TensorProto.BOOL)
        present = b.node("Unsqueeze", place, present, b.ints(1, 2))  # [B, 1, 1, T]
        causal = b.node("LessOrEqual", place, keys, queries)  # [1, 1, S, T]
        oldest = b.node("Sub", place, queries, b.int_scalar(self.config.window))
        in_window = b.node("Greater", place, keys, oldest)
        sliding = b.node("And", place, causal, in_window)
        return {True: self._additive_mask("/model/mask/global", causal, present),
                False: self._additive_mask("/model/mask/sliding", sliding, present)}

    def _additive_mask(self, place: str, allowed: str, present: str) -> str:
        visible = self.b.node("And", place, allowed, present)  # bool[B, 1, S, T]
        return self.b.node("Where", place, visible, self.b.float_scalar("zero", 0.0),
                           self.b.float_scalar("masked", MASKED))

    def _rope(self, kind: str, base: float) -> tuple[str, str]:
        """cos and sin of position * base^(-2i/D), the D/2 angles written twice."""
        b, place, size = self.b, f"/model/rotary_{kind}", self.config.head_size
        exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
        inverse = b.constant(f"model.rotary_{kind}.inv_freq",
                             (1.0 / np.float64(base) ** exponents.astype(np.float64)).astype(np.float32))
        positions = b.node("Cast", place, "position_ids", to=TensorProto.FLOAT)
        positions = b.node("Unsqueeze", place, positions, b.ints(1, 3))  # [B, 1, S, 1]
        angles = b.node("Mul", place, positions, inverse)  # [B, 1, S, D/2]
        angles = b.node("Concat", place, angles, angles, axis=-1)
        return b.node("Cos", place, angles), b.node("Sin", place, angles)

    def _rms_norm(self, place: str, x: str, weight: str) -> str:
        """x / sqrt(mean(x^2) + epsilon) * weight over the last axis; Gemma's weight already holds its +1."""
        b = self.b
        mean = b.node("ReduceMean", place, b.node("Pow", place, x, b.float_scalar("two", 2.0)), b.ints(-1), keepdims=1)
        root = b.node("Sqrt", place, b.node("Add", place, mean, b.float_scalar("rms_epsilon", self.config.rms_epsilon)))
        return b.node("Mul", place, b.node("Mul", place, x, b.node("Reciprocal", place, root)), weight)

    def _layer(self, layer: int, hidden: str, step: _Step) -> str:
        place, prefix = f"/model/layers.{layer}", f"model.layers.{layer}."
        x = self._rms_norm(f"{place}/input_layernorm", hidden, prefix + "input_layernorm.weight")
        x = self._attention(layer, x, step)
        x = self._rms_norm(f"{place}/post_attention_layernorm", x, prefix + "post_attention_layernorm.weight")
        hidden = self.b.node("Add", f"{place}/attention_residual", hidden, x)
        x = self._rms_norm(f"{place}/pre_feedforward_layernorm", hidden, prefix + "pre_feedforward_layernorm.weight")
        x = self._feed_forward(layer, x)
        x = self._rms_norm(f"{place}/post_feedforward_layernorm", x, prefix + "post_feedforward_layernorm.weight")
        return self.b.node("Add", f"{place}/feedforward_residual", hidden, x)

    def _linear(self, place: str, x: str) -> str:
        return self.b.node("MatMul", place, x, place[1:].replace("/", ".") + ".MatMul.weight")

    def _feed_forward(self, layer: int, x: str) -> str:
        b, place = self.b, f"/model/layers.{layer}/mlp"
        gate = b.node("Gelu", place, self._linear(f"{place}/gate_proj", x), approximate="tanh")
        return self._linear(f"{place}/down_proj", b.node("Mul", place, gate, self._linear(f"{place}/up_proj", x)))

    def _heads(self, place: str, x: str, heads: int, step: _Step) -> str:
        """[B, S, heads*D] -> [B, heads, S, D]."""
        b = self.b
        shape = b.node("Concat", place, step.batch, step.sequence, b.ints(heads), b.ints(self.config.head_size), axis=0)
        return b.node("Transpose", place, b.node("Reshape", place, x, shape), perm=[0, 2, 1, 3])

    def _rotate(self, place: str, x: str, rope: tuple[str, str]) -> str:
        """x * cos + rotate_half(x) * sin."""
        b, half = self.b, self.config.head_size // 2
        low = b.node("Slice", place, x, b.ints(0), b.ints(half), b.ints(3), b.ints(1))
        high = b.node("Slice", place, x, b.ints(half), b.ints(INT64_MAX), b.ints(3), b.ints(1))
        turned = b.node("Concat", place, b.node("Neg", place, high), low, axis=-1)
        return b.node("Add", place, b.node("Mul", place, x, rope[0]), b.node("Mul", place, turned, rope[1]))

    def _repeat_kv(self, place: str, x: str, step: _Step) -> str:
        """[B, K, T, D] -> [B, N, T, D]: each key/value head serves N/K query heads in a row."""
        b, c = self.b, self.config
        size = b.ints(c.head_size)
        groups = b.node("Concat", place, step.batch, b.ints(c.kv_heads), b.ints(c.heads // c.kv_heads), step.total,
                        size, axis=0)
        flat = b.node("Concat", place, step.batch, b.ints(c.heads), step.total, size, axis=0)
        wide = b.node("Expand", place, b.node("Unsqueeze", place, x, b.ints(2)), groups)
        return b.node("Reshape", place, wide, flat)

    def _attention(self, layer: int, x: str, step: _Step) -> str:
        b, c, place = self.b, self.config, f"/model/layers.{layer}/self_attn"
        prefix, rope = f"model.layers.{layer}.self_attn.", step.rope[c.is_global(layer)]
        q = self._heads(f"{place}/q_heads", self._linear(f"{place}/q_proj", x), c.heads, step)
        k = self._heads(f"{place}/k_heads", self._linear(f"{place}/k_proj", x), c.kv_heads, step)
        v = self._heads(f"{place}/v_heads", self._linear(f"{place}/v_proj", x), c.kv_heads, step)
        q = self._rotate(f"{place}/q_rope", self._rms_norm(f"{place}/q_norm", q, prefix + "q_norm.weight"), rope)
        k = self._rotate(f"{place}/k_rope", self._rms_norm(f"{place}/k_norm", k, prefix + "k_norm.weight"), rope)
        k = b.node("Concat", f"{place}/k_cache", f"past_key_values.{layer}.key", k, axis=-2,
                   output=f"present.{layer}.key")
        v = b.node("Concat", f"{place}/v_cache", f"past_key_values.{layer}.value", v, axis=-2,
                   output=f"present.{layer}.value")
        k, v = self._repeat_kv(f"{place}/k_repeat", k, step), self._repeat_kv(f"{place}/v_repeat", v, step)
        x = self._attend(place, q, k, v, step.masks[c.is_global(layer)])
        shape = b.node("Concat", place, step.batch, step.sequence, b.ints(c.heads * c.head_size), axis=0)
        x = b.node("Reshape", place, b.node("Transpose", place, x, perm=[0, 2, 1, 3]), shape)
        return self._linear(f"{place}/o_proj", x)

    def _attend(self, place: str, q: str, k: str, v: str, mask: str) -> str:
        """softmax(q k^T / sqrt(D) + mask) v; the scale is split evenly over q and k."""
        b = self.b
        scale = b.float_scalar("root_of_query_scale", self.config.head_size**-0.25)
        q = b.node("Mul", f"{place}/q_scale", q, scale)
        k = b.node("Mul", f"{place}/k_scale", b.node("Transpose", f"{place}/k_scale", k, perm=[0, 1, 3, 2]), scale)
        scores = b.node("Add", f"{place}/scores", b.node("MatMul", f"{place}/scores", q, k), mask)  # [B, N, S, T]
        return b.node("MatMul", f"{place}/values", b.node("Softmax", f"{place}/scores", scores, axis=-1), v)


def _inputs(config: DecoderConfig) -> list[ValueInfoProto]:
    total = "past_sequence + sequence"
    cache = ["batch", config.kv_heads, "past_sequence", config.head_size]
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"]),
              helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", total]),
              helper.make_tensor_value_info("position_ids", TensorProto.INT64, ["batch", "sequence"])]
    for layer in range(config.layers):
        for part in ("key", "value"):
            name = f"past_key_values.{layer}.{part}"
            inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, cache))
    return inputs


def _outputs(config: DecoderConfig) -> list[ValueInfoProto]:
    cache = ["batch", config.kv_heads, "past_sequence + sequence", config.head_size]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "sequence", config.vocabulary])]
    for layer in range(config.layers):
        for part in ("key", "value"):
            name = f"present.{layer}.{part}"
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, cache))
    return outputs


def _external(weight: Weight, data_file: str, offset: int) -> TensorProto:
    tensor = TensorProto(name=weight.name, data_type=TensorProto.FLOAT, dims=weight.shape,
                         data_location=TensorProto.EXTERNAL)
    for key, value in (("location", data_file), ("offset", offset), ("length", weight.size_bytes)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def build_model(config: DecoderConfig, data_file: str, offsets: dict[str, int]) -> ModelProto:
    """The model whose weights lie in `data_file` (beside the model) at `offsets` (bytes, by weight name)."""
    decoder = _Decoder(config)
    decoder.build()
    weights = [_external(weight, data_file, offsets[weight.name]) for weight in all_weights(config)]
    graph: GraphProto = helper.make_graph(decoder.b.nodes, "gemma3", _inputs(config), _outputs(config),
                                          weights + list(decoder.b.constants.values()))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                             producer_name="platen models/gemma3")

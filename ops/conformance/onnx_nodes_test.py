"""Holds the operators' references and ONNX mappings to two judges that nobody here wrote.

    onnx_nodes_test.py backend <onnx_nodes program>   the node cases of onnx.backend.test
    onnx_nodes_test.py runtime <onnx_nodes program>   random inputs through ONNX Runtime's operators

Writes nodes and expanded functions as JSON lines to a temporary file and runs the program on it. Exit status: the
program's; 77 (skipped) where a Python package is missing.
"""

import json
import re
import subprocess
import sys
import tempfile

try:
    import ml_dtypes
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper
    if sys.argv[1] == "runtime":
        import onnxruntime
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

DTYPES = {
    "float32": "f32", "float16": "f16", "bfloat16": "bf16", "float64": "f64", "int64": "i64",
    "int32": "i32", "int16": "i16", "int8": "i8", "int4": "i4", "uint64": "u64", "uint32": "u32",
    "uint16": "u16", "uint8": "u8", "uint4": "u4", "bool": "bool",
}
# rtol, atol of results that are computed in f32 by the judge; integers and copies must be equal.
TOLERANCE = {"float32": (2e-5, 2e-6), "float16": (4e-3, 1e-3), "bfloat16": (3e-2, 1e-2), "float64": (1e-7, 1e-7)}
# So many must pass at least, by references and by loops: a mapping that refuses everything is no success.
LEAST = {"backend": ("1200", "1200"), "runtime": ("130", "130")}
# Conversions and moves: equal to the bit.
EXACT = {"Cast", "Clip", "Concat", "ConstantOfShape", "Expand", "Flatten", "Gather", "GatherND", "Max", "Min", "Neg",
         "Reshape", "Slice", "Split", "Squeeze", "TopK", "Transpose", "Trilu", "Unsqueeze", "Where"}
# Operators of which every case must pass …
COVERED = set("""
    Abs Add And Cast Ceil Clip Concat ConstantOfShape Cos DequantizeLinear Div Equal Erf Exp Expand Flatten Floor Gather
    GatherND Gelu Gemm Greater GreaterOrEqual IsNaN LayerNormalization Less LessOrEqual Log LogSoftmax MatMul Max Min Mul
    Neg Not Or Pow RMSNormalization Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceSum Relu Reshape
    RotaryEmbedding Shape Sigmoid Sin Slice Softmax Split Sqrt Squeeze Sub Tanh TopK Transpose Trilu Unsqueeze Where Xor
""".split())
# … but these, which the operators' constraints refuse: bool extrema, normalisation over several axes or an axis that is
# not counted from the end, rotary tables per token.
REFUSED = re.compile(r"test_(reduce_(max|min)_(bool_inputs|empty_set_bool)|rotary_embedding_no_position_ids.*"
                     r"|rms_normalization_\d+d_axis(\d|_negative_[2-9]).*)$")


class NotRepresentable(Exception):
    """A string, float8, sequence, graph attribute…: out of scope, not a refusal."""


def to_array(value):
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def tensor_json(array):
    if array is None:
        return None
    array = to_array(array)
    name = DTYPES.get(array.dtype.name)
    if name is None:
        raise NotRepresentable(array.dtype.name)
    if name in ("i4", "u4"):
        flat = array.astype(np.int8).reshape(-1).view(np.uint8) & 15
        flat = np.concatenate([flat, np.zeros(len(flat) % 2, np.uint8)])
        data = (flat[0::2] | (flat[1::2] << 4)).astype(np.uint8).tobytes()
    else:
        data = np.ascontiguousarray(array).tobytes()
    return {"dtype": name, "dims": list(array.shape), "hex": data.hex()}


def attribute_json(attribute):
    kinds = {onnx.AttributeProto.INT: "int", onnx.AttributeProto.FLOAT: "float",
             onnx.AttributeProto.STRING: "string", onnx.AttributeProto.INTS: "ints",
             onnx.AttributeProto.FLOATS: "floats"}
    value = helper.get_attribute_value(attribute)
    if attribute.type == onnx.AttributeProto.TENSOR:
        return {"tensor": tensor_json(numpy_helper.to_array(value))}
    if attribute.type not in kinds:
        raise NotRepresentable(str(attribute.type))
    if isinstance(value, bytes):
        value = value.decode()
    return {kinds[attribute.type]: list(value) if isinstance(value, (list, tuple)) else value}


def tolerance(arrays):
    floats = [t for t in (TOLERANCE.get(to_array(a).dtype.name) for a in arrays) if t]
    return max(floats) if floats else (0, 0)


def graph_json(name, counted_for, nodes, versions, given, wanted, must_map=False):
    """nodes in order; given, wanted: arrays by name; versions: of opsets by domain."""
    given = {n: tensor_json(a) for n, a in given.items() if a is not None}
    listed = []
    for node in nodes:
        if node.op_type == "Constant" and node.domain == "":
            given[node.output[0]] = tensor_json(constant_of(node))
            continue
        listed.append({"domain": node.domain, "opType": node.op_type, "version": versions.get(node.domain, 0),
                       "attributes": {a.name: attribute_json(a) for a in node.attribute},
                       "inputs": list(node.input), "outputs": list(node.output)})
    rtol, atol = tolerance(wanted.values()) if counted_for not in EXACT else (0, 0)
    return {"name": name, "of": counted_for, "nodes": listed, "given": given,
            "wanted": {n: tensor_json(a) for n, a in wanted.items()}, "rtol": rtol, "atol": atol, "mustMap": must_map}


def constant_of(node):
    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return numpy_helper.to_array(value)
    if attribute.name in ("value_float", "value_floats"):
        return np.array(value, np.float32)
    if attribute.name in ("value_int", "value_ints"):
        return np.array(value, np.int64)
    raise NotRepresentable(attribute.name)


def node_json(name, node, version, inputs, outputs, must_map=False):
    """inputs, outputs: arrays by name."""
    counted_for = node.domain + ("." if node.domain else "") + node.op_type
    return graph_json(name, counted_for, [node], {node.domain: version}, {n: inputs[n] for n in node.input if n},
                      {n: outputs[n] for n in node.output if n}, must_map)


def backend_nodes():
    from onnx.backend.test.case.node import collect_testcases
    cases = [case for case in collect_testcases(None) if case.data_sets]
    operators = {case.name: case.model.graph.node[0].op_type for case in cases if len(case.model.graph.node) == 1}
    for case in cases:
        graph = case.model.graph
        versions = {i.domain: i.version for i in case.model.opset_import}
        inputs, outputs = case.data_sets[0]
        node = graph.node[0]
        # A function's body, expanded, counts for the function.
        operator = operators.get(re.sub(r"_expanded.*", "", case.name), node.op_type)
        single = len(graph.node) == 1
        if single and node.op_type == "LayerNormalization":  # its cases also ask for the training outputs
            del node.output[1:]
            del graph.output[1:]
        try:
            yield graph_json(case.name, operator, graph.node, versions,
                             dict(zip((i.name for i in graph.input), inputs)) |
                             {i.name: numpy_helper.to_array(i) for i in graph.initializer},
                             dict(zip((o.name for o in graph.output), outputs)),
                             single and node.op_type in COVERED and not REFUSED.match(case.name))
        except (NotRepresentable, TypeError, ValueError, KeyError):
            continue


class RuntimeCases:
    """Single com.microsoft nodes, run by ONNX Runtime on the CPU with random inputs."""

    def __init__(self):
        self.random = np.random.default_rng(2024)
        self.count = 0

    def floats(self, *shape, scale=1.0):
        return (self.random.standard_normal(shape) * scale).astype(np.float32)

    def run(self, op, inputs, outputs, attributes):
        """inputs: list of arrays or None; outputs: list of bool."""
        names = [f"i{k}" if x is not None else "" for k, x in enumerate(inputs)]
        results = [f"o{k}" if x else "" for k, x in enumerate(outputs)]
        node = helper.make_node(op, names, results, domain="com.microsoft", **attributes)
        value = lambda n, x: helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        feeds = {n: x for n, x in zip(names, inputs) if x is not None}
        # Weights of quantised operators must be constants; so is everything but the first input.
        constants = {n: feeds[n] for n in list(feeds)[1:]} if "Quantized" in op or "NBits" in op else {}
        graph = helper.make_graph(
            [node], "g", [value(n, x) for n, x in feeds.items() if n not in constants],
            [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in results if n],
            [numpy_helper.from_array(x, n) for n, x in constants.items()])
        if op == "GatherBlockQuantized":  # data and scales are constants, indices are not
            graph = helper.make_graph(
                [node], "g", [value("i1", feeds["i1"])],
                [helper.make_tensor_value_info("o0", onnx.TensorProto.FLOAT, None)],
                [numpy_helper.from_array(x, n) for n, x in feeds.items() if n != "i1"])
        model = helper.make_model(graph, ir_version=10, opset_imports=[
            helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)])
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        wanted = session.run(None, {i.name: feeds[i.name] for i in session.get_inputs()})
        self.count += 1
        return node_json(f"{op}_{self.count}", node, 1, feeds, dict(zip([n for n in results if n], wanted)), True)

    def rotary_tables(self, rows, half):
        angles = np.arange(rows)[:, None] * (10000.0 ** (-np.arange(half) / half))[None]
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def group_query_attention(self):
        size, rows = 32, 24
        cos, sin = self.rotary_tables(rows, size // 2)
        for heads, kv, batch, past, new, options in [
                (4, 2, 1, 0, 5, {}), (4, 1, 2, 0, 3, {"do_rotary": 1}),
                (4, 2, 1, 6, 1, {"do_rotary": 1}), (4, 4, 2, 6, 1, {"do_rotary": 1, "rotary_interleaved": 1}),
                (2, 1, 1, 4, 3, {"do_rotary": 1}), (4, 2, 1, 0, 9, {"local_window_size": 4}),
                (4, 2, 1, 8, 1, {"do_rotary": 1, "local_window_size": 3}),
                (2, 2, 1, 3, 2, {"softcap": 2.0, "scale": 0.3}), (2, 2, 2, 0, 4, {"smooth_softmax": 1}),
                (4, 2, 1, 5, 2, {"softcap": 3.0, "local_window_size": 4, "scale": 0.2})]:
            for packed in (False, True):
                for extra in ("", "bias", "sink", "positions"):
                    if extra == "sink" and "smooth_softmax" in options or extra == "positions" and not options.get("do_rotary"):
                        continue
                    total = past + new
                    parts = [self.floats(batch, new, n * size) for n in (heads, kv, kv)]
                    inputs = [np.concatenate(parts, 2), None, None] if packed else parts
                    inputs += [self.floats(batch, kv, past, size), self.floats(batch, kv, past, size),
                               np.full(batch, total - 1, np.int32), np.array(total, np.int32)]
                    inputs += [cos, sin] if options.get("do_rotary") else [None, None]
                    first = np.arange(past, total)[None].repeat(batch, 0).astype(np.int64)
                    inputs += [first if extra == "positions" else None,
                               self.floats(batch, heads, new, total) if extra == "bias" else None,
                               self.floats(heads) if extra == "sink" else None]
                    yield self.run("GroupQueryAttention", inputs, [True] * 3,
                                   {"num_heads": heads, "kv_num_heads": kv, **options})
        # One buffer for past and present, entries of different lengths, one new token each.
        lengths = np.array([6, 3], np.int32)
        yield self.run("GroupQueryAttention",
                       [self.floats(2, 1, 4 * size), self.floats(2, 1, 2 * size), self.floats(2, 1, 2 * size),
                        self.zero_beyond(self.floats(2, 2, 8, size), lengths),
                        self.zero_beyond(self.floats(2, 2, 8, size), lengths),
                        lengths, np.array(7, np.int32), cos, sin], [True] * 3,
                       {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1})
        yield from self.window_cache(size, cos, sin)

    def window_cache(self, size, cos, sin):
        """Caches of capacity C >= window W; the present is compared up to its resident rows."""
        for capacity, window, past, new in [(4, 4, 4, 1), (6, 4, 5, 1), (6, 4, 9, 1), (6, 4, 9, 3), (5, 2, 3, 8)]:
            resident = lambda t: t if t <= capacity else t - (capacity - window + 1) * -(-(t - capacity) // (capacity - window + 1))
            total = past + new
            caches = [self.zero_beyond(self.floats(1, 2, capacity, size), [resident(past)]) for _ in range(2)]
            node = self.run("GroupQueryAttention",
                            [self.floats(1, new, 4 * size), self.floats(1, new, 2 * size), self.floats(1, new, 2 * size),
                             *caches, np.array([total - 1], np.int32), np.array(total, np.int32), cos, sin],
                            [True] * 3, {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1,
                                         "local_window_size": window, "sliding_window_cache": 1})
            for name in ("o1", "o2"):  # rows beyond the resident ones are unspecified; ours are zero
                output = node["wanted"][name]
                rows = np.frombuffer(bytes.fromhex(output["hex"]), np.float32).reshape(output["dims"])
                output["hex"] = self.zero_beyond(rows.copy(), [resident(total)]).tobytes().hex()
            yield node

    @staticmethod
    def zero_beyond(cache, lengths):
        for entry, length in enumerate(lengths):
            cache[entry, :, length:] = 0
        return cache

    def skip_rms_norm(self):
        for shape, bias in [((2, 3, 16), False), ((5, 32), True)]:
            x = [self.floats(*shape), self.floats(*shape), self.floats(shape[-1])]
            yield self.run("SkipSimplifiedLayerNormalization", x + ([self.floats(shape[-1])] if bias else []),
                           [True, False, False, True], {"epsilon": 1e-6})

    def rotary_embedding(self):
        cos, sin = self.rotary_tables(16, 8)
        for interleaved in (0, 1):
            ids = self.random.integers(0, 16, (2, 3))
            yield self.run("RotaryEmbedding", [self.floats(2, 3, 64), ids, cos, sin], [True], {"interleaved": interleaved})
            yield self.run("RotaryEmbedding", [self.floats(2, 4, 3, 16), ids, cos, sin], [True], {"interleaved": interleaved})
            yield self.run("RotaryEmbedding", [self.floats(1, 3, 64), np.array([5]), cos, sin], [True], {"interleaved": interleaved})
            yield self.run("RotaryEmbedding", [self.floats(2, 3, 64), ids, cos[:, :4].copy(), sin[:, :4].copy()], [True],
                           {"interleaved": interleaved, "num_heads": 4, "rotary_embedding_dim": 8})

    def matmul_nbits(self):
        for bits in (4, 8):
            for n, k, block in [(16, 64, 32), (8, 96, 16), (24, 256, 128), (8, 80, 32)]:
                for zeros in ("", "packed", "float"):
                    for bias in (False, True):
                        blocks = -(-k // block)
                        b = self.random.integers(0, 256, (n, blocks, block * bits // 8)).astype(np.uint8)
                        scales = np.abs(self.floats(n, blocks, scale=0.1)) + np.float32(0.01)
                        zero = None
                        if zeros == "packed":
                            zero = self.random.integers(0, 256, (n, -(-blocks * bits // 8))).astype(np.uint8)
                        if zeros == "float":
                            if bits == 8:
                                continue  # the runtime's CPU kernel lacks it
                            zero = self.random.integers(0, 1 << bits, (n, blocks)).astype(np.float32)
                        yield self.run("MatMulNBits", [self.floats(3, k), b, scales, zero, None, self.floats(n) if bias else None],
                                       [True], {"K": k, "N": n, "bits": bits, "block_size": block})

    def gather_block_quantized(self):
        ids = np.array([[3, 0], [-1, 5]])
        for bits in (4, 8):
            for zeros in (False, True):
                data = self.random.integers(0, 256, (6, 64 * bits // 8)).astype(np.uint8)
                zero = self.random.integers(0, 256, (6, 2 * bits // 8)).astype(np.uint8) if zeros else None
                yield self.run("GatherBlockQuantized", [data, ids, self.floats(6, 2), zero], [True],
                               {"bits": bits, "block_size": 32, "gather_axis": 0, "quantize_axis": 1})
        for dtype, low in ((ml_dtypes.int4, -8), (ml_dtypes.uint4, 0)):
            for gather, quantize, shape in [(0, 1, (6, 32)), (1, 0, (32, 6)), (0, 2, (6, 3, 48))]:
                data = self.random.integers(low, low + 16, shape).astype(dtype)
                blocks = tuple(s // 16 if a == quantize else s for a, s in enumerate(shape))
                zero = self.random.integers(low, low + 16, blocks).astype(dtype)
                for z in (None, zero):
                    yield self.run("GatherBlockQuantized", [data, ids, self.floats(*blocks), z], [True],
                                   {"block_size": 16, "gather_axis": gather, "quantize_axis": quantize})

    def all(self):
        for family in (self.group_query_attention, self.skip_rms_norm, self.rotary_embedding,
                       self.matmul_nbits, self.gather_block_quantized):
            yield from family()


def main():
    nodes = backend_nodes() if sys.argv[1] == "backend" else RuntimeCases().all()
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for node in nodes:
            file.write(json.dumps(node) + "\n")
        file.flush()
        return subprocess.run([sys.argv[2], file.name, *LEAST[sys.argv[1]]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

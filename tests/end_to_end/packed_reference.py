"""Logits of a model whose weights are those of a plan, by others' code: ONNX Runtime and ONNX's reference evaluator.

usage: packed_reference.py MODEL.onnx TOKENS.npz OUT.npz [FOLDER]

Without FOLDER the model is taken as it is. FOLDER/weights.json lists the plan's packed weights: {name, packing, n, k, file}. Each is taken apart here, from
the description of the layout alone and with ml_dtypes' definitions of the number formats, and replaces the
initializer of its name. OUT.npz gets
  weights  logits of the model with these weights (ONNX Runtime, f32)
  inputs   the same, with the input of each of these matmuls rounded as GPUs round it (kernels/specs.h), by
           Cast nodes to the formats of the ONNX standard (ONNX's reference evaluator)
"""

import json
import pathlib
import sys

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator


def halves(data, n, k, dtype):
    """[N/16][ceil(K/2)][16][2]"""
    panels = data.view(dtype).reshape(-1, (k + 1) // 2, 16, 2)
    return panels.transpose(0, 2, 1, 3).reshape(panels.shape[0] * 16, -1)[:n, :k].astype(np.float32)


def chunks(panels, blocks):
    """[panel][chunk of 16 bytes][16 channels][16 bytes] to [channel][bytes]"""
    codes = panels[:, : blocks * 512].reshape(-1, blocks * 2, 16, 16)
    return codes.transpose(0, 2, 1, 3).reshape(codes.shape[0] * 16, -1)


def e4m3(data, n, k):
    blocks = (k + 31) // 32
    panels = data.reshape(-1, blocks * 512 + 64)
    codes = chunks(panels, blocks)[:n, :k].copy().view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    scales = panels[:, -64:].copy().view(np.float32).reshape(-1)[:n]
    return codes * scales[:, None]


def e2m1(data, n, k):
    blocks = (k + 63) // 64
    panels = data.reshape(-1, blocks * (512 + 64) + 64)
    both = chunks(panels, blocks)
    codes = np.stack([both & 15, both >> 4], axis=-1).reshape(both.shape[0], -1)
    values = codes.view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    groups = panels[:, blocks * 512 : -64].reshape(-1, blocks, 16, 4).transpose(0, 2, 1, 3)
    groups = groups.reshape(values.shape[0], -1).copy().view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    scales = panels[:, -64:].copy().view(np.float32).reshape(-1)
    return (values * np.repeat(groups, 16, axis=1) * scales[:, None])[:n, :k]


UNPACK = {
    "panel16.f32": lambda data, n, k: data.view(np.float32).reshape(-1, k, 16).transpose(0, 2, 1).reshape(-1, k)[:n],
    "panel16.bf16": lambda data, n, k: halves(data, n, k, ml_dtypes.bfloat16),
    "panel16.f16": lambda data, n, k: halves(data, n, k, np.float16),
    "panel16.f8": e4m3,
    "panel16.f4": e2m1,
}


class Rounding:
    """Nodes that round the input of a matmul as the weight's packing asks for."""

    def __init__(self, graph):
        self.graph, self.nodes, self.done = graph, [], {}

    def op(self, kind, *inputs, **attributes):
        name = f"rounding.{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, value, dtype=np.float32):
        name = f"rounding.constant.{len(self.graph.initializer)}"
        self.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def through(self, x, kind):
        return self.op("Cast", self.op("Cast", x, to=kind), to=TensorProto.FLOAT)

    def largest(self, x):
        return self.op("ReduceMax", self.op("Abs", x), self.constant([-1], np.int64), keepdims=1)

    def e4m3(self, x):
        most = self.largest(x)
        code = self.through(self.op("Mul", x, self.op("Div", self.constant(448), most)), TensorProto.FLOAT8E4M3FN)
        return self.op("Mul", code, self.op("Div", most, self.constant(448)))

    def e2m1(self, x):
        scale = self.op("Div", self.largest(x), self.constant(2688))
        scale = self.op("Unsqueeze", scale, self.constant([-1], np.int64))
        groups = self.op("Reshape", x, self.constant([0, 0, -1, 16], np.int64))
        wanted = self.op("Div", self.op("Div", self.largest(groups), self.constant(6)), scale)
        step = self.op("Mul", self.through(wanted, TensorProto.FLOAT8E4M3FN), scale)
        code = self.through(self.op("Div", groups, step), TensorProto.FLOAT4E2M1)
        return self.op("Reshape", self.op("Mul", code, step), self.op("Shape", x))

    def input(self, x, packing):
        kinds = {
            "panel16.bf16": lambda: self.through(x, TensorProto.BFLOAT16),
            "panel16.f16": lambda: self.through(x, TensorProto.FLOAT16),
            "panel16.f8": lambda: self.e4m3(x),
            "panel16.f4": lambda: self.e2m1(x),
        }
        if packing not in kinds:
            return x
        if (x, packing) not in self.done:
            self.done[x, packing] = kinds[packing]()
        return self.done[x, packing]


def weights_of(folder):
    weights = {}
    for entry in json.loads((folder / "weights.json").read_text()):
        data = np.fromfile(folder / entry["file"], np.uint8)
        weights[entry["name"]] = entry["packing"], UNPACK[entry["packing"]](data, entry["n"], entry["k"])
    return weights


def replace_weights(graph, weights):
    """Initializers that a MatMul reads are [k, n]; tables, and what is transposed before, are [n, k]."""
    direct = {node.input[1] for node in graph.node if node.op_type == "MatMul"}
    for i, tensor in enumerate(graph.initializer):
        if tensor.name in weights:
            value = weights[tensor.name][1]
            if tensor.name in direct:
                value = value.T
            assert list(value.shape) == list(tensor.dims), tensor.name
            graph.initializer[i].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
    missing = set(weights) - {tensor.name for tensor in graph.initializer}
    assert not missing, f"no initializers of the model: {missing}"


def round_inputs(model, weights):
    """Rounds the input of every matmul by one of the weights, and both of attention's products, which are in bf16."""
    graph = model.graph
    transposed = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Transpose"}
    rounding, nodes, data = Rounding(graph), [], {"input_ids"}
    for node in graph.node:
        before = len(rounding.nodes)
        if data.intersection(node.input) and node.op_type != "Shape":
            data.update(node.output)
        if node.op_type == "MatMul":
            weight = transposed.get(node.input[1], node.input[1])
            if weight in weights:
                node.input[0] = rounding.input(node.input[0], weights[weight][0])
            elif data.issuperset(node.input):
                for i in range(2):
                    node.input[i] = rounding.through(node.input[i], TensorProto.BFLOAT16)
        nodes += rounding.nodes[before:] + [node]
    del graph.node[:]
    graph.node.extend(nodes)
    for opset in model.opset_import:
        if opset.domain == "":
            opset.version = max(opset.version, 23)  # the first one whose Cast knows 4-bit floats


def feeds_of(graph, tokens):
    feeds = {}
    for given in graph.input:
        shape = [dimension.dim_value or dimension.dim_param for dimension in given.type.tensor_type.shape.dim]
        if given.name == "input_ids":
            feeds[given.name] = tokens
        elif given.name == "attention_mask":
            feeds[given.name] = np.ones_like(tokens)
        elif given.name == "position_ids":
            feeds[given.name] = np.arange(tokens.shape[1], dtype=np.int64)[None]
        else:  # an empty past
            shape = [size if isinstance(size, int) else 1 if "batch" in size else 0 for size in shape]
            feeds[given.name] = np.zeros(shape, helper.tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type))
    return feeds


def main(model_path, tokens_path, out_path, folder=None):
    weights = weights_of(pathlib.Path(folder)) if folder else {}
    tokens = np.load(tokens_path)["ids"]
    model = onnx.load(model_path)
    replace_weights(model.graph, weights)
    feeds = feeds_of(model.graph, tokens)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    arrays = {"weights": session.run(["logits"], feeds)[0].astype(np.float32)}
    if weights:
        round_inputs(model, weights)
        arrays["inputs"] = ReferenceEvaluator(model).run(["logits"], feeds)[0].astype(np.float32)
    np.savez(out_path, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])

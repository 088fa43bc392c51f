"""A model of f32 with its weights in f16, as exporters and converters write such models.

usage: half_model.py stored|computed MODEL.onnx OUT.onnx

  stored    weights of two dimensions are f16 and cast to f32 before they are used: the graph computes in f32
  computed  the graph computes in f16, as ONNX Runtime's own converter writes it; positions stay f32
"""

import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16


def store_half(model):
    graph, casts = model.graph, []
    for i, tensor in enumerate(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != 2:
            continue
        name = tensor.name
        half = numpy_helper.to_array(tensor).astype(np.float16)
        graph.initializer[i].CopyFrom(numpy_helper.from_array(half, name + ".f16"))
        casts.append(helper.make_node("Cast", [name + ".f16"], [name], name + ".cast", to=TensorProto.FLOAT))
    nodes = casts + list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def compute_half(model):
    producer = {output: node for node in model.graph.node for output in node.output}
    blocked, work = set(), [node for node in model.graph.node if node.op_type in ("Sin", "Cos")]
    while work:  # what positions become before they are rotations
        node = work.pop()
        if node.name not in blocked:
            blocked.add(node.name)
            work += [producer[name] for name in node.input if name in producer]
    return convert_float_to_float16(model, node_block_list=sorted(blocked), disable_shape_infer=True)


def main(kind, source, out):
    model = onnx.load(source)
    pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
    onnx.save({"stored": store_half, "computed": compute_half}[kind](model), out)


if __name__ == "__main__":
    main(*sys.argv[1:])

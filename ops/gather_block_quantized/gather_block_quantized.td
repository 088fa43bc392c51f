def Platen_GatherBlockQuantizedOp : Platen_Op<"gather_block_quantized"> {
  let summary = "gather from a block-quantised table";
  let arguments = (ins AnyTensor:$data, AnyTensor:$indices, AnyTensor:$scales, Platen_OptionalTensor:$zero_points,
                       DefaultValuedAttr<I64Attr, "4">:$bits, DefaultValuedAttr<I64Attr, "128">:$block_size,
                       DefaultValuedAttr<I64Attr, "0">:$gather_axis,
                       DefaultValuedAttr<I64Attr, "1">:$quantize_axis);
  let results = (outs AnyTensor:$result);
}

def Platen_QuantizeLinearOp : Platen_Op<"quantize_linear"> {
  let summary = "quantisation to integers";
  let arguments = (ins AnyTensor:$x, AnyTensor:$scale, Platen_OptionalTensor:$zero_point,
                       DefaultValuedAttr<I64Attr, "1">:$axis, DefaultValuedAttr<I64Attr, "0">:$block_size,
                       DefaultValuedStrAttr<StrAttr, "">:$output_dtype);
  let results = (outs AnyTensor:$result);
}

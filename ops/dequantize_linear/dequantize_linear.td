def Platen_DequantizeLinearOp : Platen_Op<"dequantize_linear"> {
  let summary = "integers to floats by scale and zero point";
  let arguments = (ins AnyTensor:$x, AnyTensor:$scale, Platen_OptionalTensor:$zero_point,
                       DefaultValuedAttr<I64Attr, "1">:$axis, DefaultValuedAttr<I64Attr, "0">:$block_size);
  let results = (outs AnyTensor:$result);
}

def Platen_LayerNormOp : Platen_Op<"layer_norm"> {
  let summary = "layer normalisation";
  let arguments = (ins AnyTensor:$x, AnyTensor:$scale, Platen_OptionalTensor:$bias,
                       DefaultValuedAttr<I64Attr, "-1">:$axis, DefaultValuedAttr<F64Attr, "1e-5">:$epsilon);
  let results = (outs AnyTensor:$result);
}

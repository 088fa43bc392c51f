def Platen_ReduceSumOp : Platen_Op<"reduce_sum"> {
  let summary = "sum over axes";
  let arguments = (ins AnyTensor:$x, Platen_OptionalTensor:$axes, DefaultValuedAttr<I64Attr, "1">:$keepdims,
                       DefaultValuedAttr<I64Attr, "0">:$noop_with_empty_axes);
  let results = (outs AnyTensor:$result);
}

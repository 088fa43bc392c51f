def Platen_ReduceMinOp : Platen_Op<"reduce_min"> {
  let summary = "minimum over axes";
  let arguments = (ins AnyTensor:$x, Platen_OptionalTensor:$axes, DefaultValuedAttr<I64Attr, "1">:$keepdims,
                       DefaultValuedAttr<I64Attr, "0">:$noop_with_empty_axes);
  let results = (outs AnyTensor:$result);
}

def Platen_ReduceOp : Platen_Op<"reduce"> {
  let summary = "reduction over axes by a function";
  let arguments = (ins AnyTensor:$x, Platen_OptionalTensor:$axes, StrAttr:$kind, DefaultValuedAttr<I64Attr, "1">:$keepdims,
                       DefaultValuedAttr<I64Attr, "0">:$noop_with_empty_axes);
  let results = (outs AnyTensor:$result);
}

def Platen_SplitOp : Platen_Op<"split"> {
  let summary = "cuts a tensor along an axis";
  let arguments = (ins AnyTensor:$x, Platen_OptionalTensor:$split, DefaultValuedAttr<I64Attr, "0">:$axis,
                       DefaultValuedAttr<I64Attr, "0">:$num_outputs);
  let results = (outs Variadic<AnyTensor>:$parts);
}

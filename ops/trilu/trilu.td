def Platen_TriluOp : Platen_Op<"trilu"> {
  let summary = "upper or lower triangle of matrices";
  let arguments = (ins AnyTensor:$x, Platen_OptionalTensor:$k, DefaultValuedAttr<I64Attr, "1">:$upper);
  let results = (outs AnyTensor:$result);
}

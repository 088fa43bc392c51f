def Platen_ReshapeOp : Platen_Op<"reshape"> {
  let summary = "the same elements under another shape";
  let arguments = (ins AnyTensor:$x, AnyTensor:$shape, DefaultValuedAttr<I64Attr, "0">:$allowzero);
  let results = (outs AnyTensor:$result);
}

def Platen_OneHotOp : Platen_Op<"one_hot"> {
  let summary = "rows that are one value at an index and another elsewhere";
  let arguments = (ins AnyTensor:$indices, AnyTensor:$depth, AnyTensor:$values, DefaultValuedAttr<I64Attr, "-1">:$axis);
  let results = (outs AnyTensor:$result);
}

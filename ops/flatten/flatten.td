def Platen_FlattenOp : Platen_Op<"flatten"> {
  let summary = "two axes out of many";
  let arguments = (ins AnyTensor:$x, DefaultValuedAttr<I64Attr, "1">:$axis);
  let results = (outs AnyTensor:$result);
}

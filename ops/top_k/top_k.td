def Platen_TopKOp : Platen_Op<"top_k"> {
  let summary = "the greatest or least elements along an axis";
  let arguments = (ins AnyTensor:$x, AnyTensor:$k, DefaultValuedAttr<I64Attr, "-1">:$axis,
                       DefaultValuedAttr<I64Attr, "1">:$largest, DefaultValuedAttr<I64Attr, "1">:$sorted);
  let results = (outs AnyTensor:$values, AnyTensor:$indices);
}

def Platen_CumulativeOp : Platen_Op<"cumulative"> {
  let summary = "running sum or product along an axis";
  let arguments = (ins AnyTensor:$x, AnyTensor:$axis, DefaultValuedAttr<I64Attr, "0">:$exclusive,
                       DefaultValuedAttr<I64Attr, "0">:$product, DefaultValuedAttr<I64Attr, "0">:$reverse);
  let results = (outs AnyTensor:$result);
}

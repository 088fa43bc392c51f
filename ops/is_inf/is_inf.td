def Platen_IsInfOp : Platen_Op<"is_inf"> {
  let summary = "elementwise test for infinity";
  let arguments = (ins AnyTensor:$x, DefaultValuedAttr<I64Attr, "1">:$detect_negative,
                       DefaultValuedAttr<I64Attr, "1">:$detect_positive);
  let results = (outs AnyTensor:$result);
}

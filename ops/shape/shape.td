def Platen_ShapeOp : Platen_Op<"shape"> {
  let summary = "the dimensions of a tensor";
  let arguments = (ins AnyTensor:$x, DefaultValuedAttr<I64Attr, "0">:$start,
                       DefaultValuedAttr<I64Attr, "INT64_MAX">:$end);
  let results = (outs AnyTensor:$result);
}

def Platen_GatherOp : Platen_Op<"gather"> {
  let summary = "picks slices along an axis by index";
  let arguments = (ins AnyTensor:$x, AnyTensor:$indices, DefaultValuedAttr<I64Attr, "0">:$axis);
  let results = (outs AnyTensor:$result);
}

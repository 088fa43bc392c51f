def Platen_GatherElementsOp : Platen_Op<"gather_elements"> {
  let summary = "elements chosen by index along an axis";
  let arguments = (ins AnyTensor:$x, AnyTensor:$indices, DefaultValuedAttr<I64Attr, "0">:$axis);
  let results = (outs AnyTensor:$result);
}

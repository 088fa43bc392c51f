def Platen_ScatterElementsOp : Platen_Op<"scatter_elements"> {
  let summary = "replaces elements chosen by index along an axis";
  let arguments = (ins AnyTensor:$x, AnyTensor:$indices, AnyTensor:$updates, DefaultValuedAttr<I64Attr, "0">:$axis,
                       DefaultValuedStrAttr<StrAttr, "none">:$reduction);
  let results = (outs AnyTensor:$result);
}

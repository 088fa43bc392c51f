def Platen_PadOp : Platen_Op<"pad"> {
  let summary = "elements around a tensor";
  let arguments = (ins AnyTensor:$x, AnyTensor:$pads, Platen_OptionalTensor:$value, Platen_OptionalTensor:$axes,
                       DefaultValuedStrAttr<StrAttr, "constant">:$mode);
  let results = (outs AnyTensor:$result);
}

def Platen_ScatterNdOp : Platen_Op<"scatter_nd"> {
  let summary = "replaces slices chosen by index tuples";
  let arguments = (ins AnyTensor:$x, AnyTensor:$indices, AnyTensor:$updates,
                       DefaultValuedStrAttr<StrAttr, "none">:$reduction);
  let results = (outs AnyTensor:$result);
}

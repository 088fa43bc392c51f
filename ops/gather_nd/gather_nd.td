def Platen_GatherNdOp : Platen_Op<"gather_nd"> {
  let summary = "picks slices by index tuples";
  let arguments = (ins AnyTensor:$x, AnyTensor:$indices, DefaultValuedAttr<I64Attr, "0">:$batch_dims);
  let results = (outs AnyTensor:$result);
}

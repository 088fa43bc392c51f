def Platen_RopeOp : Platen_Op<"rope"> {
  let summary = "rotary position embedding from tables";
  let arguments = (ins AnyTensor:$x, AnyTensor:$cos, AnyTensor:$sin, AnyTensor:$positions,
                       DefaultValuedAttr<I64Attr, "0">:$interleaved);
  let results = (outs AnyTensor:$result);
}

def Platen_FloorOp : Platen_Op<"floor"> {
  let summary = "elementwise rounding down";
  let arguments = (ins AnyTensor:$x);
  let results = (outs AnyTensor:$result);
}

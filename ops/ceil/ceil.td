def Platen_CeilOp : Platen_Op<"ceil"> {
  let summary = "elementwise rounding up";
  let arguments = (ins AnyTensor:$x);
  let results = (outs AnyTensor:$result);
}

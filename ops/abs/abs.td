def Platen_AbsOp : Platen_Op<"abs"> {
  let summary = "elementwise absolute value";
  let arguments = (ins AnyTensor:$x);
  let results = (outs AnyTensor:$result);
}

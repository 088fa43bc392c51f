def Platen_SigmoidOp : Platen_Op<"sigmoid"> {
  let summary = "elementwise logistic function";
  let arguments = (ins AnyTensor:$x);
  let results = (outs AnyTensor:$result);
}

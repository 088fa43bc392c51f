def Platen_ExpOp : Platen_Op<"exp"> {
  let summary = "elementwise exponential";
  let arguments = (ins AnyTensor:$x);
  let results = (outs AnyTensor:$result);
}

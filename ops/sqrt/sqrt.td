def Platen_SqrtOp : Platen_Op<"sqrt"> {
  let summary = "elementwise square root";
  let arguments = (ins AnyTensor:$x);
  let results = (outs AnyTensor:$result);
}

def Platen_ErfOp : Platen_Op<"erf"> {
  let summary = "elementwise error function";
  let arguments = (ins AnyTensor:$x);
  let results = (outs AnyTensor:$result);
}

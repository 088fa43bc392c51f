def Platen_AndOp : Platen_Op<"and"> {
  let summary = "elementwise logical and with broadcasting";
  let arguments = (ins AnyTensor:$a, AnyTensor:$b);
  let results = (outs AnyTensor:$result);
}

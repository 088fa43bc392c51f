def Platen_PowOp : Platen_Op<"pow"> {
  let summary = "elementwise power with broadcasting";
  let arguments = (ins AnyTensor:$a, AnyTensor:$b);
  let results = (outs AnyTensor:$result);
}

def Platen_MulOp : Platen_Op<"mul"> {
  let summary = "elementwise product with broadcasting";
  let arguments = (ins AnyTensor:$a, AnyTensor:$b);
  let results = (outs AnyTensor:$result);
}

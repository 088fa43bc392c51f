def Platen_SubOp : Platen_Op<"sub"> {
  let summary = "elementwise difference with broadcasting";
  let arguments = (ins AnyTensor:$a, AnyTensor:$b);
  let results = (outs AnyTensor:$result);
}

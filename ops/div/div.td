def Platen_DivOp : Platen_Op<"div"> {
  let summary = "elementwise quotient with broadcasting";
  let arguments = (ins AnyTensor:$a, AnyTensor:$b);
  let results = (outs AnyTensor:$result);
}

def Platen_WhereOp : Platen_Op<"where"> {
  let summary = "elementwise choice with broadcasting";
  let arguments = (ins AnyTensor:$condition, AnyTensor:$a, AnyTensor:$b);
  let results = (outs AnyTensor:$result);
}

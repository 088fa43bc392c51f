def Platen_NotOp : Platen_Op<"not"> {
  let summary = "elementwise logical negation";
  let arguments = (ins AnyTensor:$x);
  let results = (outs AnyTensor:$result);
}

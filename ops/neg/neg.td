def Platen_NegOp : Platen_Op<"neg"> {
  let summary = "elementwise negation";
  let arguments = (ins AnyTensor:$x);
  let results = (outs AnyTensor:$result);
}

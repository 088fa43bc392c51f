def Platen_ExpandOp : Platen_Op<"expand"> {
  let summary = "broadcasting to a shape";
  let arguments = (ins AnyTensor:$x, AnyTensor:$shape);
  let results = (outs AnyTensor:$result);
}

def Platen_SinOp : Platen_Op<"sin"> {
  let summary = "elementwise sine";
  let arguments = (ins AnyTensor:$x);
  let results = (outs AnyTensor:$result);
}

def Platen_ReluOp : Platen_Op<"relu"> {
  let summary = "elementwise positive part";
  let arguments = (ins AnyTensor:$x);
  let results = (outs AnyTensor:$result);
}

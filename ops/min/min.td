def Platen_MinOp : Platen_Op<"min"> {
  let summary = "elementwise minimum of one or more tensors with broadcasting";
  let arguments = (ins Variadic<AnyTensor>:$inputs);
  let results = (outs AnyTensor:$result);
}

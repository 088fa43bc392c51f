def Platen_MaxOp : Platen_Op<"max"> {
  let summary = "elementwise maximum of one or more tensors with broadcasting";
  let arguments = (ins Variadic<AnyTensor>:$inputs);
  let results = (outs AnyTensor:$result);
}

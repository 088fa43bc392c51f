def Platen_ConcatOp : Platen_Op<"concat"> {
  let summary = "tensors one after another along an axis";
  let arguments = (ins Variadic<AnyTensor>:$inputs, I64Attr:$axis);
  let results = (outs AnyTensor:$result);
}

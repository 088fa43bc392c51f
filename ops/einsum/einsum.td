def Platen_EinsumOp : Platen_Op<"einsum"> {
  let summary = "sum of products over named axes";
  let arguments = (ins Variadic<AnyTensor>:$inputs, StrAttr:$equation);
  let results = (outs AnyTensor:$result);
}

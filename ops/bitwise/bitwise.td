def Platen_BitwiseOp : Platen_Op<"bitwise"> {
  let summary = "elementwise bit operations of two integer tensors";
  let arguments = (ins AnyTensor:$a, AnyTensor:$b, StrAttr:$kind);
  let results = (outs AnyTensor:$result);
}

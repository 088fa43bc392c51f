def Platen_BitwiseNotOp : Platen_Op<"bitwise_not"> {
  let summary = "elementwise complement of bits";
  let arguments = (ins AnyTensor:$x);
  let results = (outs AnyTensor:$result);
}

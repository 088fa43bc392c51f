def Platen_XorOp : Platen_Op<"xor"> {
  let summary = "elementwise logical xor with broadcasting";
  let arguments = (ins AnyTensor:$a, AnyTensor:$b);
  let results = (outs AnyTensor:$result);
}

def Platen_LessOp : Platen_Op<"less"> {
  let summary = "elementwise I1 < I2, with broadcasting";
  let arguments = (ins AnyTensor:$a, AnyTensor:$b);
  let results = (outs AnyTensor:$result);
}

def Platen_GreaterOrEqualOp : Platen_Op<"greater_or_equal"> {
  let summary = "elementwise I1 >= I2, with broadcasting";
  let arguments = (ins AnyTensor:$a, AnyTensor:$b);
  let results = (outs AnyTensor:$result);
}

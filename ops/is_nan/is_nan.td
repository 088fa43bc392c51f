def Platen_IsNanOp : Platen_Op<"is_nan"> {
  let summary = "elementwise test for NaN";
  let arguments = (ins AnyTensor:$x);
  let results = (outs AnyTensor:$result);
}

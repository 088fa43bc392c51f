def Platen_AddOp : Platen_Op<"add"> {
  let summary = "elementwise sum with broadcasting";
  let arguments = (ins AnyTensor:$a, AnyTensor:$b);
  let results = (outs AnyTensor:$result);
}

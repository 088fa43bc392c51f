def Platen_OrOp : Platen_Op<"or"> {
  let summary = "elementwise logical or with broadcasting";
  let arguments = (ins AnyTensor:$a, AnyTensor:$b);
  let results = (outs AnyTensor:$result);
}

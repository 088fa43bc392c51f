def Platen_LogOp : Platen_Op<"log"> {
  let summary = "elementwise natural logarithm";
  let arguments = (ins AnyTensor:$x);
  let results = (outs AnyTensor:$result);
}

def Platen_GeluOp : Platen_Op<"gelu"> {
  let summary = "Gaussian error linear unit";
  let arguments = (ins AnyTensor:$x, DefaultValuedStrAttr<StrAttr, "none">:$approximate);
  let results = (outs AnyTensor:$result);
}

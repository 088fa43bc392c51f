def Platen_EqualOp : Platen_Op<"equal"> {
  let summary = "elementwise equality, with broadcasting";
  let arguments = (ins AnyTensor:$a, AnyTensor:$b);
  let results = (outs AnyTensor:$result);
}

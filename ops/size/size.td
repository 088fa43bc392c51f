def Platen_SizeOp : Platen_Op<"size"> {
  let summary = "number of elements";
  let arguments = (ins AnyTensor:$x);
  let results = (outs AnyTensor:$result);
}

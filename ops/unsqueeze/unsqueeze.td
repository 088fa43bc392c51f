def Platen_UnsqueezeOp : Platen_Op<"unsqueeze"> {
  let summary = "inserts axes of length 1";
  let arguments = (ins AnyTensor:$x, AnyTensor:$axes);
  let results = (outs AnyTensor:$result);
}

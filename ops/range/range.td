def Platen_RangeOp : Platen_Op<"range"> {
  let summary = "an arithmetic progression";
  let arguments = (ins AnyTensor:$start, AnyTensor:$limit, AnyTensor:$delta);
  let results = (outs AnyTensor:$result);
}

def Platen_ClipOp : Platen_Op<"clip"> {
  let summary = "limits elements to an interval";
  let arguments = (ins AnyTensor:$x, Platen_OptionalTensor:$low, Platen_OptionalTensor:$high);
  let results = (outs AnyTensor:$result);
}

def Platen_SliceOp : Platen_Op<"slice"> {
  let summary = "a strided part of a tensor";
  let arguments = (ins AnyTensor:$x, AnyTensor:$starts, AnyTensor:$ends, Platen_OptionalTensor:$axes,
                       Platen_OptionalTensor:$steps);
  let results = (outs AnyTensor:$result);
}

def Platen_SqueezeOp : Platen_Op<"squeeze"> {
  let summary = "removes axes of length 1";
  let arguments = (ins AnyTensor:$x, Platen_OptionalTensor:$axes);
  let results = (outs AnyTensor:$result);
}

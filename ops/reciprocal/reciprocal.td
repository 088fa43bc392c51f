def Platen_ReciprocalOp : Platen_Op<"reciprocal"> {
  let summary = "elementwise reciprocal";
  let arguments = (ins AnyTensor:$x);
  let results = (outs AnyTensor:$result);
}

def Platen_TileOp : Platen_Op<"tile"> {
  let summary = "repetition along axes";
  let arguments = (ins AnyTensor:$x, AnyTensor:$repeats);
  let results = (outs AnyTensor:$result);
}

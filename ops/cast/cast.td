def Platen_CastOp : Platen_Op<"cast"> {
  let summary = "conversion to another dtype";
  let arguments = (ins AnyTensor:$x, StrAttr:$to);
  let results = (outs AnyTensor:$result);
}

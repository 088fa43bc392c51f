def Platen_CastLikeOp : Platen_Op<"cast_like"> {
  let summary = "conversion to the dtype of another tensor";
  let arguments = (ins AnyTensor:$x, AnyTensor:$like);
  let results = (outs AnyTensor:$result);
}

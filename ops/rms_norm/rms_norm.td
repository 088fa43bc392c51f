def Platen_RmsNormOp : Platen_Op<"rms_norm"> {
  let summary = "root-mean-square normalisation over the last axis";
  let arguments = (ins AnyTensor:$x, AnyTensor:$scale, DefaultValuedAttr<F64Attr, "1e-5">:$epsilon);
  let results = (outs AnyTensor:$result);
}

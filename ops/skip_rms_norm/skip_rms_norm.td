def Platen_SkipRmsNormOp : Platen_Op<"skip_rms_norm"> {
  let summary = "residual sum and its root-mean-square normalisation";
  let arguments = (ins AnyTensor:$x, AnyTensor:$skip, AnyTensor:$scale, Platen_OptionalTensor:$bias,
                       DefaultValuedAttr<F64Attr, "1e-12">:$epsilon);
  let results = (outs AnyTensor:$result, AnyTensor:$sum);
}

def Platen_GemmOp : Platen_Op<"gemm"> {
  let summary = "scaled matrix product plus matrix";
  let arguments = (ins AnyTensor:$a, AnyTensor:$b, Platen_OptionalTensor:$c,
                       DefaultValuedAttr<F64Attr, "1.0">:$alpha, DefaultValuedAttr<F64Attr, "1.0">:$beta,
                       DefaultValuedAttr<I64Attr, "0">:$transA, DefaultValuedAttr<I64Attr, "0">:$transB);
  let results = (outs AnyTensor:$result);
}

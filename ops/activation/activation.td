def Platen_ActivationOp : Platen_Op<"activation"> {
  let summary = "elementwise activation function";
  let arguments = (ins AnyTensor:$x, StrAttr:$kind, DefaultValuedAttr<F64Attr, "0.0">:$alpha,
                       DefaultValuedAttr<F64Attr, "0.0">:$beta);
  let results = (outs AnyTensor:$result);
}

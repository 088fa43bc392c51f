def Platen_PagedAttentionOp : Platen_Op<"paged_attention"> {
  let summary = "causal attention that owns a paged KV cache";
  let arguments = (ins AnyTensor:$q, AnyTensor:$k, AnyTensor:$v, AnyTensor:$positions, AnyTensor:$sequences,
                       Platen_OptionalTensor:$sinks, I64Attr:$layer, F64Attr:$scale,
                       DefaultValuedAttr<I64Attr, "0">:$window, DefaultValuedAttr<F64Attr, "0.0">:$softcap);
  let results = (outs AnyTensor:$result);
}

def Platen_RotaryEmbeddingOp : Platen_Op<"rotary_embedding"> {
  let summary = "rotary position embedding of exported graphs";
  let arguments = (ins AnyTensor:$x, AnyTensor:$position_ids, AnyTensor:$cos_cache, AnyTensor:$sin_cache,
                       DefaultValuedAttr<I64Attr, "0">:$interleaved, DefaultValuedAttr<I64Attr, "0">:$num_heads,
                       DefaultValuedAttr<I64Attr, "0">:$rotary_embedding_dim);
  let results = (outs AnyTensor:$result);
}

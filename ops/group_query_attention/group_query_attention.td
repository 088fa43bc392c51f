def Platen_GroupQueryAttentionOp : Platen_Op<"group_query_attention"> {
  let summary = "grouped-query attention over a past";
  let arguments = (ins AnyTensor:$query, Platen_OptionalTensor:$key, Platen_OptionalTensor:$value,
                       Platen_OptionalTensor:$past_key, Platen_OptionalTensor:$past_value, AnyTensor:$seqlens_k,
                       AnyTensor:$total_sequence_length, Platen_OptionalTensor:$cos_cache,
                       Platen_OptionalTensor:$sin_cache, Platen_OptionalTensor:$position_ids,
                       Platen_OptionalTensor:$attention_bias, Platen_OptionalTensor:$head_sink,
                       Platen_OptionalTensor:$k_scale, Platen_OptionalTensor:$v_scale,
                       Platen_OptionalTensor:$q_norm_weight, Platen_OptionalTensor:$k_norm_weight,
                       I64Attr:$num_heads, I64Attr:$kv_num_heads, DefaultValuedAttr<F64Attr, "0.0">:$scale,
                       DefaultValuedAttr<F64Attr, "0.0">:$softcap, DefaultValuedAttr<I64Attr, "0">:$do_rotary,
                       DefaultValuedAttr<I64Attr, "0">:$rotary_interleaved,
                       DefaultValuedAttr<I64Attr, "-1">:$local_window_size,
                       DefaultValuedAttr<I64Attr, "0">:$sliding_window_cache,
                       DefaultValuedAttr<I64Attr, "0">:$smooth_softmax,
                       DefaultValuedAttr<F64Attr, "1e-6">:$qk_norm_epsilon);
  let results = (outs AnyTensor:$output, AnyTensor:$present_key, AnyTensor:$present_value);
}

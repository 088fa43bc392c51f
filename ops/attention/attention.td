def Platen_AttentionOp : Platen_Op<"attention"> {
  let summary = "scaled dot product attention over whole sequences";
  let arguments = (ins AnyTensor:$query, AnyTensor:$key, AnyTensor:$value, Platen_OptionalTensor:$mask,
                       Platen_OptionalTensor:$past_key, Platen_OptionalTensor:$past_value,
                       Platen_OptionalTensor:$valid_keys, DefaultValuedAttr<I64Attr, "0">:$is_causal,
                       DefaultValuedAttr<I64Attr, "0">:$q_num_heads, DefaultValuedAttr<I64Attr, "0">:$kv_num_heads,
                       DefaultValuedAttr<F64Attr, "0.0">:$scale, DefaultValuedAttr<F64Attr, "0.0">:$softcap,
                       DefaultValuedAttr<I64Attr, "0">:$qk_matmul_output_mode,
                       DefaultValuedAttr<I64Attr, "-1">:$left_window_size,
                       DefaultValuedAttr<I64Attr, "-1">:$right_window_size);
  let results = (outs AnyTensor:$output, AnyTensor:$present_key, AnyTensor:$present_value, AnyTensor:$scores);
}

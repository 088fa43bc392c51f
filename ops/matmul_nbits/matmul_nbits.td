def Platen_MatmulNbitsOp : Platen_Op<"matmul_nbits"> {
  let summary = "matrix product by block-quantised weights";
  let arguments = (ins AnyTensor:$a, AnyTensor:$b, AnyTensor:$scales, Platen_OptionalTensor:$zero_points,
                       Platen_OptionalTensor:$bias, I64Attr:$K, I64Attr:$N, DefaultValuedAttr<I64Attr, "4">:$bits,
                       I64Attr:$block_size, DefaultValuedAttr<I64Attr, "0">:$accuracy_level);
  let results = (outs AnyTensor:$result);
}

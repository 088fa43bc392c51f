def Platen_MatmulOp : Platen_Op<"matmul"> {
  let summary = "matrix product with batch broadcasting";
  let arguments = (ins AnyTensor:$a, AnyTensor:$b, DefaultValuedAttr<I64Attr, "0">:$transpose_b);
  let results = (outs AnyTensor:$result);
}

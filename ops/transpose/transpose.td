def Platen_TransposeOp : Platen_Op<"transpose"> {
  let summary = "permutation of axes";
  let arguments = (ins AnyTensor:$x, DefaultValuedAttr<DenseI64ArrayAttr, "{}">:$perm);
  let results = (outs AnyTensor:$result);
}

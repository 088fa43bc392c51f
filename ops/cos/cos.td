def Platen_CosOp : Platen_Op<"cos"> {
  let summary = "elementwise cosine";
  let arguments = (ins AnyTensor:$x);
  let results = (outs AnyTensor:$result);
}

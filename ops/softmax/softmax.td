def Platen_SoftmaxOp : Platen_Op<"softmax"> {
  let summary = "softmax along an axis";
  let arguments = (ins AnyTensor:$x, DefaultValuedAttr<I64Attr, "-1">:$axis);
  let results = (outs AnyTensor:$result);
}

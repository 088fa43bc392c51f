def Platen_LogSoftmaxOp : Platen_Op<"log_softmax"> {
  let summary = "logarithm of softmax along an axis";
  let arguments = (ins AnyTensor:$x, DefaultValuedAttr<I64Attr, "-1">:$axis);
  let results = (outs AnyTensor:$result);
}

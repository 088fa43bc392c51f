def Platen_ElementaryOp : Platen_Op<"elementary"> {
  let summary = "elementwise trigonometric and hyperbolic functions and rounding";
  let arguments = (ins AnyTensor:$x, StrAttr:$kind);
  let results = (outs AnyTensor:$result);
}

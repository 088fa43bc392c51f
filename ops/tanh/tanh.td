def Platen_TanhOp : Platen_Op<"tanh"> {
  let summary = "elementwise hyperbolic tangent";
  let arguments = (ins AnyTensor:$x);
  let results = (outs AnyTensor:$result);
}

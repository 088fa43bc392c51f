def Platen_ConstantOfShapeOp : Platen_Op<"constant_of_shape"> {
  let summary = "a tensor filled with one value";
  let arguments = (ins AnyTensor:$shape, ElementsAttr:$value);
  let results = (outs AnyTensor:$result);
}

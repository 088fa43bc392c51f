def Platen_HardmaxOp : Platen_Op<"hardmax"> {
  let summary = "one at the first greatest element of each row";
  let arguments = (ins AnyTensor:$x, DefaultValuedAttr<I64Attr, "-1">:$axis);
  let results = (outs AnyTensor:$result);
}

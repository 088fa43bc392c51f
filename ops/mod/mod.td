def Platen_ModOp : Platen_Op<"mod"> {
  let summary = "elementwise remainder of a division";
  let arguments = (ins AnyTensor:$a, AnyTensor:$b, DefaultValuedAttr<I64Attr, "0">:$fmod);
  let results = (outs AnyTensor:$result);
}

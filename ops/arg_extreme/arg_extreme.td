def Platen_ArgExtremeOp : Platen_Op<"arg_extreme"> {
  let summary = "index of the greatest or least element along an axis";
  let arguments = (ins AnyTensor:$x, DefaultValuedAttr<I64Attr, "0">:$axis, DefaultValuedAttr<I64Attr, "1">:$keepdims,
                       DefaultValuedAttr<I64Attr, "1">:$largest, DefaultValuedAttr<I64Attr, "0">:$select_last_index);
  let results = (outs AnyTensor:$result);
}

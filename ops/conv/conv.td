def Platen_ConvOp : Platen_Op<"conv"> {
  let summary = "convolution over one or more axes";
  let arguments = (ins AnyTensor:$x, AnyTensor:$weight, Platen_OptionalTensor:$bias,
                       DefaultValuedStrAttr<StrAttr, "NOTSET">:$auto_pad, DefaultValuedAttr<DenseI64ArrayAttr, "{}">:$dilations,
                       DefaultValuedAttr<I64Attr, "1">:$group, DefaultValuedAttr<DenseI64ArrayAttr, "{}">:$pads,
                       DefaultValuedAttr<DenseI64ArrayAttr, "{}">:$strides);
  let results = (outs AnyTensor:$result);
}

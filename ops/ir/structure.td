// Ops of the dialect that are no operators: weights, constants, absent operands, fused regions.
include "ops/ir/platen_base.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/FunctionInterfaces.td"

def Platen_InitializerOp : Op<Platen_Dialect, "initializer", [Symbol]> {
  let summary = "weight bytes that lie in a file";
  let description = [{
    Names `bytes` bytes at `offset` of `file` (relative to the model's folder) as a tensor of type `type`, row-major, little endian,
    4-bit types two a byte. The bytes never enter the IR. Module level only.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttr:$type, StrAttr:$file, I64Attr:$offset, I64Attr:$bytes);
  let assemblyFormat = "$sym_name attr-dict";
}

def Platen_WeightOp : Op<Platen_Dialect, "weight", [Pure]> {
  let summary = "brings an initializer into a function";
  let arguments = (ins FlatSymbolRefAttr:$initializer);
  let results = (outs AnyTensor:$result);
  let assemblyFormat = "$initializer attr-dict `:` type($result)";
}

def Platen_ConstantOp : Op<Platen_Dialect, "constant", [Pure, ConstantLike]> {
  let summary = "a small tensor known at compile time";
  let arguments = (ins ElementsAttr:$value);
  let results = (outs AnyTensor:$result);
  let assemblyFormat = "attr-dict $value `:` type($result)";
  let hasFolder = 1;
  let builders = [OpBuilder<(ins "::mlir::ElementsAttr":$value), [{
    build($_builder, $_state, value.getType(), value);
  }]>];
}

def Platen_AbsentOp : Op<Platen_Dialect, "absent", [Pure]> {
  let summary = "stands where an optional operand is not given";
  let results = (outs NoneType:$result);
  let assemblyFormat = "attr-dict";
}

def Platen_YieldOp : Op<Platen_Dialect, "yield", [Pure, Terminator, ReturnLike]> {
  let summary = "ends the body of a fused region";
  let arguments = (ins Variadic<AnyTensor>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
}

def Platen_FusedOp : Op<Platen_Dialect, "fused", [Pure, IsolatedFromAbove, SingleBlock]> {
  let summary = "ordinary ops that one kernel executes";
  let description = [{
    The body holds the ordinary ops that were fused, over block arguments of the operands' types, so that the reference
    interpreter executes a fused graph as it executes any other. `kind` names what was recognised; selection maps it to kernels.
  }];
  let arguments = (ins StrAttr:$kind, Variadic<AnyTensor>:$inputs);
  let results = (outs Variadic<AnyTensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$kind `(` $inputs `)` attr-dict `:` functional-type($inputs, $results) $body";
  let hasVerifier = 1;
}

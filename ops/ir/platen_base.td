// What every op of the dialect shares. Shape inference goes to the catalog through one adaptor (adaptor.h).
#ifndef PLATEN_OPS_IR_PLATEN_BASE
#define PLATEN_OPS_IR_PLATEN_BASE

include "mlir/IR/OpBase.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Platen_Dialect : Dialect {
  let name = "platen";
  let cppNamespace = "::platen::ir";
  let summary = "transformer graphs, from imported ONNX to the fused serving form";
  let hasConstantMaterializer = 1;
  // Attributes stay in the op's dictionary, so that the adaptor reads those of every op alike.
  let usePropertiesForAttributes = 0;
  let extraClassDeclaration = [{
    /// Adds every operator of the catalog; initialize() calls it.
    void registerOperators();
  }];
}

// An operand that may be platen.absent.
def Platen_OptionalTensor : AnyTypeOf<[AnyTensor, NoneType], "tensor or absent">;

// An operator of the catalog. Operands stand at fixed positions; only the last may be variadic.
class Platen_Op<string mnemonic, list<Trait> traits = []>
    : Op<Platen_Dialect, mnemonic, !listconcat([Pure, InferTypeOpInterface], traits)> {
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
  code catalogMethods = [{
    static ::llvm::LogicalResult inferReturnTypes(
        ::mlir::MLIRContext *context, std::optional<::mlir::Location> location, ::mlir::ValueRange operands,
        ::mlir::DictionaryAttr attributes, ::mlir::OpaqueProperties properties, ::mlir::RegionRange regions,
        ::llvm::SmallVectorImpl<::mlir::Type> &inferred) {
      (void)properties, (void)regions; // catalog ops have neither
      return ::platen::ir::inferCatalogTypes("}] # mnemonic # [{", context, location, operands, attributes, inferred);
    }
    static bool isCompatibleReturnTypes(::mlir::TypeRange left, ::mlir::TypeRange right) {
      return ::platen::ir::compatibleTypes(left, right);
    }
  }];
  let extraClassDeclaration = catalogMethods;
}

#endif

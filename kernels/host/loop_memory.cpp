#include "kernels/host/loop_memory.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace platen::kernels {

namespace arith = mlir::arith;
namespace LLVM = mlir::LLVM;
namespace loops = ops::loops;
using base::DType;

Type loopType(Ir &ir, loops::Kind kind) {
  switch (kind) {
  case loops::Kind::kBool:
    return ir.i(1);
  case loops::Kind::kInt:
    return ir.i(64);
  case loops::Kind::kF32:
    return ir.f32();
  case loops::Kind::kF64:
    return ir.f64();
  }
  return {};
}

std::vector<LoopTensor> loopTensors(Ir &ir, const loops::Program &program) {
  mlir::MLIRContext *context = ir.builder().getContext();
  const auto domain = LLVM::AliasScopeDomainAttr::get(context);
  std::vector<LoopTensor> tensors;
  std::vector<mlir::Attribute> scopes;
  for (uint32_t i = 0; i < program.tensors.size(); ++i) {
    scopes.push_back(LLVM::AliasScopeAttr::get(domain));
    tensors.push_back({program.tensors[i].dtype, ir.operand(i + 1), {}, {}});
  }
  for (uint32_t i = 0; i < tensors.size(); ++i) {
    std::vector<mlir::Attribute> others;
    for (uint32_t other = 0; other < tensors.size(); ++other)
      if (other != i && (program.isStored(i) || program.isStored(other)))
        others.push_back(scopes[other]);
    tensors[i].itself = mlir::ArrayAttr::get(context, scopes[i]);
    tensors[i].others = mlir::ArrayAttr::get(context, others);
  }
  return tensors;
}

namespace {

/// What an element is in memory; of 4-bit ones what is left of a byte.
Type storageType(Ir &ir, DType dtype) {
  switch (dtype) {
  case DType::kF32:
    return ir.f32();
  case DType::kF64:
    return ir.f64();
  case DType::kF16:
    return ir.f16();
  case DType::kBF16:
    return ir.i(16);
  default:
    return ir.i(static_cast<unsigned>(base::bitWidth(dtype)));
  }
}

Value bf16ToFloat(Ir &ir, Value bits) {
  return ir.bitcast(ir.shl(ir.zeroExtend(bits, ir.i(32)), ir.intConst(ir.i(32), 16)), ir.f32());
}

/// Rounds to nearest even; NaN stays NaN, quiet.
Value floatToBf16(Ir &ir, Value value) {
  const Type i32 = ir.i(32);
  const Value bits = ir.bitcast(value, i32), sixteen = ir.intConst(i32, 16);
  const Value high = ir.shrLogical(bits, sixteen);
  const Value bias = ir.add(ir.bitAnd(high, ir.intConst(i32, 1)), ir.intConst(i32, 0x7fff));
  const Value rounded = ir.shrLogical(ir.add(bits, bias), sixteen);
  const Value isNan = ir.builder().create<arith::CmpFOp>(arith::CmpFPredicate::UNO, value, value);
  return ir.truncate(ir.select(isNan, ir.bitOr(high, ir.intConst(i32, 0x40)), rounded), ir.i(16));
}

/// An element's storage as a value of its kind.
Value widen(Ir &ir, DType dtype, Value raw) {
  switch (dtype) {
  case DType::kF32:
  case DType::kF64:
  case DType::kI64:
  case DType::kU64:
    return raw;
  case DType::kF16:
    return ir.extendFloat(raw, ir.f32());
  case DType::kBF16:
    return bf16ToFloat(ir, raw);
  case DType::kBool:
    return ir.notEqual(raw, ir.intConst(ir.i(8), 0));
  case DType::kI32:
  case DType::kI16:
  case DType::kI8:
  case DType::kI4:
    return ir.signExtend(raw, ir.i(64));
  case DType::kU32:
  case DType::kU16:
  case DType::kU8:
  case DType::kU4:
    return ir.zeroExtend(raw, ir.i(64));
  }
  return {};
}

/// The reverse: floats round, integers wrap.
Value narrow(Ir &ir, DType dtype, Value value) {
  switch (dtype) {
  case DType::kF32:
  case DType::kF64:
  case DType::kI64:
  case DType::kU64:
    return value;
  case DType::kF16:
    return ir.builder().create<arith::TruncFOp>(ir.f16(), value);
  case DType::kBF16:
    return floatToBf16(ir, value);
  case DType::kBool:
    return ir.zeroExtend(value, ir.i(8));
  default:
    return ir.truncate(value, storageType(ir, dtype));
  }
}

bool isHalfByte(DType dtype) { return base::bitWidth(dtype) == 4; }

class Access {
public:
  Access(Ir &ir, const LoopTensor &tensor, Value index) : ir_(ir), tensor_(tensor) {
    if (isHalfByte(tensor.dtype)) {
      const Value low = ir.truncate(ir.bitAnd(index, ir.i64(1)), ir.i(8));
      shift_ = ir.shl(low, ir.intConst(ir.i(8), 2));
      index = ir.shrLogical(index, ir.i64(1));
      type_ = ir.i(8);
    } else {
      type_ = storageType(ir, tensor.dtype);
    }
    address_ = ir.builder().create<LLVM::GEPOp>(ir.ptr(), type_, tensor.base,
                                                llvm::ArrayRef<LLVM::GEPArg>{index},
                                                /*inbounds=*/true);
  }

  Value load() {
    const Value raw = loadRaw();
    return shift_ ? ir_.truncate(ir_.shrLogical(raw, shift_), ir_.i(4)) : raw;
  }

  void store(Value element) {
    if (shift_) {
      const Value mask = ir_.shl(ir_.intConst(ir_.i(8), 15), shift_);
      const Value rest = ir_.bitAnd(loadRaw(), ir_.bitXor(mask, ir_.intConst(ir_.i(8), -1)));
      element = ir_.bitOr(rest, ir_.shl(ir_.zeroExtend(element, ir_.i(8)), shift_));
    }
    auto op = ir_.builder().create<LLVM::StoreOp>(element, address_, alignment());
    op.setAliasScopesAttr(tensor_.itself);
    op.setNoaliasScopesAttr(tensor_.others);
  }

private:
  unsigned alignment() const { return std::max(1U, type_.getIntOrFloatBitWidth() / 8); }
  Value loadRaw() {
    auto op = ir_.builder().create<LLVM::LoadOp>(type_, address_, alignment());
    op.setAliasScopesAttr(tensor_.itself);
    op.setNoaliasScopesAttr(tensor_.others);
    return op;
  }

  Ir &ir_;
  const LoopTensor &tensor_;
  Type type_;
  Value shift_, address_; ///< shift_: of a half byte, else null
};

} // namespace

Value loadElement(Ir &ir, const LoopTensor &tensor, Value index) {
  return widen(ir, tensor.dtype, Access(ir, tensor, index).load());
}

void storeElement(Ir &ir, const LoopTensor &tensor, Value index, Value value) {
  Access(ir, tensor, index).store(narrow(ir, tensor.dtype, value));
}

Value heldAs(Ir &ir, DType dtype, Value value) {
  return widen(ir, dtype, narrow(ir, dtype, value));
}

} // namespace platen::kernels

// RUN: platen-opt %s --passes="func.func(platen-fuse-matmul)" | FileCheck %s

platen.initializer @gate {type = tensor<8x16xf32>, file = "m", offset = 0 : i64, bytes = 512 : i64}
platen.initializer @up {type = tensor<8x16xf32>, file = "m", offset = 512 : i64, bytes = 512 : i64}
platen.initializer @out {type = tensor<8x8xf32>, file = "m", offset = 1024 : i64, bytes = 256 : i64}

// Gate and up of one input, combined elementwise, are one kernel.
// CHECK-LABEL: func.func @gated
func.func @gated(%x: tensor<?x8xf32>) -> tensor<?x16xf32> {
  // CHECK: %[[Y:.*]] = platen.fused "gated_ffn"(%arg0, %{{.*}}, %{{.*}}) : (tensor<?x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>) -> tensor<?x16xf32>
  // CHECK: platen.matmul
  // CHECK: platen.gelu
  // CHECK: platen.matmul
  // CHECK: platen.mul
  // CHECK: return %[[Y]]
  %wg = platen.weight @gate : tensor<8x16xf32>
  %wu = platen.weight @up : tensor<8x16xf32>
  %g = platen.matmul %x, %wg : (tensor<?x8xf32>, tensor<8x16xf32>) -> tensor<?x16xf32>
  %a = platen.gelu %g {approximate = "tanh"} : (tensor<?x16xf32>) -> tensor<?x16xf32>
  %u = platen.matmul %x, %wu : (tensor<?x8xf32>, tensor<8x16xf32>) -> tensor<?x16xf32>
  %y = platen.mul %a, %u : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}

// The residual sum joins; its result is used twice, which is no obstacle.
// CHECK-LABEL: func.func @residual
func.func @residual(%x: tensor<?x8xf32>, %h: tensor<?x8xf32>, %w: tensor<8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK: %[[H:.*]] = platen.fused "matmul_residual"
  // CHECK: platen.rms_norm %[[H]]
  %wo = platen.weight @out : tensor<8x8xf32>
  %o = platen.matmul %x, %wo : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %s = platen.add %h, %o : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %n = platen.rms_norm %s, %w : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %n, %s : tensor<?x8xf32>, tensor<?x8xf32>
}

// A product whose raw value is needed too cannot hide in an epilogue.
// CHECK-LABEL: func.func @escapes
func.func @escapes(%x: tensor<?x8xf32>) -> (tensor<?x16xf32>, tensor<?x16xf32>) {
  // CHECK-NOT: platen.fused
  // CHECK: return
  %wg = platen.weight @gate : tensor<8x16xf32>
  %g = platen.matmul %x, %wg : (tensor<?x8xf32>, tensor<8x16xf32>) -> tensor<?x16xf32>
  %a = platen.gelu %g {approximate = "tanh"} : (tensor<?x16xf32>) -> tensor<?x16xf32>
  return %g, %a : tensor<?x16xf32>, tensor<?x16xf32>
}

// A value that is made after the matmul, from its result, cannot be an operand of its epilogue.
// CHECK-LABEL: func.func @cycle
func.func @cycle(%x: tensor<?x8xf32>, %w: tensor<8xf32>) -> tensor<?x8xf32> {
  // CHECK-NOT: platen.fused
  // CHECK: return
  %wo = platen.weight @out : tensor<8x8xf32>
  %o = platen.matmul %x, %wo : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %n = platen.rms_norm %o, %w : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %s = platen.add %o, %n : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %s : tensor<?x8xf32>
}

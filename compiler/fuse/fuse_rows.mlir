// RUN: platen-opt %s --passes="func.func(platen-fuse-embedding,platen-fuse-rows)" | FileCheck %s

platen.initializer @table {type = tensor<32x8xf32>, file = "m", offset = 0 : i64, bytes = 1024 : i64}
platen.initializer @w1 {type = tensor<8xf32>, file = "m", offset = 1024 : i64, bytes = 32 : i64}
platen.initializer @w2 {type = tensor<8xf32>, file = "m", offset = 1056 : i64, bytes = 32 : i64}

// Gemma's norm of a branch, residual sum and next norm are one kernel with two results.
// CHECK-LABEL: func.func @norm_add_norm
func.func @norm_add_norm(%h: tensor<?x8xf32>, %x: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK: %[[R:.*]]:2 = platen.fused "rows"
  // CHECK: platen.rms_norm
  // CHECK: %[[H:.*]] = platen.add
  // CHECK: %[[N:.*]] = platen.rms_norm %[[H]]
  // CHECK: platen.yield %[[H]], %[[N]]
  // CHECK: return %[[R]]#0, %[[R]]#1
  %w1 = platen.weight @w1 : tensor<8xf32>
  %w2 = platen.weight @w2 : tensor<8xf32>
  %0 = platen.rms_norm %x, %w1 : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %1 = platen.add %h, %0 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %2 = platen.rms_norm %1, %w2 : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %1, %2 : tensor<?x8xf32>, tensor<?x8xf32>
}

// The table's rows and their scale are one kernel; the norm behind it another.
// CHECK-LABEL: func.func @embedding
func.func @embedding(%tokens: tensor<?xi32>) -> tensor<?x8xf32> {
  // CHECK: %[[E:.*]] = platen.fused "embedding"
  // CHECK: platen.gather
  // CHECK: platen.mul
  // CHECK: platen.fused "rows"(%[[E]]
  %table = platen.weight @table : tensor<32x8xf32>
  %w1 = platen.weight @w1 : tensor<8xf32>
  %scale = platen.constant dense<2.5> : tensor<f32> : tensor<f32>
  %0 = platen.gather %table, %tokens : (tensor<32x8xf32>, tensor<?xi32>) -> tensor<?x8xf32>
  %1 = platen.mul %0, %scale : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %2 = platen.rms_norm %1, %w1 : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %2 : tensor<?x8xf32>
}

// An op that is not row-wise reads the value in between: what stands behind it stays out.
// CHECK-LABEL: func.func @interrupted
func.func @interrupted(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK: platen.fused "rows"
  // CHECK: platen.softmax
  // CHECK: platen.fused "rows"
  %w1 = platen.weight @w1 : tensor<8xf32>
  %0 = platen.rms_norm %x, %w1 : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %1 = platen.softmax %0 {axis = -1 : i64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %2 = platen.add %0, %1 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %2 : tensor<?x8xf32>
}

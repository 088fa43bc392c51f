// RUN: platen-opt %s --passes="func.func(platen-fuse-rms-norm)" | FileCheck %s

// As torch exports it: pow, reduce_mean, add, sqrt, reciprocal, two products.
// CHECK-LABEL: func.func @reciprocal
func.func @reciprocal(%x: tensor<?x8xf32>, %w: tensor<8xf32>) -> tensor<?x8xf32> {
  // CHECK-NOT: platen.reduce_mean
  // CHECK: %[[Y:.*]] = platen.rms_norm %arg0, %arg1 {epsilon = 9.9999999747524271E-7 : f64}
  // CHECK-NEXT: return %[[Y]]
  %two = platen.constant dense<2.0> : tensor<f32> : tensor<f32>
  %eps = platen.constant dense<1.0e-6> : tensor<f32> : tensor<f32>
  %axes = platen.constant dense<-1> : tensor<1xi64> : tensor<1xi64>
  %0 = platen.pow %x, %two : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %1 = platen.reduce_mean %0, %axes : (tensor<?x8xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %2 = platen.add %1, %eps : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %3 = platen.sqrt %2 : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %4 = platen.reciprocal %3 : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %5 = platen.mul %x, %4 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %6 = platen.mul %5, %w : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %6 : tensor<?x8xf32>
}

// As TorchScript exports it, per head: 1 / root, the weight on the left.
// CHECK-LABEL: func.func @quotient
func.func @quotient(%x: tensor<?x4x8xf32>, %w: tensor<8xf32>) -> tensor<?x4x8xf32> {
  // CHECK: platen.rms_norm %arg0, %arg1 {epsilon = 2.500000e-01 : f64}
  // CHECK-NEXT: return
  %one = platen.constant dense<1.0> : tensor<f32> : tensor<f32>
  %eps = platen.constant dense<0.25> : tensor<f32> : tensor<f32>
  %axes = platen.constant dense<2> : tensor<1xi64> : tensor<1xi64>
  %0 = platen.mul %x, %x : (tensor<?x4x8xf32>, tensor<?x4x8xf32>) -> tensor<?x4x8xf32>
  %1 = platen.reduce_mean %0, %axes : (tensor<?x4x8xf32>, tensor<1xi64>) -> tensor<?x4x1xf32>
  %2 = platen.add %eps, %1 : (tensor<f32>, tensor<?x4x1xf32>) -> tensor<?x4x1xf32>
  %3 = platen.sqrt %2 : (tensor<?x4x1xf32>) -> tensor<?x4x1xf32>
  %4 = platen.div %one, %3 : (tensor<f32>, tensor<?x4x1xf32>) -> tensor<?x4x1xf32>
  %5 = platen.mul %x, %4 : (tensor<?x4x8xf32>, tensor<?x4x1xf32>) -> tensor<?x4x8xf32>
  %6 = platen.mul %w, %5 : (tensor<8xf32>, tensor<?x4x8xf32>) -> tensor<?x4x8xf32>
  return %6 : tensor<?x4x8xf32>
}

// The mean of another value's squares is no norm.
// CHECK-LABEL: func.func @other_value
func.func @other_value(%x: tensor<?x8xf32>, %z: tensor<?x8xf32>, %w: tensor<8xf32>) -> tensor<?x8xf32> {
  // CHECK-NOT: platen.rms_norm
  // CHECK: return
  %eps = platen.constant dense<1.0e-6> : tensor<f32> : tensor<f32>
  %axes = platen.constant dense<-1> : tensor<1xi64> : tensor<1xi64>
  %0 = platen.mul %z, %z : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %1 = platen.reduce_mean %0, %axes : (tensor<?x8xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %2 = platen.add %1, %eps : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %3 = platen.sqrt %2 : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %4 = platen.div %x, %3 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %5 = platen.mul %4, %w : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %5 : tensor<?x8xf32>
}

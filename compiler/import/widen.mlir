// RUN: platen-opt %s --passes=platen-widen | FileCheck %s

// Weights keep the type of their bytes.
// CHECK: platen.initializer @table {{.*}}type = tensor<4x2xf16>
platen.initializer @table {type = tensor<4x2xf16>, file = "model.onnx", offset = 0 : i64, bytes = 16 : i64}

// CHECK-LABEL: func.func @computes(%arg0: tensor<?x2xf32>, %arg1: tensor<?xi64>) -> tensor<?x2xf32>
func.func @computes(%x: tensor<?x2xf16>, %ids: tensor<?xi64>) -> tensor<?x2xf16> {
  // CHECK-DAG: %[[ONE:.*]] = platen.constant dense<1.500000e+00> : tensor<2xf32>
  // CHECK-DAG: %[[TABLE:.*]] = platen.weight @table : tensor<4x2xf32>
  // CHECK: %[[ROWS:.*]] = platen.gather %[[TABLE]], %arg1 {{.*}}-> tensor<?x2xf32>
  // CHECK: %[[SUM:.*]] = platen.add %[[ROWS]], %[[ONE]]
  // CHECK-NOT: cast
  // CHECK: %[[ALL:.*]] = platen.add %arg0, %[[SUM]]
  // CHECK-NEXT: return %[[ALL]]
  %one = platen.constant dense<1.5> : tensor<2xf16> : tensor<2xf16>
  %table = platen.weight @table : tensor<4x2xf16>
  %wide = platen.cast %table {to = "f32"} : (tensor<4x2xf16>) -> tensor<4x2xf32>
  %rows = platen.gather %wide, %ids {axis = 0 : i64} : (tensor<4x2xf32>, tensor<?xi64>) -> tensor<?x2xf32>
  %half = platen.cast %rows {to = "f16"} : (tensor<?x2xf32>) -> tensor<?x2xf16>
  %sum = platen.add %half, %one : (tensor<?x2xf16>, tensor<2xf16>) -> tensor<?x2xf16>
  %all = platen.add %x, %sum : (tensor<?x2xf16>, tensor<?x2xf16>) -> tensor<?x2xf16>
  return %all : tensor<?x2xf16>
}

// Casts of integers stay, to f32.
// CHECK-LABEL: func.func @counts
func.func @counts(%n: tensor<2xi64>) -> tensor<2xbf16> {
  // CHECK: platen.cast %arg0 {to = "f32"} : (tensor<2xi64>) -> tensor<2xf32>
  %y = platen.cast %n {to = "bf16"} : (tensor<2xi64>) -> tensor<2xbf16>
  return %y : tensor<2xbf16>
}

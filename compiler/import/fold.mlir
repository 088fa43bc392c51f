// RUN: platen-opt %s --passes=platen-fold | FileCheck %s

// CHECK-NOT: @unused
platen.initializer @unused {type = tensor<8xf32>, file = "model.onnx", offset = 64 : i64, bytes = 32 : i64}
// CHECK: platen.initializer @scale
platen.initializer @scale {type = tensor<2xf32>, file = "model.onnx", offset = 0 : i64, bytes = 8 : i64}

// Constants are evaluated, equal ops merged, and weights are not touched.
// CHECK-LABEL: func.func @evaluates
func.func @evaluates(%x: tensor<?x2xf32>) -> tensor<?x2xf32> {
  // CHECK-DAG: %[[SUM:.*]] = platen.constant dense<[3.000000e+00, 4.000000e+00]>
  // CHECK-DAG: %[[SCALE:.*]] = platen.weight @scale
  // CHECK: %[[A:.*]] = platen.add %arg0, %[[SUM]]
  // CHECK: %[[B:.*]] = platen.rms_norm %[[A]], %[[SCALE]]
  // CHECK-NEXT: %[[C:.*]] = platen.add %[[B]], %[[B]]
  // CHECK-NEXT: return %[[C]]
  %one = platen.constant dense<1.0> : tensor<2xf32> : tensor<2xf32>
  %two = platen.constant dense<[2.0, 3.0]> : tensor<2xf32> : tensor<2xf32>
  %scale = platen.weight @scale : tensor<2xf32>
  %sum = platen.add %one, %two : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>
  %a = platen.add %x, %sum : (tensor<?x2xf32>, tensor<2xf32>) -> tensor<?x2xf32>
  %b = platen.rms_norm %a, %scale : (tensor<?x2xf32>, tensor<2xf32>) -> tensor<?x2xf32>
  %c = platen.rms_norm %a, %scale : (tensor<?x2xf32>, tensor<2xf32>) -> tensor<?x2xf32>
  %d = platen.add %b, %c : (tensor<?x2xf32>, tensor<?x2xf32>) -> tensor<?x2xf32>
  return %d : tensor<?x2xf32>
}

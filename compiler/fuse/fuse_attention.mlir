// RUN: platen-opt %s --passes="func.func(platen-fuse-attention,platen-fuse-qkv)" | FileCheck %s

platen.initializer @wq {type = tensor<8x8xf32>, file = "m", offset = 0 : i64, bytes = 256 : i64}
platen.initializer @wk {type = tensor<8x4xf32>, file = "m", offset = 256 : i64, bytes = 128 : i64}
platen.initializer @wv {type = tensor<8x4xf32>, file = "m", offset = 384 : i64, bytes = 128 : i64}
platen.initializer @packed {type = tensor<8x16xf32>, file = "m", offset = 512 : i64, bytes = 512 : i64}

// Norms, RoPE and scales join the attention; three projections of one input become one region in the order q, k, v.
// CHECK-LABEL: func.func @step
func.func @step(%x: tensor<?x8xf32>, %w: tensor<4xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>,
                %pos: tensor<?xi32>, %seq: tensor<?xi32>) -> tensor<?x8xf32> {
  // CHECK-DAG: %[[WQ:.*]] = platen.weight @wq
  // CHECK-DAG: %[[WK:.*]] = platen.weight @wk
  // CHECK-DAG: %[[WV:.*]] = platen.weight @wv
  // CHECK: %[[QKV:.*]]:3 = platen.fused "qkv"(%arg0, %[[WK]], %[[WQ]], %[[WV]])
  // CHECK: platen.yield %{{.*}}, %{{.*}}, %{{.*}} : tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>
  // CHECK: %[[Y:.*]] = platen.fused "attention"
  // CHECK: platen.rms_norm
  // CHECK: platen.rope
  // CHECK: platen.rope
  // CHECK: platen.mul
  // CHECK: platen.paged_attention
  // CHECK: platen.yield {{.*}} : tensor<?x8xf32>
  // CHECK: return %[[Y]]
  %wk = platen.weight @wk : tensor<8x4xf32>
  %wq = platen.weight @wq : tensor<8x8xf32>
  %wv = platen.weight @wv : tensor<8x4xf32>
  %half = platen.constant dense<0.5> : tensor<f32> : tensor<f32>
  %heads2 = platen.constant dense<[-1, 2, 4]> : tensor<3xi64> : tensor<3xi64>
  %heads1 = platen.constant dense<[-1, 1, 4]> : tensor<3xi64> : tensor<3xi64>
  %flat = platen.constant dense<[-1, 8]> : tensor<2xi64> : tensor<2xi64>
  %none = platen.absent
  %k0 = platen.matmul %x, %wk : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %q0 = platen.matmul %x, %wq : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %v0 = platen.matmul %x, %wv : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %q1 = platen.reshape %q0, %heads2 : (tensor<?x8xf32>, tensor<3xi64>) -> tensor<?x2x4xf32>
  %k1 = platen.reshape %k0, %heads1 : (tensor<?x4xf32>, tensor<3xi64>) -> tensor<?x1x4xf32>
  %v1 = platen.reshape %v0, %heads1 : (tensor<?x4xf32>, tensor<3xi64>) -> tensor<?x1x4xf32>
  %q2 = platen.rms_norm %q1, %w : (tensor<?x2x4xf32>, tensor<4xf32>) -> tensor<?x2x4xf32>
  %q3 = platen.rope %q2, %cos, %sin, %pos : (tensor<?x2x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>, tensor<?xi32>) -> tensor<?x2x4xf32>
  %k3 = platen.rope %k1, %cos, %sin, %pos : (tensor<?x1x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>, tensor<?xi32>) -> tensor<?x1x4xf32>
  %q4 = platen.mul %q3, %half : (tensor<?x2x4xf32>, tensor<f32>) -> tensor<?x2x4xf32>
  %a = platen.paged_attention %q4, %k3, %v1, %pos, %seq, %none {layer = 0 : i64, scale = 1.0 : f64} : (tensor<?x2x4xf32>, tensor<?x1x4xf32>, tensor<?x1x4xf32>, tensor<?xi32>, tensor<?xi32>, none) -> tensor<?x2x4xf32>
  %y = platen.reshape %a, %flat : (tensor<?x2x4xf32>, tensor<2xi64>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// One projection cut by a split, as onnxruntime-genai writes it.
// CHECK-LABEL: func.func @split
func.func @split(%x: tensor<?x8xf32>, %pos: tensor<?xi32>, %seq: tensor<?xi32>) -> tensor<?x8xf32> {
  // CHECK: platen.fused "qkv"
  // CHECK: platen.matmul
  // CHECK: platen.split
  // CHECK: platen.fused "attention"
  %w = platen.weight @packed : tensor<8x16xf32>
  %sizes = platen.constant dense<[8, 4, 4]> : tensor<3xi64> : tensor<3xi64>
  %heads2 = platen.constant dense<[-1, 2, 4]> : tensor<3xi64> : tensor<3xi64>
  %heads1 = platen.constant dense<[-1, 1, 4]> : tensor<3xi64> : tensor<3xi64>
  %flat = platen.constant dense<[-1, 8]> : tensor<2xi64> : tensor<2xi64>
  %none = platen.absent
  %p = platen.matmul %x, %w : (tensor<?x8xf32>, tensor<8x16xf32>) -> tensor<?x16xf32>
  %q0, %k0, %v0 = platen.split %p, %sizes {axis = -1 : i64} : (tensor<?x16xf32>, tensor<3xi64>) -> (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>)
  %q1 = platen.reshape %q0, %heads2 : (tensor<?x8xf32>, tensor<3xi64>) -> tensor<?x2x4xf32>
  %k1 = platen.reshape %k0, %heads1 : (tensor<?x4xf32>, tensor<3xi64>) -> tensor<?x1x4xf32>
  %v1 = platen.reshape %v0, %heads1 : (tensor<?x4xf32>, tensor<3xi64>) -> tensor<?x1x4xf32>
  %a = platen.paged_attention %q1, %k1, %v1, %pos, %seq, %none {layer = 0 : i64, scale = 0.5 : f64} : (tensor<?x2x4xf32>, tensor<?x1x4xf32>, tensor<?x1x4xf32>, tensor<?xi32>, tensor<?xi32>, none) -> tensor<?x2x4xf32>
  %y = platen.reshape %a, %flat : (tensor<?x2x4xf32>, tensor<2xi64>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// The only key head is normed before it is reshaped; two query heads normed as one are not what a per-head norm computes.
// CHECK-LABEL: func.func @single_head
func.func @single_head(%q0: tensor<?x8xf32>, %k0: tensor<?x4xf32>, %v0: tensor<?x4xf32>, %w8: tensor<8xf32>, %w4: tensor<4xf32>,
                       %pos: tensor<?xi32>, %seq: tensor<?xi32>) -> tensor<?x8xf32> {
  // CHECK-NEXT: %[[Q:.*]] = platen.rms_norm %arg0, %arg3
  // CHECK-NEXT: platen.fused "attention"(
  // CHECK: platen.rms_norm
  // CHECK: platen.paged_attention
  // CHECK: return
  %heads2 = platen.constant dense<[-1, 2, 4]> : tensor<3xi64> : tensor<3xi64>
  %heads1 = platen.constant dense<[-1, 1, 4]> : tensor<3xi64> : tensor<3xi64>
  %flat = platen.constant dense<[-1, 8]> : tensor<2xi64> : tensor<2xi64>
  %none = platen.absent
  %qn = platen.rms_norm %q0, %w8 : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %kn = platen.rms_norm %k0, %w4 : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %q1 = platen.reshape %qn, %heads2 : (tensor<?x8xf32>, tensor<3xi64>) -> tensor<?x2x4xf32>
  %k1 = platen.reshape %kn, %heads1 : (tensor<?x4xf32>, tensor<3xi64>) -> tensor<?x1x4xf32>
  %v1 = platen.reshape %v0, %heads1 : (tensor<?x4xf32>, tensor<3xi64>) -> tensor<?x1x4xf32>
  %a = platen.paged_attention %q1, %k1, %v1, %pos, %seq, %none {layer = 0 : i64, scale = 0.5 : f64} : (tensor<?x2x4xf32>, tensor<?x1x4xf32>, tensor<?x1x4xf32>, tensor<?xi32>, tensor<?xi32>, none) -> tensor<?x2x4xf32>
  %y = platen.reshape %a, %flat : (tensor<?x2x4xf32>, tensor<2xi64>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// The last attention's rows are selected before they are flattened: flattening moves up, so that the region forms.
// CHECK-LABEL: func.func @selected
func.func @selected(%q0: tensor<?x8xf32>, %k0: tensor<?x8xf32>, %v0: tensor<?x8xf32>, %pos: tensor<?xi32>, %seq: tensor<?xi32>,
                    %rows: tensor<?xi32>) -> tensor<?x8xf32> {
  // CHECK: %[[A:.*]] = platen.fused "attention"
  // CHECK: platen.yield %{{.*}} : tensor<?x8xf32>
  // CHECK: %[[R:.*]] = platen.select_rows %[[A]], %arg5
  // CHECK-NEXT: return %[[R]]
  %heads2 = platen.constant dense<[-1, 2, 4]> : tensor<3xi64> : tensor<3xi64>
  %flat = platen.constant dense<[-1, 8]> : tensor<2xi64> : tensor<2xi64>
  %none = platen.absent
  %q1 = platen.reshape %q0, %heads2 : (tensor<?x8xf32>, tensor<3xi64>) -> tensor<?x2x4xf32>
  %k1 = platen.reshape %k0, %heads2 : (tensor<?x8xf32>, tensor<3xi64>) -> tensor<?x2x4xf32>
  %v1 = platen.reshape %v0, %heads2 : (tensor<?x8xf32>, tensor<3xi64>) -> tensor<?x2x4xf32>
  %a = platen.paged_attention %q1, %k1, %v1, %pos, %seq, %none {layer = 0 : i64, scale = 0.5 : f64} : (tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?x2x4xf32>, tensor<?xi32>, tensor<?xi32>, none) -> tensor<?x2x4xf32>
  %s = platen.select_rows %a, %rows : (tensor<?x2x4xf32>, tensor<?xi32>) -> tensor<?x2x4xf32>
  %y = platen.reshape %s, %flat : (tensor<?x2x4xf32>, tensor<2xi64>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

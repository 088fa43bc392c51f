// RUN: platen-opt %s --passes='platen-serve{max-context=64}' | FileCheck %s
//
// One decoder layer as exporters write it: 32 tokens, hidden 8, two query heads of 4 on one kv head, rotary embedding on
// q and k, causal mask, logits over 32. serve_test.cpp exchanges single lines of it.

platen.initializer @embed {type = tensor<32x8xf32>, file = "m", offset = 0 : i64, bytes = 1024 : i64}
platen.initializer @wq {type = tensor<8x8xf32>, file = "m", offset = 1024 : i64, bytes = 256 : i64}
platen.initializer @wk {type = tensor<8x4xf32>, file = "m", offset = 1280 : i64, bytes = 128 : i64}
platen.initializer @wv {type = tensor<8x4xf32>, file = "m", offset = 1408 : i64, bytes = 128 : i64}
platen.initializer @wo {type = tensor<8x8xf32>, file = "m", offset = 1536 : i64, bytes = 256 : i64}

// CHECK: platen.initializer @rope0.cos {bytes = 512 : i64, file = "computed#rope0.cos", offset = 0 : i64, type = tensor<64x2xf32>}
// CHECK-NOT: func.func @main
// CHECK: func.func @step(%[[TOKENS:.*]]: tensor<?xi32> {platen.name = "tokens"}, %[[POSITIONS:.*]]: tensor<?xi32> {platen.name = "positions"}, %[[SEQUENCES:.*]]: tensor<?xi32> {platen.name = "sequences"}, %[[ROWS:.*]]: tensor<?xi32> {platen.name = "rows"}) -> (tensor<?x32xf32> {platen.name = "logits"})
// CHECK: %[[X:.*]] = platen.gather %{{.*}}, %[[TOKENS]]
// CHECK: platen.matmul %[[X]]
// CHECK: platen.reshape {{.*}} -> tensor<?x2x4xf32>
// CHECK: platen.matmul %[[X]]
// CHECK: platen.reshape {{.*}} -> tensor<?x1x4xf32>
// CHECK: %[[Q:.*]] = platen.rope {{.*}}, %[[POSITIONS]] : (tensor<?x2x4xf32>, tensor<64x2xf32>
// CHECK: %[[K:.*]] = platen.rope {{.*}}, %[[POSITIONS]] : (tensor<?x1x4xf32>, tensor<64x2xf32>
// CHECK: %[[A:.*]] = platen.paged_attention %[[Q]], %[[K]], %{{.*}}, %[[POSITIONS]], %[[SEQUENCES]], %{{.*}} {layer = 0 : i64, scale = 5.000000e-01 : f64}
// CHECK-NEXT: %[[PICKED:.*]] = platen.select_rows %[[A]], %[[ROWS]]
// CHECK: %[[FLAT:.*]] = platen.reshape %[[PICKED]], {{.*}} -> tensor<?x8xf32>
// CHECK: %[[O:.*]] = platen.matmul %[[FLAT]]
// CHECK: %[[RESIDUAL:.*]] = platen.select_rows %[[X]], %[[ROWS]]
// CHECK: %[[SUM:.*]] = platen.add %[[RESIDUAL]], %[[O]]
// CHECK: %[[HEAD:.*]] = platen.transpose
// CHECK: %[[LOGITS:.*]] = platen.matmul %[[SUM]], %[[HEAD]]
// CHECK: return %[[LOGITS]]
func.func @main(
    %ids: tensor<?x?xi64> {platen.name = "input_ids"}, %mask: tensor<?x?xi64> {platen.name = "attention_mask"},
    %positions: tensor<?x?xi64> {platen.name = "position_ids"},
    %past_v: tensor<?x1x?x4xf32> {platen.name = "past_key_values.0.value"},
    %past_k: tensor<?x1x?x4xf32> {platen.name = "past_key_values.0.key"})
    -> (tensor<?x1x?x4xf32> {platen.name = "present.0.key"}, tensor<?x?x32xf32> {platen.name = "logits"},
        tensor<?x1x?x4xf32> {platen.name = "present.0.value"}) {
  %embed = platen.weight @embed : tensor<32x8xf32>
  %wq = platen.weight @wq : tensor<8x8xf32>
  %wk = platen.weight @wk : tensor<8x4xf32>
  %wv = platen.weight @wv : tensor<8x4xf32>
  %wo = platen.weight @wo : tensor<8x8xf32>
  %i0 = platen.constant dense<0> : tensor<i64> : tensor<i64>
  %i1 = platen.constant dense<1> : tensor<i64> : tensor<i64>
  %v0 = platen.constant dense<0> : tensor<1xi64> : tensor<1xi64>
  %v1 = platen.constant dense<1> : tensor<1xi64> : tensor<1xi64>
  %v2 = platen.constant dense<2> : tensor<1xi64> : tensor<1xi64>
  %v3 = platen.constant dense<3> : tensor<1xi64> : tensor<1xi64>
  %end = platen.constant dense<9223372036854775807> : tensor<1xi64> : tensor<1xi64>
  %zero = platen.constant dense<0.0> : tensor<f32> : tensor<f32>
  %hidden = platen.constant dense<-3.4e38> : tensor<f32> : tensor<f32>
  %half = platen.constant dense<0.5> : tensor<f32> : tensor<f32>
  %frequencies = platen.constant dense<[1.0, 0.01]> : tensor<2xf32> : tensor<2xf32>

  // Mask: key slot k is seen from query slot q if k <= q.
  %mask_shape = platen.shape %mask : (tensor<?x?xi64>) -> tensor<2xi64>
  %total = platen.gather %mask_shape, %i1 : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %past_shape = platen.shape %past_k : (tensor<?x1x?x4xf32>) -> tensor<4xi64>
  %two = platen.constant dense<2> : tensor<i64> : tensor<i64>
  %past = platen.gather %past_shape, %two : (tensor<4xi64>, tensor<i64>) -> tensor<i64>
  %queries = platen.range %past, %total, %i1 : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %keys = platen.range %i0, %total, %i1 : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %column = platen.unsqueeze %queries, %v1 : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %seen = platen.less_or_equal %keys, %column : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %bias = platen.where %seen, %zero, %hidden : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>

  // Rotary angles.
  %axes = platen.constant dense<[1, 3]> : tensor<2xi64> : tensor<2xi64>
  %float = platen.cast %positions {to = "f32"} : (tensor<?x?xi64>) -> tensor<?x?xf32>
  %position = platen.unsqueeze %float, %axes : (tensor<?x?xf32>, tensor<2xi64>) -> tensor<?x1x?x1xf32>
  %angle = platen.mul %position, %frequencies : (tensor<?x1x?x1xf32>, tensor<2xf32>) -> tensor<?x1x?x2xf32>
  %angles = platen.concat %angle, %angle {axis = -1 : i64} : (tensor<?x1x?x2xf32>, tensor<?x1x?x2xf32>) -> tensor<?x1x?x4xf32>
  %cos = platen.cos %angles : (tensor<?x1x?x4xf32>) -> tensor<?x1x?x4xf32>
  %sin = platen.sin %angles : (tensor<?x1x?x4xf32>) -> tensor<?x1x?x4xf32>

  %x = platen.gather %embed, %ids : (tensor<32x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %q_heads = platen.constant dense<[0, 0, 2, 4]> : tensor<4xi64> : tensor<4xi64>
  %kv_heads = platen.constant dense<[0, 0, 1, 4]> : tensor<4xi64> : tensor<4xi64>
  %q0 = platen.matmul %x, %wq : (tensor<?x?x8xf32>, tensor<8x8xf32>) -> tensor<?x?x8xf32>
  %q1 = platen.reshape %q0, %q_heads : (tensor<?x?x8xf32>, tensor<4xi64>) -> tensor<?x?x2x4xf32>
  %q2 = platen.transpose %q1 {perm = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %k0 = platen.matmul %x, %wk : (tensor<?x?x8xf32>, tensor<8x4xf32>) -> tensor<?x?x4xf32>
  %k1 = platen.reshape %k0, %kv_heads : (tensor<?x?x4xf32>, tensor<4xi64>) -> tensor<?x?x1x4xf32>
  %k2 = platen.transpose %k1 {perm = array<i64: 0, 2, 1, 3>} : (tensor<?x?x1x4xf32>) -> tensor<?x1x?x4xf32>
  %u0 = platen.matmul %x, %wv : (tensor<?x?x8xf32>, tensor<8x4xf32>) -> tensor<?x?x4xf32>
  %u1 = platen.reshape %u0, %kv_heads : (tensor<?x?x4xf32>, tensor<4xi64>) -> tensor<?x?x1x4xf32>
  %u2 = platen.transpose %u1 {perm = array<i64: 0, 2, 1, 3>} : (tensor<?x?x1x4xf32>) -> tensor<?x1x?x4xf32>

  %q_low = platen.slice %q2, %v0, %v2, %v3, %v1 : (tensor<?x2x?x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x2x?x2xf32>
  %q_high = platen.slice %q2, %v2, %end, %v3, %v1 : (tensor<?x2x?x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x2x?x2xf32>
  %q_neg = platen.neg %q_high : (tensor<?x2x?x2xf32>) -> tensor<?x2x?x2xf32>
  %q_turned = platen.concat %q_neg, %q_low {axis = -1 : i64} : (tensor<?x2x?x2xf32>, tensor<?x2x?x2xf32>) -> tensor<?x2x?x4xf32>
  %q_cos = platen.mul %q2, %cos : (tensor<?x2x?x4xf32>, tensor<?x1x?x4xf32>) -> tensor<?x2x?x4xf32>
  %q_sin = platen.mul %q_turned, %sin : (tensor<?x2x?x4xf32>, tensor<?x1x?x4xf32>) -> tensor<?x2x?x4xf32>
  %q = platen.add %q_cos, %q_sin : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %k_low = platen.slice %k2, %v0, %v2, %v3, %v1 : (tensor<?x1x?x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1x?x2xf32>
  %k_high = platen.slice %k2, %v2, %end, %v3, %v1 : (tensor<?x1x?x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1x?x2xf32>
  %k_neg = platen.neg %k_high : (tensor<?x1x?x2xf32>) -> tensor<?x1x?x2xf32>
  %k_turned = platen.concat %k_neg, %k_low {axis = -1 : i64} : (tensor<?x1x?x2xf32>, tensor<?x1x?x2xf32>) -> tensor<?x1x?x4xf32>
  %k_cos = platen.mul %k2, %cos : (tensor<?x1x?x4xf32>, tensor<?x1x?x4xf32>) -> tensor<?x1x?x4xf32>
  %k_sin = platen.mul %k_turned, %sin : (tensor<?x1x?x4xf32>, tensor<?x1x?x4xf32>) -> tensor<?x1x?x4xf32>
  %k = platen.add %k_cos, %k_sin : (tensor<?x1x?x4xf32>, tensor<?x1x?x4xf32>) -> tensor<?x1x?x4xf32>

  %keys_all = platen.concat %past_k, %k {axis = 2 : i64} : (tensor<?x1x?x4xf32>, tensor<?x1x?x4xf32>) -> tensor<?x1x?x4xf32>
  %values_all = platen.concat %past_v, %u2 {axis = 2 : i64} : (tensor<?x1x?x4xf32>, tensor<?x1x?x4xf32>) -> tensor<?x1x?x4xf32>
  %keys_t = platen.transpose %keys_all {perm = array<i64: 0, 1, 3, 2>} : (tensor<?x1x?x4xf32>) -> tensor<?x1x4x?xf32>
  %products = platen.matmul %q, %keys_t : (tensor<?x2x?x4xf32>, tensor<?x1x4x?xf32>) -> tensor<?x2x?x?xf32>
  %scores = platen.mul %products, %half : (tensor<?x2x?x?xf32>, tensor<f32>) -> tensor<?x2x?x?xf32>
  %masked = platen.add %scores, %bias : (tensor<?x2x?x?xf32>, tensor<?x?xf32>) -> tensor<?x2x?x?xf32>
  %weights = platen.softmax %masked {axis = -1 : i64} : (tensor<?x2x?x?xf32>) -> tensor<?x2x?x?xf32>
  %read = platen.matmul %weights, %values_all : (tensor<?x2x?x?xf32>, tensor<?x1x?x4xf32>) -> tensor<?x2x?x4xf32>
  %merge = platen.constant dense<[0, 0, 8]> : tensor<3xi64> : tensor<3xi64>
  %read_t = platen.transpose %read {perm = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %merged = platen.reshape %read_t, %merge : (tensor<?x?x2x4xf32>, tensor<3xi64>) -> tensor<?x?x8xf32>
  %o = platen.matmul %merged, %wo : (tensor<?x?x8xf32>, tensor<8x8xf32>) -> tensor<?x?x8xf32>
  %y = platen.add %x, %o : (tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %head = platen.transpose %embed {perm = array<i64: 1, 0>} : (tensor<32x8xf32>) -> tensor<8x32xf32>
  %logits = platen.matmul %y, %head : (tensor<?x?x8xf32>, tensor<8x32xf32>) -> tensor<?x?x32xf32>
  return %keys_all, %logits, %values_all : tensor<?x1x?x4xf32>, tensor<?x?x32xf32>, tensor<?x1x?x4xf32>
}

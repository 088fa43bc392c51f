// RUN: platen-opt %s --passes=platen-fold | FileCheck %s

// The idiom by which torch exports expand: a target with -1 replaced by 1, where no element can be -1.
// CHECK-LABEL: func.func @expand_target
// CHECK-NOT: platen.equal
// CHECK-NOT: platen.where
// CHECK: %[[TARGET:.*]] = platen.concat
// CHECK: platen.expand %arg0, %[[TARGET]] : (tensor<?x1x4xf32>, tensor<3xi64>) -> tensor<?x8x4xf32>
func.func @expand_target(%x: tensor<?x1x4xf32>) -> tensor<?x?x?xf32> {
  %zero = platen.constant dense<0> : tensor<i64> : tensor<i64>
  %axis = platen.constant dense<0> : tensor<1xi64> : tensor<1xi64>
  %eight = platen.constant dense<8> : tensor<1xi64> : tensor<1xi64>
  %four = platen.constant dense<4> : tensor<1xi64> : tensor<1xi64>
  %ones = platen.constant dense<1> : tensor<3xi64> : tensor<3xi64>
  %minus = platen.constant dense<-1> : tensor<i64> : tensor<i64>
  %shape = platen.shape %x : (tensor<?x1x4xf32>) -> tensor<3xi64>
  %b = platen.gather %shape, %zero {axis = 0 : i64} : (tensor<3xi64>, tensor<i64>) -> tensor<i64>
  %b1 = platen.unsqueeze %b, %axis : (tensor<i64>, tensor<1xi64>) -> tensor<1xi64>
  %given = platen.concat %b1, %eight, %four {axis = 0 : i64} : (tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<3xi64>
  %unset = platen.mul %ones, %minus : (tensor<3xi64>, tensor<i64>) -> tensor<3xi64>
  %isUnset = platen.equal %given, %unset : (tensor<3xi64>, tensor<3xi64>) -> tensor<3xi1>
  %target = platen.where %isUnset, %ones, %given : (tensor<3xi1>, tensor<3xi64>, tensor<3xi64>) -> tensor<3xi64>
  %y = platen.expand %x, %target : (tensor<?x1x4xf32>, tensor<3xi64>) -> tensor<?x?x?xf32>
  return %y : tensor<?x?x?xf32>
}

// A product that may be -1 keeps its Where: the sign of a difference is not known.
// CHECK-LABEL: func.func @keeps_where
// CHECK: platen.equal
// CHECK: platen.where
func.func @keeps_where(%x: tensor<?x?xf32>) -> tensor<2xi64> {
  %ones = platen.constant dense<1> : tensor<2xi64> : tensor<2xi64>
  %minus = platen.constant dense<-1> : tensor<i64> : tensor<i64>
  %shape = platen.shape %x : (tensor<?x?xf32>) -> tensor<2xi64>
  %less = platen.sub %shape, %ones : (tensor<2xi64>, tensor<2xi64>) -> tensor<2xi64>
  %isUnset = platen.equal %less, %minus : (tensor<2xi64>, tensor<i64>) -> tensor<2xi1>
  %target = platen.where %isUnset, %ones, %less : (tensor<2xi1>, tensor<2xi64>, tensor<2xi64>) -> tensor<2xi64>
  return %target : tensor<2xi64>
}

// Static dimensions of a dynamic tensor are numbers, and arithmetic on them folds.
// CHECK-LABEL: func.func @static_dims
// CHECK-NEXT: %[[C:.*]] = platen.constant dense<128> : tensor<i64>
// CHECK-NEXT: return %[[C]]
func.func @static_dims(%x: tensor<?x4x32xf32>) -> tensor<i64> {
  %one = platen.constant dense<1> : tensor<i64> : tensor<i64>
  %two = platen.constant dense<2> : tensor<i64> : tensor<i64>
  %shape = platen.shape %x : (tensor<?x4x32xf32>) -> tensor<3xi64>
  %heads = platen.gather %shape, %one {axis = 0 : i64} : (tensor<3xi64>, tensor<i64>) -> tensor<i64>
  %size = platen.gather %shape, %two {axis = 0 : i64} : (tensor<3xi64>, tensor<i64>) -> tensor<i64>
  %width = platen.mul %heads, %size : (tensor<i64>, tensor<i64>) -> tensor<i64>
  return %width : tensor<i64>
}

// A reshape target known in part refines the result; what follows is inferred again.
// CHECK-LABEL: func.func @reshape_target
// CHECK: platen.reshape {{.*}} -> tensor<?x?x4x32xf32>
// CHECK: platen.transpose {{.*}} -> tensor<?x4x?x32xf32>
// CHECK: return {{.*}} : tensor<?x4x?x32xf32>
func.func @reshape_target(%x: tensor<?x?x128xf32>) -> tensor<?x?x?x?xf32> {
  %start = platen.constant dense<0> : tensor<1xi64> : tensor<1xi64>
  %end = platen.constant dense<2> : tensor<1xi64> : tensor<1xi64>
  %tail = platen.constant dense<[4, 32]> : tensor<2xi64> : tensor<2xi64>
  %absent = platen.absent
  %shape = platen.shape %x : (tensor<?x?x128xf32>) -> tensor<3xi64>
  %lead = platen.slice %shape, %start, %end, %absent, %absent : (tensor<3xi64>, tensor<1xi64>, tensor<1xi64>, none, none) -> tensor<2xi64>
  %target = platen.concat %lead, %tail {axis = 0 : i64} : (tensor<2xi64>, tensor<2xi64>) -> tensor<4xi64>
  %y = platen.reshape %x, %target : (tensor<?x?x128xf32>, tensor<4xi64>) -> tensor<?x?x?x?xf32>
  %z = platen.transpose %y {perm = array<i64: 0, 2, 1, 3>} : (tensor<?x?x?x?xf32>) -> tensor<?x?x?x?xf32>
  return %z : tensor<?x?x?x?xf32>
}

// Equal dimension names of two arguments are equal sizes.
// CHECK-LABEL: func.func @same_names
// CHECK-NEXT: %[[C:.*]] = platen.constant dense<true>
// CHECK-NEXT: return %[[C]]
func.func @same_names(%x: tensor<?xf32> {platen.dims = ["n"]}, %y: tensor<?xf32> {platen.dims = ["n"]}) -> tensor<1xi1> {
  %a = platen.shape %x : (tensor<?xf32>) -> tensor<1xi64>
  %b = platen.shape %y : (tensor<?xf32>) -> tensor<1xi64>
  %equal = platen.equal %a, %b : (tensor<1xi64>, tensor<1xi64>) -> tensor<1xi1>
  return %equal : tensor<1xi1>
}

// A constant above the limit stays an op: it would bring weight-sized bytes into the IR.
// CHECK-LABEL: func.func @large
// CHECK: platen.constant_of_shape
func.func @large() -> tensor<1000000xf32> {
  %shape = platen.constant dense<1000000> : tensor<1xi64> : tensor<1xi64>
  %y = platen.constant_of_shape %shape {value = dense<0.0> : tensor<1xf32>} : (tensor<1xi64>) -> tensor<1000000xf32>
  return %y : tensor<1000000xf32>
}

"""Kernels that Triton compiles, offline, for GPUs that are not there: what the simulator must execute though no one here
wrote the PTX.  Usage: triton_kernels.py FOLDER [name...]

For every case it writes FOLDER/<case>.ptx, the inputs, the results that numpy computes, and FOLDER/<case>.case:
  kernel NAME | grid X Y Z | threads N | shared BYTES
  buffer FILE                     an argument: the bytes of a buffer
  output FILE TYPE TOLERANCE      an argument: a buffer whose contents must be FILE's (TYPE f32 or s32; error allowed, absolute + relative)
  i32 VALUE / f32 VALUE / zero    an argument by value; zero: 8 bytes of zeros
  scratch BYTES                   an argument: a buffer of which nothing is expected
Prints the names of the cases.  Needs triton and numpy.
"""
import os
import sys

import numpy as np
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget


@triton.jit
def matmul(a, b, c, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, TRANSPOSED: tl.constexpr,
           RESULT: tl.constexpr):
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    columns = tl.program_id(1) * BN + tl.arange(0, BN)
    ks = tl.arange(0, BK)
    left = a + rows[:, None] * K + ks[None, :]
    right = b + (columns[None, :] * K + ks[:, None] if TRANSPOSED else ks[:, None] * N + columns[None, :])
    total = tl.zeros((BM, BN), dtype=RESULT)
    for _ in range(0, K, BK):
        total = tl.dot(tl.load(left), tl.load(right), total, out_dtype=RESULT)
        left += BK
        right += BK if TRANSPOSED else BK * N
    tl.store(c + rows[:, None] * N + columns[None, :], total)


@triton.jit
def described(a, b, c, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """Tiles through tensor maps that the kernel itself makes."""
    left = tl.make_tensor_descriptor(a, [M, K], [K, 1], [BM, BK])
    right = tl.make_tensor_descriptor(b, [N, K], [K, 1], [BN, BK])
    result = tl.make_tensor_descriptor(c, [M, N], [N, 1], [BM, BN])
    row, column = tl.program_id(0) * BM, tl.program_id(1) * BN
    total = tl.zeros((BM, BN), dtype=tl.float32)
    for k in range(0, K, BK):
        total = tl.dot(left.load([row, k]), right.load([column, k]).T, total)
    result.store([row, column], total)


@triton.jit
def softmax(x, y, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    values = tl.load(x + row * columns + at, mask=at < columns, other=-float("inf"))
    values = tl.exp(values - tl.max(values, axis=0))
    tl.store(y + row * columns + at, values / tl.sum(values, axis=0), mask=at < columns)


@triton.jit
def attention(q, k, v, o, length, scale, BM: tl.constexpr, BN: tl.constexpr, D: tl.constexpr):
    first = tl.program_id(0) * BM
    head = tl.program_id(1) * length * D
    rows = first + tl.arange(0, BM)
    lanes = tl.arange(0, D)
    queries = tl.load(q + head + rows[:, None] * D + lanes[None, :])
    top = tl.full((BM,), -float("inf"), dtype=tl.float32)
    weight = tl.zeros((BM,), dtype=tl.float32)
    total = tl.zeros((BM, D), dtype=tl.float32)
    for start in range(0, first + BM, BN):
        columns = start + tl.arange(0, BN)
        keys = tl.load(k + head + columns[None, :] * D + lanes[:, None])
        scores = tl.dot(queries, keys) * scale
        scores = tl.where(rows[:, None] >= columns[None, :], scores, -float("inf"))
        best = tl.maximum(top, tl.max(scores, 1))
        p = tl.exp2(scores - best[:, None])
        fade = tl.exp2(top - best)
        weight = weight * fade + tl.sum(p, 1)
        values = tl.load(v + head + columns[:, None] * D + lanes[None, :])
        total = tl.dot(p.to(values.dtype), values, total * fade[:, None])
        top = best
    tl.store(o + head + rows[:, None] * D + lanes[None, :], total / weight[:, None])


@triton.jit
def scaled(a, sa, b, sb, c, N, K, KIND: tl.constexpr, PACK: tl.constexpr, VEC: tl.constexpr, BM: tl.constexpr,
           BN: tl.constexpr, BK: tl.constexpr):
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    columns = tl.program_id(1) * BN + tl.arange(0, BN)
    ks = tl.arange(0, BK // PACK)
    blocks = tl.arange(0, BK // VEC)
    total = tl.zeros((BM, BN), dtype=tl.float32)
    for k in range(0, K, BK):
        left = tl.load(a + rows[:, None] * (K // PACK) + k // PACK + ks[None, :])
        right = tl.load(b + columns[None, :] * (K // PACK) + k // PACK + ks[:, None])
        scales_left = tl.load(sa + rows[:, None] * (K // VEC) + k // VEC + blocks[None, :])
        scales_right = tl.load(sb + columns[:, None] * (K // VEC) + k // VEC + blocks[None, :])
        total = tl.dot_scaled(left, scales_left, KIND, right, scales_right, KIND, total)
    tl.store(c + rows[:, None] * N + columns[None, :], total)


def bf16(values):
    """float32 that bfloat16 holds exactly -> its upper halves."""
    return (np.ascontiguousarray(values, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)


def fp8(values):
    """Small multiples of 1/2 -> e4m3, by table."""
    table = {}
    for bits in range(256):
        exponent, fraction = bits >> 3 & 15, bits & 7
        size = (1 + fraction / 8) * 2.0 ** (exponent - 7) if exponent else fraction / 8 * 2.0**-6
        table.setdefault(-size if bits & 128 else size, bits)
    return np.vectorize(lambda x: table[float(x)])(values).astype(np.uint8)


class Case:
    def __init__(self, folder, name, kernel, arch, signature, constants, grid, warps=4, stages=3, multiples=()):
        arguments = list(signature)
        # What the just-in-time compiler would find out: pointers and these integers are multiples of 16.
        attributes = {(n,): [["tt.divisibility", 16]] for n, name in enumerate(arguments)
                      if signature[name][0] == "*" or name in multiples}
        source = triton.compiler.ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
        compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32),
                                  options={"num_warps": warps, "num_stages": stages})
        self.folder, self.name = folder, name
        ptx = compiled.asm["ptx"]
        with open(os.path.join(folder, name + ".ptx"), "w", encoding="utf-8") as file:
            file.write(ptx)
        threads = int(ptx.split(".reqntid")[1].split()[0].rstrip(","))
        self.lines = [f"kernel {compiled.metadata.name}", f"grid {grid[0]} {grid[1]} 1",
                      f"threads {threads}", f"shared {compiled.metadata.shared}"]
        entry = ptx[ptx.index(".visible .entry"):]
        self.scratch = compiled.metadata.global_scratch_size * grid[0] * grid[1]
        self.hidden = entry[:entry.index(")")].count(".param") - sum(t != "constexpr" for t in signature.values())

    def _file(self, array):
        file = f"{self.name}.{len(self.lines)}.bin"
        np.ascontiguousarray(array).tofile(os.path.join(self.folder, file))
        return file

    def buffer(self, array):
        self.lines.append(f"buffer {self._file(array)}")
        return self

    def output(self, array, tolerance):
        kind = {"float32": "f32", "int32": "s32"}[array.dtype.name]
        self.lines.append(f"output {self._file(array)} {kind} {tolerance}")
        return self

    def scalar(self, kind, value):
        self.lines.append(f"{kind} {value}")
        return self

    def write(self):
        self.lines += [f"scratch {self.scratch}"] if self.scratch else []
        self.lines += ["zero"] * (self.hidden - (1 if self.scratch else 0))
        with open(os.path.join(self.folder, self.name + ".case"), "w", encoding="utf-8") as file:
            file.write("\n".join(self.lines) + "\n")
        print(self.name)


def matmul_case(folder, arch, kind, m, n, k, tile, warps, transposed=False, stages=3):
    random = np.random.default_rng(1)
    a = random.integers(-8, 9, (m, k)).astype(np.float32) / 2
    b = random.integers(-8, 9, (k, n)).astype(np.float32) / 2
    if kind == "i8":
        a, b = a * 2, b * 2
    exact = (a @ b).astype(np.int32 if kind == "i8" else np.float32)  # every partial sum is exact
    encode = {"bf16": bf16, "fp16": lambda x: x.astype(np.float16), "fp32": lambda x: x, "fp8e4nv": fp8,
              "i8": lambda x: x.astype(np.int8)}[kind]
    result = "*i32" if kind == "i8" else "*fp32"
    case = Case(folder, f"matmul_{kind}{'_t' if transposed else ''}_sm{arch}", matmul, arch,
                {"a": "*" + kind, "b": "*" + kind, "c": result, "M": "i32", "N": "i32", "K": "i32"},
                {"BM": tile[0], "BN": tile[1], "BK": tile[2], "TRANSPOSED": transposed,
                 "RESULT": tl.int32 if kind == "i8" else tl.float32},
                (m // tile[0], n // tile[1]), warps, stages, ("M", "N", "K"))
    right = b.T if transposed else b
    case.buffer(encode(a)).buffer(encode(right)).output(exact, 0)
    case.scalar("i32", m).scalar("i32", n).scalar("i32", k).write()


def described_case(folder, arch, m=100, n=128, k=192):
    """M is no multiple of the tile: what lies outside is zero, and is not written."""
    random = np.random.default_rng(5)
    a, b = (random.integers(-8, 9, (rows, k)).astype(np.float32) / 2 for rows in (m, n))
    case = Case(folder, f"described_sm{arch}", described, arch,
                {"a": "*bf16", "b": "*bf16", "c": "*fp32", "M": "i32", "N": "i32", "K": "i32"},
                {"BM": 64, "BN": 64, "BK": 64}, ((m + 63) // 64, n // 64), 4, 3, ("N", "K"))
    case.buffer(bf16(a)).buffer(bf16(b)).output(a @ b.T, 0)
    case.scalar("i32", m).scalar("i32", n).scalar("i32", k).write()


def softmax_case(folder, arch):
    x = np.random.default_rng(2).standard_normal((5, 781)).astype(np.float32) * 4
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    Case(folder, f"softmax_sm{arch}", softmax, arch, {"x": "*fp32", "y": "*fp32", "columns": "i32"},
         {"BLOCK": 1024}, (5, 1)).buffer(x).output((e / e.sum(1, keepdims=True)).astype(np.float32), 1e-5) \
        .scalar("i32", 781).write()


def attention_case(folder, arch, warps, heads=2, length=256, depth=64):
    random = np.random.default_rng(3)
    q, k, v = (random.standard_normal((heads, length, depth)).astype(np.float16) for _ in range(3))
    scores = q.astype(np.float64) @ k.astype(np.float64).transpose(0, 2, 1) / np.sqrt(depth)
    scores[:, np.triu(np.ones((length, length), bool), 1)] = -np.inf
    p = np.exp(scores - scores.max(2, keepdims=True))
    expected = (p / p.sum(2, keepdims=True)) @ v.astype(np.float64)
    case = Case(folder, f"attention_sm{arch}", attention, arch,
                {"q": "*fp16", "k": "*fp16", "v": "*fp16", "o": "*fp32", "length": "i32", "scale": "fp32"},
                {"BM": 64, "BN": 64, "D": depth}, (length // 64, heads), warps, multiples=("length",))
    case.buffer(q).buffer(k).buffer(v).output(expected.astype(np.float32), 4e-3)
    case.scalar("i32", length).scalar("f32", 1 / np.sqrt(depth) * np.log2(np.e)).write()


def scaled_case(folder, kind, vector):
    """Block scales of sm_100: mxf8f6f4, mxf4 (ue8m0 for 32 elements), mxf4nvf4 (ue4m3 for 16)."""
    random = np.random.default_rng(4)
    m, n, k = 128, 128, 256
    ladder = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])  # of e2m1, by its low three bits
    codes = [random.integers(0, 16, (rows, k)) for rows in (m, n)]
    values = [ladder[code & 7] * np.where(code & 8, -1, 1) for code in codes]
    if vector == 32:
        scale_bits = [random.integers(126, 129, (rows, k // vector)).astype(np.uint8) for rows in (m, n)]
        scales = [2.0 ** (bits.astype(int) - 127) for bits in scale_bits]
    else:
        scales = [random.integers(1, 5, (rows, k // vector)) / 2 for rows in (m, n)]
        scale_bits = [fp8(scale) for scale in scales]
    exact = (values[0] * np.repeat(scales[0], vector, 1)) @ (values[1] * np.repeat(scales[1], vector, 1)).T
    pack = 2 if kind == "e2m1" else 1
    encoded = [(code[:, ::2] | code[:, 1::2] << 4).astype(np.uint8) for code in codes] if pack == 2 else \
        [fp8(value) for value in values]
    element, scale = ("*u8" if pack == 2 else "*fp8e4nv"), ("*u8" if vector == 32 else "*fp8e4nv")
    case = Case(folder, f"scaled_{kind}_{vector}_sm100", scaled, 100,
                {"a": element, "sa": scale, "b": element, "sb": scale, "c": "*fp32", "N": "i32", "K": "i32"},
                {"KIND": kind, "PACK": pack, "VEC": vector, "BM": 128, "BN": 64, "BK": 128}, (1, n // 64), 4, 2,
                ("N", "K"))
    case.buffer(encoded[0]).buffer(scale_bits[0]).buffer(encoded[1]).buffer(scale_bits[1])
    case.output(exact.astype(np.float32), 0).scalar("i32", n).scalar("i32", k).write()


def main():
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    os.environ.setdefault("TRITON_CACHE_DIR", os.path.join(folder, "cache"))
    for arch in (80, 90, 100):
        softmax_case(folder, arch)
        attention_case(folder, arch, 4)
        matmul_case(folder, arch, "bf16", 128, 128, 256, (64, 64, 64), 4)
        matmul_case(folder, arch, "fp16", 128, 256, 128, (128, 128, 64), 8, transposed=True)
        matmul_case(folder, arch, "fp32", 64, 128, 64, (64, 64, 32), 4)  # tf32
    for arch in (80, 90):
        matmul_case(folder, arch, "i8", 128, 128, 128, (64, 64, 64), 4, transposed=True)
    for arch in (90, 100):
        matmul_case(folder, arch, "fp8e4nv", 128, 128, 128, (64, 64, 64), 4, transposed=True)
        described_case(folder, arch)
    for kind, vector in (("e4m3", 32), ("e2m1", 32), ("e2m1", 16)):
        scaled_case(folder, kind, vector)


if __name__ == "__main__":
    main()

// libFuzzer target for the PTX simulator: whatever the PTX says, it ends in a Status, in refusals,
// in a report or in results, never in a crash or a memory error of the host.
//
// The first byte says what the rest is: PTX text; or bytes that choose instructions for a kernel
// out of templates, with registers and numbers that mostly fit and sometimes do not, and suffixes
// that are now and then dropped or exchanged. Behind the last byte others follow from those before,
// so that a short input makes a whole kernel too. Kernels that load without refusals are run: two
// blocks of two warps (one cluster, or not), with few instructions, all checks, every order of
// asynchronous work. No seeds are needed.
#include "tools/ptxsim/core/simulator.h"
#include "tools/ptxsim/core/tensor_map.h"

#include <cstdlib>
#include <cstring>
#include <string>

using namespace platen;
using namespace platen::ptxsim;

namespace {

void require(bool condition) {
  if (!condition)
    std::abort();
}

/// The input, byte by byte; at its end a generator that it seeds, or nothing.
class Bytes {
public:
  Bytes(const uint8_t *data, size_t size, bool isEndless)
      : at_(data), end_(data + size), isEndless_(isEndless) {}
  bool empty() const { return at_ == end_ && !isEndless_; }
  uint32_t next() {
    if (at_ == end_ && !isEndless_)
      return 0;
    state_ = (state_ ^ (at_ == end_ ? 0 : *at_)) * 0x5851F42D4C957F2Du + 0x14057B7EF767814Fu;
    return at_ == end_ ? static_cast<uint32_t>(state_ >> 56) : *at_++;
  }
  uint32_t below(uint32_t limit) { return next() % limit; }

private:
  const uint8_t *at_, *end_;
  bool isEndless_;
  uint64_t state_ = 0;
};

/// $p $h $r $d $q: registers of 1, 16, 32, 64 and 128 bits; $i a number; $a $s: addresses in global
/// and shared memory; $b an mbarrier, $m a tensor map, $g a matrix descriptor; $t tensor memory;
/// $2 $4 $8: vectors of so many $r.
constexpr const char *kTemplates[] = {
    "add.u32 $r, $r, $r",
    "mad.lo.s64 $d, $d, $d, $d",
    "mul.wide.u32 $d, $r, $i",
    "fma.rn.f32 $r, $r, $r, $r",
    "fma.rn.f16x2 $r, $r, $r, $r",
    "setp.lt.and.s32 $p|$p, $r, $r, $p",
    "selp.b64 $d, $d, $d, $p",
    "lop3.or.b32 $r|$p, $r, $r, $r, $i, $p",
    "cvt.rn.bf16x2.f32 $r, $r, $r",
    "cvt.rzi.s64.f32 $d, $r",
    "prmt.b32 $r, $r, $r, $r",
    "mov.b64 {$r, $r}, $d",
    "mov.b128 $q, {$d, $d}",
    "mov.u32 $r, %laneid",
    "mov.u64 $d, tile",
    "shf.l.wrap.b32 $r, $r, $r, $r",
    "bfe.u64 $d, $d, $r, $r",
    "div.s64 $d, $d, $d",
    "ex2.approx.f32 $r, $r",
    "ld.global.u32 $r, [$a]",
    "ld.shared.v4.b32 $4, [$s]",
    "ld.global.nc.v2.b64 {$d, $d}, [$a]",
    "ld.b128 $q, [$a]",
    "ld.param.u64 $d, [p0+$i]",
    "ld.local.u16 $h, [room+$i]",
    "ld.acquire.gpu.u32 $r, [$a]",
    "st.global.v4.u32 [$a], $4",
    "st.shared.u8 [$s], $h",
    "st.release.cta.shared.b64 [$s], $d",
    "st.local.b32 [room+$i], $r",
    "st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [$s], $r, [$b]",
    "atom.global.add.u32 $r, [$a], $r",
    "atom.shared.cas.b64 $d, [$s], $d, $d",
    "atom.global.exch.b128 $q, [$a], $q",
    "red.global.add.noftz.f16x2 [$a], $r",
    "cvta.to.shared.u64 $d, $d",
    "mapa.shared::cluster.u32 $r, $r, $i",
    "isspacep.shared $p, $d",
    "bar.sync $i",
    "barrier.sync $i, 64",
    "bar.red.popc.u32 $r, $i, $p",
    "bar.warp.sync -1",
    "barrier.cluster.arrive.aligned",
    "barrier.cluster.wait.aligned",
    "fence.acq_rel.gpu",
    "fence.proxy.async.shared::cta",
    "fence.mbarrier_init.release.cluster",
    "shfl.sync.bfly.b32 $r|$p, $r, $i, 31, -1",
    "vote.sync.ballot.b32 $r, $p, -1",
    "match.all.sync.b64 $r|$p, $d, -1",
    "redux.sync.add.s32 $r, $r, -1",
    "elect.sync $r|$p, -1",
    "activemask.b32 $r",
    "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 $4, [$s]",
    "stmatrix.sync.aligned.m8n8.x2.shared.b16 [$s], $2",
    "movmatrix.sync.aligned.m8n8.trans.b16 $r, $r",
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 $4, $4, $2, $4",
    "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 $4, $4, $2, $4",
    "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {$d, $d}, {$d}, {$d}, {$d, $d}",
    "mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32 $4, $4, $4, $4, $r, 0",
    "wmma.load.a.sync.aligned.row.m16n16k16.f16 $8, [$a], $r",
    "wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32 $8, $8, $8, $8",
    "cp.async.ca.shared.global [$s], [$a], 4",
    "cp.async.cg.shared.global [$s], [$a], 16, $r",
    "cp.async.commit_group",
    "cp.async.wait_group $i",
    "cp.async.mbarrier.arrive.noinc.b64 [$b]",
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [$s], [$a], $r, [$b]",
    "cp.async.bulk.global.shared::cta.bulk_group [$a], [$s], $r",
    "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [$a], [$s], 64",
    "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [$s], [$m, {$i, "
    "$r}], [$b]",
    "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [$m, {$i, $r}], [$s]",
    "cp.async.bulk.commit_group",
    "cp.async.bulk.wait_group.read 0",
    "tensormap.replace.tile.box_dim.global.b1024.b32 [$a], 0, $r",
    "tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync.aligned [$a], "
    "[$s], 128",
    "mbarrier.init.shared::cta.b64 [$b], $i",
    "mbarrier.arrive.expect_tx.shared::cta.b64 $d, [$b], $i",
    "mbarrier.arrive.shared::cta.b64 $d, [$b]",
    "mbarrier.try_wait.parity.shared::cta.b64 $p, [$b], $i",
    "mbarrier.test_wait.shared::cta.b64 $p, [$b], $d",
    "mbarrier.inval.shared::cta.b64 [$b]",
    "wgmma.fence.sync.aligned",
    "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 $4, $g, $g, $p, 1, 1, 0, 0",
    "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 $4, $4, $g, 1, 1, 1, 0",
    "wgmma.commit_group.sync.aligned",
    "wgmma.wait_group.sync.aligned 0",
    "tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [$s], 64",
    "tcgen05.dealloc.cta_group::1.sync.aligned.b32 $r, 64",
    "tcgen05.st.sync.aligned.32x32b.x2.b32 [$t], $2",
    "tcgen05.ld.sync.aligned.16x64b.x4.b32 $4, [$t]",
    "tcgen05.wait::st.sync.aligned",
    "tcgen05.wait::ld.sync.aligned",
    "tcgen05.cp.cta_group::1.128x128b [$t], $g",
    "tcgen05.mma.cta_group::1.kind::f16 [$t], $g, $g, $r, $p",
    "tcgen05.mma.cta_group::1.kind::mxf8f6f4.block_scale [$t], $g, $g, $r, [$t], [$t], $p",
    "tcgen05.commit.cta_group::1.mbarrier::arrive::one.shared::cluster.b64 [$b]",
    "tcgen05.fence::before_thread_sync",
    "tcgen05.fence::after_thread_sync",
    "setmaxnreg.inc.sync.aligned.u32 $i",
    "$p bra AGAIN",
    "bra END",
    "call ($x), twice, ($x)",
    "nanosleep.u32 $i",
    "exit",
};
constexpr const char *kSuffixes[] = {
    "u8",           "s8",       "b16",      "u16",     "f16",
    "bf16",         "f16x2",    "b32",      "s32",     "f32",
    "tf32",         "u64",      "s64",      "f64",     "b128",
    "pred",         "v2",       "v4",       "v8",      "global",
    "cta",          "local",    "sync",     "shared",  "aligned",
    "x1",           "x4",       "m8n8k128", "m16n8k8", "row",
    "col",          "rn",       "rz",       "ftz",     "sat",
    "e4m3",         "e2m1",     "s4",       "b1",      "3d",
    "ws",           "sp",       "x128",     "16x256b", "multicast::cluster",
    "cta_group::2", "kind::i8",
};
constexpr const char *kNumbers[] = {"0",  "1",  "2",  "3",   "4",   "8",    "15",         "16",
                                    "17", "32", "64", "128", "255", "1024", "0x7fffffff", "-1"};

std::string registerOf(Bytes &in, char kind) {
  constexpr std::string_view kKinds = "phrdq";
  if (in.below(24) == 23) // of another width
    kind = kKinds[in.below(5)];
  return std::string("%") + kind + std::to_string(in.below(kind == 'q' ? 2 : 8));
}

std::string operandOf(Bytes &in, char kind) {
  auto offset = [&](const char *base, uint32_t step) {
    return std::string(base) + "+" + std::to_string(in.next() * step);
  };
  switch (kind) {
  case 'i':
    return kNumbers[in.below(16)];
  case 'a':
    return in.below(8) ? offset(in.below(2) ? "%rd0" : "%rd1", in.below(4) * 4)
                       : registerOf(in, 'd');
  case 's':
    return in.below(8) ? offset("tile", in.below(3) * 8) : registerOf(in, 'r');
  case 'b':
    return offset("bars", in.below(4) ? 0 : 8);
  case 'm':
    return in.below(8) ? "%rd2" : registerOf(in, 'd');
  case 'g':
    return in.below(4) ? "%rd3" : registerOf(in, 'd');
  case 't':
    return in.below(8) ? offset("%r0", 1) : registerOf(in, 'r');
  case 'x':
    return "argument";
  case '2':
  case '4':
  case '8': {
    std::string text = "{";
    auto count = static_cast<uint32_t>(kind - '0') + (in.below(32) == 31 ? 1 : 0);
    for (uint32_t n = 0; n < count; ++n)
      text += (n ? ", " : "") + registerOf(in, 'r');
    return text + "}";
  }
  default:
    return registerOf(in, kind);
  }
}

/// One of the opcode's suffixes dropped or exchanged.
std::string disturb(Bytes &in, const std::string &opcode) {
  size_t dot = opcode.find('.', in.below(static_cast<uint32_t>(opcode.size())));
  if (dot == std::string::npos)
    return opcode;
  size_t end = std::min(opcode.find('.', dot + 1), opcode.size());
  std::string other =
      in.below(3) ? "." + std::string(kSuffixes[in.below(std::size(kSuffixes))]) : "";
  return opcode.substr(0, dot) + other + opcode.substr(end);
}

std::string instructionOf(Bytes &in) {
  std::string_view form = kTemplates[in.below(std::size(kTemplates))];
  bool isBranch = form[0] == '$';
  std::string text = isBranch ? "@" : in.below(6) ? "" : "@" + registerOf(in, 'p') + " ";
  for (size_t i = 0; i < form.size(); ++i)
    text += form[i] == '$' ? operandOf(in, form[++i]) : std::string(1, form[i]);
  if (isBranch || in.below(12) != 11)
    return text + ";\n";
  size_t begin = text[0] == '@' ? text.find(' ') + 1 : 0,
         end = std::min(text.find(' ', begin), text.size());
  return text.substr(0, begin) + disturb(in, text.substr(begin, end - begin)) + text.substr(end) +
         ";\n";
}

std::string kernelOf(Bytes &in) {
  std::string body;
  int most =
      static_cast<int>(in.below(40)); // few, and all may be executed; many, and one is refused
  for (int n = 0; n <= most && !in.empty(); ++n)
    body += instructionOf(in);
  return ".version 9.0\n.target sm_100a\n.address_size 64\n"
         ".func (.param .b32 out) twice(.param .b32 value)\n{\n.reg .b32 %v;\n"
         "ld.param.b32 %v, [value];\nst.param.b32 [out], %v;\nret;\n}\n"
         ".visible .entry k(.param .u64 p0, .param .u64 p1, .param .align 64 .b8 map[128])\n{\n"
         ".reg .pred %p<8>;\n.reg .b16 %h<8>;\n.reg .b32 %r<8>;\n.reg .b64 %d<8>;\n"
         ".reg .b128 %q<2>;\n.reg .b64 %rd<4>;\n.param .b32 argument;\n"
         ".shared .align 1024 .b8 tile[8192];\n.shared .align 8 .b64 bars[4];\n"
         ".local .align 16 .b8 room[64];\nld.param.u64 %rd0, [p0];\nld.param.u64 %rd1, [p1];\n"
         "mov.u64 %rd2, map;\ncvta.param.u64 %rd2, %rd2;\nmov.b64 %rd3, 0x4000004000010000;\n"
         "mov.u32 %r1, %tid.x;\nmov.u32 %r0, 0;\nmov.u32 %r2, 16;\nmov.u32 %r3, tile;\n"
         "mov.u64 %d1, %rd0;\nsetp.eq.u32 %p1, %r1, 0;\nsetp.lt.u32 %p2, %r1, 32;\n"
         "@%p1 mbarrier.init.shared::cta.b64 [bars], 1;\nbar.sync 0;\nAGAIN:\n" +
         body + "END:\nret;\n}\n";
}

void runKernel(const LoadedModule &module, const Memory &memory, const KernelInfo &kernel,
               const uint64_t (&buffers)[2], uint8_t how) {
  if (kernel.parameterBytes > 4096 || kernel.localBytes > 4096)
    return;
  std::vector<std::byte> parameters(kernel.parameterBytes);
  for (size_t n = 0; n < kernel.parameters.size() && n < 2; ++n)
    std::memcpy(parameters.data() + kernel.parameters[n].offset, &buffers[n],
                std::min<size_t>(8, kernel.parameters[n].size));
  TensorMap map;
  map.type = TensorType::kF32;
  map.rank = 2, map.address = buffers[0], map.extent[0] = 32, map.extent[1] = 16;
  map.stride[0] = 4, map.stride[1] = 128, map.box[0] = 16, map.box[1] = 4;
  for (const KernelParameter &p : kernel.parameters)
    if (p.size == kTensorMapBytes)
      require(encodeTensorMap(map, std::span<std::byte, kTensorMapBytes>(
                                       parameters.data() + p.offset, kTensorMapBytes))
                  .isOk());
  Launch launch;
  launch.kernel = kernel.name;
  launch.block = {how & 8 ? 160u : 64u, 1, 1};
  launch.grid = {2, 1, 1};
  launch.cluster = {how & 4 ? 2u : 1u, 1, 1};
  launch.dynamicSharedBytes = 256;
  launch.parameters = parameters;
  launch.cooperative = how & 16;
  Options options;
  options.asyncOrder = static_cast<AsyncOrder>(how % 3);
  options.seed = how;
  options.checkRaces = !(how & 32), options.checkInitialised = how & 64;
  options.checkLaneRaces = options.checkGlobalRaces = options.checkTensorFences = how & 32;
  options.counters = how & 128;
  options.warpInstructionLimit = 2000;
  options.threads = 1;
  auto report = run(module, memory, launch, options);
  if (report.isOk() && report->violation)
    require(!report->violation->message.empty() && !report->violation->kernel.empty());
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2)
    return 0;
  Bytes in(data + 2, size - 2, data[0] % 4 != 3);
  std::string text = data[0] % 4 == 0
                         ? std::string(reinterpret_cast<const char *>(data + 2), size - 2)
                         : kernelOf(in);
  auto module = Module::parse(std::move(text));
  if (!module.isOk()) {
    require(!module.status().message().empty());
    return 0;
  }
  size_t bytes = 0;
  for (const GlobalVariable &variable : (*module)->globals())
    bytes += std::min<size_t>(variable.size, 1 << 20);
  if (bytes >= 1 << 20)
    return 0;
  Memory memory;
  uint64_t buffers[2];
  for (uint64_t &buffer : buffers) {
    buffer = memory.allocate(4096, 0).value();
    require(memory.fill(buffer, 3, 4096).isOk());
  }
  auto loaded = LoadedModule::load(*module, memory, 0);
  if (!loaded.isOk())
    return 0;
  for (const KernelInfo &kernel : (*module)->kernels())
    if (kernel.refusals.empty())
      runKernel(**loaded, memory, kernel, buffers, data[1]);
  return 0;
}

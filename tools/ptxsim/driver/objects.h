// Objects: what the handles of the driver API stand for, and the tables that know which live.
//
// A handle is a number that is never used again, not an address: a stale handle, or one of another
// kind, is an error code and never a crash. Everything here is guarded by Driver::mutex.
#pragma once

#include "tools/ptxsim/driver/devices.h"
#include "tools/ptxsim/driver/image.h"
#include "tools/ptxsim/driver/operation.h"
#include "tools/ptxsim/driver/report.h"

#include <map>
#include <unordered_map>

namespace platen::ptxsim::driver {

/// Handles of one kind; they say their kind in bits 40 and up.
template <class T> class Handles {
public:
  explicit Handles(uint64_t kind) : next_(kind << 40 | 0x10) {}
  uint64_t add(std::shared_ptr<T> object) {
    object->handle = next_;
    objects_[next_] = std::move(object);
    return std::exchange(next_, next_ + 0x10);
  }
  std::shared_ptr<T> find(const void *handle) const {
    auto it = objects_.find(reinterpret_cast<uint64_t>(handle));
    return it == objects_.end() ? nullptr : it->second;
  }
  bool remove(uint64_t handle) { return objects_.erase(handle) != 0; }
  bool isOfThisKind(const void *handle) const {
    return reinterpret_cast<uint64_t>(handle) >> 40 == next_ >> 40;
  }
  const std::unordered_map<uint64_t, std::shared_ptr<T>> &all() const { return objects_; }

private:
  uint64_t next_;
  std::unordered_map<uint64_t, std::shared_ptr<T>> objects_;
};

struct Object {
  uint64_t handle = 0;
  template <class H> H as() const { return reinterpret_cast<H>(handle); }
};

struct Node;
/// A capture in progress: the graph that grows, and the streams that take part.
struct Capture {
  std::shared_ptr<Graph> graph;
  CUstreamCaptureMode mode{};
  std::thread::id thread;
  uint64_t id = 0;
  uint64_t origin = 0; // handle of the stream where it began
  bool isInvalid = false;
  std::set<uint64_t> streams; // that joined, the origin included
};

struct Stream : Object {
  std::weak_ptr<Context> context;
  unsigned flags = 0;
  int priority = 0;
  bool isLegacy = false;
  uint64_t id = 0;
  WorkPointer tail;
  std::shared_ptr<Capture> capture;
  std::vector<std::shared_ptr<Node>> captureTail; // what the next captured node follows
  bool isBlocking() const { return !(flags & CU_STREAM_NON_BLOCKING); }
};

struct Event : Object {
  std::weak_ptr<Context> context;
  unsigned flags = 0;
  WorkPointer recorded; // null: never recorded, counts as done
  bool wasRecorded = false;
  std::shared_ptr<Capture> capture; // recorded in a capture
  std::vector<std::shared_ptr<Node>> captured;
};

/// PTX in the memory of one device, and what its cubin says.
struct LoadedImage {
  std::unique_ptr<LoadedModule> loaded;
  std::optional<Cubin> cubin;
};

struct Function : Object {
  std::weak_ptr<Context> context;
  std::shared_ptr<LoadedImage> image;
  uint64_t module = 0; // handle
  const KernelInfo *info = nullptr;
  int registers = 0;
  size_t maxDynamicShared = 0;
  int carveout = -1, nonPortableCluster = 0, schedulingPolicy = 0;
  CUfunc_cache cacheConfig = CU_FUNC_CACHE_PREFER_NONE;
  int threadLimit() const; // by launch bounds and registers
};

struct ModuleObject : Object {
  std::weak_ptr<Context> context;
  std::shared_ptr<LoadedImage> image;
  std::map<std::string, std::shared_ptr<Function>, std::less<>> functions;
};

struct Kernel : Object {
  uint64_t library = 0; // handle
  std::string name;
};
struct Library : Object {
  std::string image;
  std::map<std::string, std::shared_ptr<Kernel>, std::less<>> kernels;
  std::map<uint64_t, std::shared_ptr<ModuleObject>> modules; // by context
};

struct Node : Object {
  std::weak_ptr<Graph> graph;
  Operation operation;
  std::vector<std::shared_ptr<Node>> after;
  uint64_t clonedFrom = 0;
  std::vector<void *> parameters; // what GetParams of a kernel node points at
  std::shared_ptr<Context> context;
};
struct Graph : Object {
  std::vector<std::shared_ptr<Node>> nodes;
  bool isChild = false;
};
struct ExecNode {
  uint64_t node = 0; // handle of the node it was made of
  Operation operation;
  std::vector<size_t> after;
  bool isEnabled = true;
  std::shared_ptr<Context> context;
};
struct GraphExec : Object {
  std::vector<ExecNode> nodes; // every node after what it follows
  uint64_t flags = 0;
  WorkPointer lastLaunch;
};

struct Pool : Object {
  int device = 0;
  uint64_t releaseThreshold = 0, used = 0, usedHigh = 0;
  std::map<CUmemPool_attribute, int> reuse;
  std::set<int> access; // devices other than its own
  bool isDefault = false;
};

struct Context : Object, std::enable_shared_from_this<Context> {
  int device = 0;
  unsigned flags = 0;
  uint64_t id = 0;
  bool isPrimary = false, isDestroyed = false;
  CUresult error = CUDA_SUCCESS; // once set, every call returns it
  std::shared_ptr<Stream> legacy;
  std::map<std::thread::id, std::shared_ptr<Stream>> perThread;
  std::set<uint64_t> streams; // handles, the explicit ones
  struct Orphan {
    WorkPointer tail;
    bool isBlocking;
  };
  std::vector<Orphan> orphans; // what destroyed streams still have to do
  std::set<int> peers;         // devices whose memory kernels may touch
  std::map<CUlimit, size_t> limits;
  CUfunc_cache cacheConfig = CU_FUNC_CACHE_PREFER_NONE;
};

struct Device {
  Architecture architecture;
  int ordinal = 0;
  const DeviceTraits *traits = nullptr;
  size_t memoryBytes = 0;
  std::shared_ptr<Context> primary;
  int primaryCount = 0;
  unsigned primaryFlags = 0;
  std::shared_ptr<Pool> defaultPool, pool;
};

/// What the driver keeps of an allocation beside the simulator's own table.
struct Block {
  enum class Kind { kDevice, kHost, kRegistered, kManaged, kPooled } kind{};
  uint64_t context = 0;
  int device = 0;
  size_t bytes = 0, mappedBytes = 0;
  unsigned flags = 0;
  uint64_t id = 0;
  uint64_t pool = 0;
  bool freePending = false;
};

struct Driver {
  std::mutex mutex;
  Settings settings;
  Memory memory;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<ReportBook> report;
  bool isInitialised = false;
  std::vector<Device> devices;
  uint64_t nextId = 1;
  std::map<uint64_t, Block> blocks; // by address
  std::unordered_map<std::string, std::weak_ptr<const Module>> parsed;
  std::vector<std::weak_ptr<Capture>> captures;

  Handles<Context> contexts{0x51};
  Handles<Stream> streams{0x52};
  Handles<Event> events{0x53};
  Handles<ModuleObject> modules{0x54};
  Handles<Function> functions{0x55};
  Handles<Library> libraries{0x56};
  Handles<Kernel> kernels{0x57};
  Handles<Graph> graphs{0x58};
  Handles<Node> nodes{0x59};
  Handles<GraphExec> execs{0x5A};
  Handles<Pool> pools{0x5B};

  /// Never destroyed: other threads may still call when the process ends.
  static Driver &get();
  CUresult initialise();
};

} // namespace platen::ptxsim::driver

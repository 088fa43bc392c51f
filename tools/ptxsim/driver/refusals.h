// The generated refusals.cpp has one line for each function of cuda.h: a weak definition that
// refuses by name. Where another file defines the function, the linker takes that. Without cuda.h,
// whose declarations would contradict the empty parameter lists (the C calling convention allows
// them).
#pragma once

extern "C" int ptxsimNotSupported(const char *name);

#define PTXSIM_REFUSE(name)                                                                        \
  extern "C" __attribute__((weak)) int name() { return ptxsimNotSupported(#name); }

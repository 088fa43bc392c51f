#!/usr/bin/env bash
# Proves that what a lean build made needs no compiler library: tools/lint/lean.sh build/lean
set -euo pipefail
found=0
while IFS= read -r program; do
  found=$((found + 1))
  # The simulator's own programs are for its libcuda.so.1; nothing else links a driver.
  driver='|libcuda\.'
  [[ $program == */ptxsim/* ]] && driver=
  if ldd "$program" | grep -iE "LLVM|MLIR|onnx|python|cudart|nvrtc|libnv$driver"; then
    echo "lean: $program links a library of the compiler or of CUDA" >&2
    exit 1
  fi
done < <(find "$1" -type f -perm -u+x -exec sh -c 'head -c 4 "$1" | grep -q ELF && echo "$1"' _ {} \;)
((found > 0)) || { echo "lean: no program found in $1" >&2; exit 1; }
echo "lean: $found programs link no LLVM, MLIR, ONNX, CUDA or Python"

#!/usr/bin/env bash
# Proves that what a lean build made needs no compiler library: tools/lint/lean.sh build/lean
set -euo pipefail
found=0
while IFS= read -r program; do
  found=$((found + 1))
  if ldd "$program" | grep -iE 'LLVM|MLIR|onnx|python'; then
    echo "lean: $program links a library of the compiler" >&2
    exit 1
  fi
done < <(find "$1" -type f -perm -u+x -exec sh -c 'head -c 4 "$1" | grep -q ELF && echo "$1"' _ {} \;)
((found > 0)) || { echo "lean: no program found in $1" >&2; exit 1; }
echo "lean: $found programs link no LLVM, MLIR, ONNX or Python"

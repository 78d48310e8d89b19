#!/usr/bin/env bash
# A binary's folder includes itself and common/, never another binary's (design: "The house"). tests/ may include all.
. "$(dirname "$0")/../lib/lib.sh"
cd "$ROOT"
for folder in common apiserver scheduler controller kubelet proxy dns ctl; do
    bad=$(grep -rnE '^#include "' --include='*.c' --include='*.h' "$folder" |
        grep -vE "#include \"(common|$folder)/" || true)
    if [ -z "$bad" ]; then ok "$folder includes itself and common/ only"; else not_ok "$folder includes: $bad"; fi
done

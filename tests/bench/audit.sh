#!/usr/bin/env bash
# What the audit costs a request on its loop: see audit_bench.c.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/bench.sh"

echo "$(machine), load $(cut -d ' ' -f 1-3 /proc/loadavg)"
ninja -C "$BIN/.." bench-audit >/dev/null || die "bench-audit does not build"
"$BIN/bench-audit" | while IFS=$'\t' read -r name value unit target; do
    figure "$name" "$value" "$unit" "$target"
done

#!/usr/bin/env bash
# What authentication and authorization cost a request with 10,000 bindings (SKIFF_BENCH_BINDINGS) and 1,000 roles: see
# access_bench.c.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/bench.sh"

echo "$(machine), load $(cut -d ' ' -f 1-3 /proc/loadavg)"
ninja -C "$BIN/.." bench-access >/dev/null || die "bench-access does not build"
"$BIN/bench-access" "${SKIFF_BENCH_BINDINGS:-10000}" 1000 | while IFS=$'\t' read -r name value unit target; do
    figure "$name" "$value" "$unit" "$target"
done

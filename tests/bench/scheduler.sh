#!/usr/bin/env bash
# What a scheduling decision costs at 5,000 nodes (SKIFF_BENCH_NODES), without an API: see scheduler_bench.c.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/bench.sh"

echo "$(machine), load $(cut -d ' ' -f 1-3 /proc/loadavg)"
ninja -C "$BIN/.." bench-scheduler >/dev/null || die "bench-scheduler does not build"
"$BIN/bench-scheduler" "${SKIFF_BENCH_NODES:-5000}" | while IFS=$'\t' read -r name value unit target; do
    figure "scheduler: $name" "$value" "$unit" "$target"
done

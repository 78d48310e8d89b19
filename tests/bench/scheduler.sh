#!/usr/bin/env bash
# What a scheduling decision costs at 5,000 nodes (SKIFF_BENCH_NODES), alone (scheduler_bench.c) and through the API
# with SKIFF_BENCH_PODS (10,000) pods (scheduler_api.py).
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/bench.sh"

echo "$(machine), load $(cut -d ' ' -f 1-3 /proc/loadavg)"
ninja -C "$BIN/.." bench-scheduler >/dev/null || die "bench-scheduler does not build"
"$BIN/bench-scheduler" "${SKIFF_BENCH_NODES:-5000}" | while IFS=$'\t' read -r name value unit target; do
    figure "scheduler: $name" "$value" "$unit" "$target"
done
python3 "$ROOT/tests/bench/scheduler_api.py" "${SKIFF_BENCH_NODES:-5000}" "${SKIFF_BENCH_PODS:-10000}" |
    while IFS=$'\t' read -r name value unit target; do
        figure "scheduler: $name" "$value" "$unit" "$target"
    done

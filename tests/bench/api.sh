#!/usr/bin/env bash
# What the API server's operations cost: CPU of all Skiff processes an operation, rates and latencies, start-up, memory, idle
# watches; and what grows with the number of objects. The load comes from bench-load on the same machine; run that
# by hand against any cluster (`bench-load --kubeconfig FILE get`) to compare.
# SKIFF_BENCH_REQUESTS (50000) operations a figure, SKIFF_BENCH_OBJECTS (100000): growth and start-up go up to as many.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/bench.sh"

ninja -C "$BIN/.." bench-load >/dev/null || die "bench-load can't be built"
echo "on $(machine)"
while read -r word name value unit target; do
    [ "$word" = figure ] || continue
    figure "API: ${name//_/ }" "$value" "$unit" "$target"
done < <(BIN=$BIN python3 "$(dirname "$0")/api.py" 2>&1 | tee /dev/stderr | grep ^figure)

#!/usr/bin/env bash
# What the controllers do at scale, with hollow nodes: a Deployment of many replicas made and deleted, many small Deployments, the
# cost of one pod's change among many Services, memory a cached pod. SKIFF_BENCH_NODES (1000) and SKIFF_BENCH_PODS (10000).
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/bench.sh"

echo "on $(machine)"
while read -r word name value unit target; do
    [ "$word" = figure ] || continue
    figure "${name//_/ }" "$value" "$unit" "$target"
done < <(BIN=$BIN python3 "$(dirname "$0")/controllers.py" 2>&1 | tee /dev/stderr | grep ^figure)

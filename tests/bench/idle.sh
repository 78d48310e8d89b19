#!/usr/bin/env bash
# What an idle cluster costs: memory, processor and bytes written of each daemon in one minute without work.
#
# A whole cluster on a Docker of its own, left alone for SKIFF_BENCH_SETTLE (30) seconds, then watched for
# SKIFF_BENCH_IDLE (60). Memory is PSS as the kernel counts it at the end of that minute, and beside it "each page once":
# the physical pages that at least one of our processes has mapped, which does not shrink when others on the machine use
# the same libraries. Processor time is from schedstat, bytes from /proc/PID/io.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/node.sh"
. "$(dirname "$0")/../lib/bench.sh"
own_network "$@"

daemons() { # NAME PID lines
    printf 'supervisor %s\n' "$(cat "$DATA/run/supervisor.lock")"
    local f
    for f in "$DATA"/run/*.pid; do
        printf '%s %s\n' "$(basename "$f" .pid)" "$(cat "$f")"
    done
}

echo "$(machine), load $(cut -d ' ' -f 1-3 /proc/loadavg)"
if [ "${1:-}" = --control-plane-only ]; then
    control_plane idle
else
    start_docker
    node_up
fi
sleep "${SKIFF_BENCH_SETTLE:-30}"
daemons >"$WORK/daemons"
python3 "$ROOT/tests/bench/idle.py" "${SKIFF_BENCH_IDLE:-60}" <"$WORK/daemons" >"$WORK/figures" || die "a daemon ended meanwhile"
while read -r name value unit target; do
    figure "idle: ${name//_/ }" "$value" "$unit" "$target"
done <"$WORK/figures"

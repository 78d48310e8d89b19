#!/usr/bin/env bash
# One pod from `skiffctl apply` to Running, beside a script that does the same with Docker by hand (sandbox, CNI, container)
# in the same run: the medians of SKIFF_BENCH_PODS (12) of each, taken in turns, and where the pod's time goes.
#
# The stages come from the watch of the pod (what a client sees) and from Docker's own events, on one clock.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/node.sh"
. "$(dirname "$0")/../lib/bench.sh"
own_network "$@"

echo "$(machine), load $(cut -d ' ' -f 1-3 /proc/loadavg)"
start_docker
mkdir -p "$WORK/image/bin"
cp "$(command -v busybox)" "$WORK/image/bin/"
tar -C "$WORK/image" -c . | docker import --change 'CMD ["/bin/busybox", "sleep", "3600"]' - skiff/bench:1 >/dev/null ||
    die "the image can't be made"
node_up
python3 "$ROOT/tests/bench/pod.py" --pods "${SKIFF_BENCH_PODS:-12}" --docker "$DOCKER_SOCKET" --kubeconfig "$KUBECONFIG" \
    --skiffctl "$BIN/skiffctl" --folder "$WORK" >"$WORK/figures" 2>"$WORK/pod.err" ||
    { sed 's/^/    | /' "$WORK/pod.err"; die "a pod did not start"; }
while IFS=$'\t' read -r name value unit target; do
    figure "pod: $name" "$value" "$unit" "$target"
done <"$WORK/figures"
sed 's/^/    /' "$WORK/pod.err"

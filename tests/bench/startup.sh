#!/usr/bin/env bash
# How long `skiffctl up` takes from nothing: the control plane alone, and until the node is Ready.
#
# Each run has a folder of its own; the median of SKIFF_BENCH_RUNS (5) runs counts. Needs root and Docker for the second
# part, which runs in a network namespace of its own.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/node.sh"
. "$(dirname "$0")/../lib/bench.sh"
own_network "$@"
runs=${SKIFF_BENCH_RUNS:-5}

up_seconds() { # up_seconds [up flags]...: prints the seconds of one start
    local dir start end
    dir=$(mktemp -d "$WORK/up.XXXXXX")
    start=$(now_ms)
    if ! "$BIN/skiffctl" up --data-dir "$dir/c" "$@" >"$dir/out" 2>&1; then
        sed 's/^/    | /' "$dir/out" >&2
        return 1
    fi
    end=$(now_ms)
    sed -n 's/^ *ok *\(.*[^ ]\)  *\([0-9.]* s\)$/    \1: \2/p' "$dir/out" >"$WORK/steps"
    "$BIN/skiffctl" down --purge --data-dir "$dir/c" >/dev/null 2>&1
    awk -v ms=$((end - start)) 'BEGIN {printf "%.3f\n", ms / 1000}'
}

series() { # series NAME TARGET [up flags]...
    local name=$1 target=$2 values=() v i
    shift 2
    for i in $(seq "$runs"); do
        v=$(up_seconds "$@") || die "skiffctl up $* fails"
        values+=("$v")
    done
    figure "$name" "$(median "${values[@]}")" s "$target"
    echo "    runs: ${values[*]}; steps of the last:"
    cat "$WORK/steps"
}

echo "$(machine), load $(cut -d ' ' -f 1-3 /proc/loadavg)"
series "up --control-plane-only" 0.5 --control-plane-only
start_docker
series "up until the node is Ready (first start)" 1.5 --docker-endpoint "unix://$DOCKER_SOCKET"

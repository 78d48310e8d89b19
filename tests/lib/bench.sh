# Shared by the benchmarks; source it after lib.sh (and node.sh).
#
#   figure NAME VALUE UNIT [TARGET]     prints one line: value, target, their ratio, ok or MISSED
#   now_ms; median VALUE...
#   machine                             what it was measured on
#
# With SKIFF_BENCH_RECORD=docs/performance.md the figures also replace their rows in that file's table. The table is kept
# in order of first appearance; a target that is missed stays visible as MISSED.

now_ms() { local t=${EPOCHREALTIME/./}; echo $((t / 1000)); }
median() { printf '%s\n' "$@" | sort -g | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

machine() {
    printf '%s, %s cores, %s MB, Linux %s' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" \
        "$(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo)" "$(uname -r)"
}

figure() { # figure NAME VALUE UNIT [TARGET]
    local name=$1 value=$2 unit=$3 target=${4:-} ratio=- verdict=-
    if [ -n "$target" ]; then
        ratio=$(awk -v v="$value" -v t="$target" 'BEGIN {printf "%.2f", v / t}')
        verdict=$(awk -v v="$value" -v t="$target" 'BEGIN {print v <= t ? "ok" : "MISSED"}')
    fi
    printf 'figure %-44s %10s %-5s target %8s  ratio %5s  %s\n' "$name" "$value" "$unit" "${target:--}" "$ratio" "$verdict"
    [ -z "${SKIFF_BENCH_RECORD:-}" ] || record "$name" "$value $unit" "${target:--}" "$ratio" "$verdict"
}

record() {
    local commit load
    commit=$(git -C "$ROOT" rev-parse --short HEAD 2>/dev/null)
    load=$(cut -d ' ' -f 1 /proc/loadavg)
    local row="| $1 | $2 | $3 | $4 | $5 | $commit | $(date -u +%F) | $load |"
    awk -v name="| $1 |" -v row="$row" '
        index($0, name) == 1 && !done {print row; done = 1; next}
        in_table && !/^\|/ && !done {print row; done = 1}
        {print; in_table = /^\|/ && !/never/}
        END {if (!done) print row}' "$SKIFF_BENCH_RECORD" >"$SKIFF_BENCH_RECORD.new" &&
        mv "$SKIFF_BENCH_RECORD.new" "$SKIFF_BENCH_RECORD"
}

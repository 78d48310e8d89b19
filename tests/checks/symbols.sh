#!/usr/bin/env bash
# No two folders define the same external name: several daemons must fit into one process (the simulator links them).
. "$(dirname "$0")/../lib/lib.sh"
cd "$ROOT"
libraries=(build/*/libskiff-*.a)
if [ ! -e "${libraries[0]}" ]; then
    cmake -G Ninja -B build -S . >/dev/null && nice ninja -C build >/dev/null || die "build"
    libraries=(build/*/libskiff-*.a)
fi
double=$(for library in "${libraries[@]}"; do
    nm -g --defined-only "$library" 2>/dev/null | awk -v l="$(basename "$library")" 'NF == 3 && $2 ~ /[TDBR]/ {print $3, l}' | sort -u
done | sort | awk '$1 == last {print $1 " (" from ", " $2 ")"} {last = $1; from = $2}')
if [ -z "$double" ]; then ok "every external name is defined in one folder"; else not_ok "defined twice: $double"; fi

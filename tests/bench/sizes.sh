#!/usr/bin/env bash
# Size of each binary as built and without debug information.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/bench.sh"

total=0
for binary in "$BIN"/skiff*; do
    [ -x "$binary" ] && [ "$(basename "$binary")" != skiff-sim ] || continue # the simulator is a test
    strip -o "$WORK/stripped" "$binary"
    bytes=$(stat -c %s "$WORK/stripped")
    total=$((total + bytes))
    figure "size of $(basename "$binary"), stripped" $((bytes / 1024)) KB
    echo "    as built: $(($(stat -c %s "$binary") / 1024)) KB"
done
figure "size of all binaries, stripped" $((total / 1024)) KB

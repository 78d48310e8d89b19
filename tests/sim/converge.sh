#!/usr/bin/env bash
# Every controller ends in the same state whether its manager is killed between any two writes, sees everything late, or misses events
# and sees only states. SKIFF_CONVERGE_SEEDS (default 1) seeds a scenario and pattern, from SKIFF_SIM_SEED (default 1).
set -u
BIN=${BIN:-$(cd "$(dirname "$0")/../../build/bin" && pwd)}
exec "$BIN/skiff-sim" --converge --seed "${SKIFF_SIM_SEED:-1}" --seeds "${SKIFF_CONVERGE_SEEDS:-1}"

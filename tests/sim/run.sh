#!/usr/bin/env bash
# A cluster in one process on a simulated clock, network and disk: components are killed at any step, acknowledged writes survive,
# watches have no gaps, a seed gives one run. SKIFF_SIM_SEEDS (default 10) seeds from SKIFF_SIM_SEED (default 1).
set -u
BIN=${BIN:-$(cd "$(dirname "$0")/../../build/bin" && pwd)}
exec "$BIN/skiff-sim" --seed "${SKIFF_SIM_SEED:-1}" --seeds "${SKIFF_SIM_SEEDS:-10}"

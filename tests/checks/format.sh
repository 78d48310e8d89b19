#!/usr/bin/env bash
# Every source file is as clang-format leaves it (.clang-format; clang-format -i FILE mends one).
. "$(dirname "$0")/../lib/lib.sh"
cd "$ROOT"
need_format=$(git ls-files '*.c' '*.h' | xargs -P 2 -n 20 clang-format --dry-run 2>&1 | sed -n 's/^\([^:]*\):[0-9]*:.*/\1/p' | sort -u)
if [ -z "$need_format" ]; then ok "every source file is formatted"; else not_ok "to be formatted: $need_format"; fi
scripts=$(for f in $(git ls-files '*.sh' deploy/quickstart deploy/install-deps deploy/build-images tests/run .ci/run); do bash -n "$f" 2>&1 || true; done)
if [ -z "$scripts" ]; then ok "every script parses"; else not_ok "$scripts"; fi

#!/usr/bin/env bash
# File length (below 1,000 lines), a header comment in every .c file, a README in every folder, no stray markers.
. "$(dirname "$0")/../lib/lib.sh"
cd "$ROOT"
long=$(git ls-files '*.c' '*.h' | xargs wc -l | awk '$2 != "total" && $1 >= 1000 {print $2 ": " $1}')
if [ -z "$long" ]; then ok "no source file reaches 1,000 lines"; else not_ok "files of 1,000 lines and more: $long"; fi

bare=$(for f in $(git ls-files '*.c' ':!tests/fuzz/*'); do head -n 1 "$f" | grep -q '^/\*' || echo "$f"; done)
if [ -z "$bare" ]; then ok "every .c file says first what it is"; else not_ok "no header comment: $bare"; fi

without=$(for d in apiserver scheduler controller kubelet proxy dns common ctl manifests tests deploy; do [ -e "$d/README.md" ] || echo "$d"; done)
if [ -z "$without" ]; then ok "every folder has a README"; else not_ok "no README in: $without"; fi

marks=$(grep -rnE '\b(TODO|FIXME|XXX)\b' --include='*.c' --include='*.h' apiserver scheduler controller kubelet proxy dns common ctl || true)
if [ -z "$marks" ]; then ok "no unfinished places are marked in the code"; else not_ok "marks: $marks"; fi

silent=$(for f in tests/{checks,integration,sim,fault,e2e}/*.{sh,py} tests/bench/*.sh; do [ ! -f "$f" ] || [ -x "$f" ] || echo "$f"; done)
if [ -z "$silent" ]; then ok "every script that would be run can be"; else not_ok "not executable, so never run: $silent"; fi

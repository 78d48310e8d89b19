#!/usr/bin/env bash
# Goal: every verb of kubectl does what it does on Kubernetes, with the oldest and the newest kubectl to be had.
# Method: a node with real containers; lib/verbs.py walks through the verbs in a namespace of its own for each kubectl and
# looks at what the output means, and at the objects afterwards.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/node.sh"
own_network "$@"
start_docker --iptables=false --bridge=none
demo_images 1 2
node_up
find_kubectls
for kubectl in "$KUBECTL_OLD" "$KUBECTL"; do
    python3 "$ROOT/tests/e2e/lib/verbs.py" "$kubectl" || failures=$((failures + 1))
done

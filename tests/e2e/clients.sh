#!/usr/bin/env bash
# Goal: client libraries other than Go's work unmodified: Debian's python3-kubernetes and npm's @kubernetes/client-node.
# Method: a node with real containers; each library walks through what programs do with it (lib/client_*).
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/node.sh"
npm_folder=/var/tmp/skiff-test-npm # kept between runs; the node's network below has no way out
if [ -z "${SKIFF_TEST_HOST:-}" ] && [ ! -d "$npm_folder/node_modules/@kubernetes/client-node" ]; then
    mkdir -p "$npm_folder"
    (cd "$npm_folder" && npm install --no-audit --no-fund @kubernetes/client-node@1.4.0 >npm.log 2>&1) || tail -n 5 "$npm_folder/npm.log"
fi
own_network "$@"
start_docker --iptables=false --bridge=none
demo_images 1
node_up
/usr/bin/python3 "$ROOT/tests/e2e/lib/client_python.py" || failures=$((failures + 1))
if [ -d "$npm_folder/node_modules/@kubernetes/client-node" ]; then
    cp "$ROOT/tests/e2e/lib/client_node.mjs" "$npm_folder/"
    node "$npm_folder/client_node.mjs" || failures=$((failures + 1))
else
    not_ok "npm could not install @kubernetes/client-node"
fi

#!/usr/bin/env bash
# Goal: deploy/quickstart brings a new user from the tree to a running application, and a second run changes nothing.
# Method: the script itself in a network namespace, with a data folder and a Docker socket of the test's; it builds (with the
# build at hand) and fetches the page; what exists is listed before and after the second run.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/node.sh"
own_network "$@"

start_docker --iptables=false --bridge=none
host_state >"$WORK/before"
build=$(dirname "$BIN")
if [ ! -e "$build/CMakeCache.txt" ] || ! grep -q "^CMAKE_HOME_DIRECTORY:INTERNAL=$ROOT\$" "$build/CMakeCache.txt"; then
    build=$ROOT/build # BIN was built from another tree
fi
export SKIFF_DATA_DIR=$WORK/cluster SKIFF_DOCKER=unix://$DOCKER_SOCKET SKIFF_BUILD_DIR=$build
DATA=$WORK/cluster
on_exit "'$build/bin/skiffctl' down --purge --data-dir '$DATA' >/dev/null 2>&1"
quickstart() { # quickstart NAME
    local started=$SECONDS
    if "$ROOT/deploy/quickstart" >"$WORK/$1.out" 2>&1; then
        ok "quickstart, $1 time ($((SECONDS - started)) s)"
    else
        sed 's/^/    | /' "$WORK/$1.out" | tail -n 40
        die "quickstart fails the $1 time"
    fi
}
quickstart first
export KUBECONFIG=$DATA/admin.kubeconfig PATH=$build/bin:$PATH
out=$(cat "$WORK/first.out")
for way in "ClusterIP" "NodePort" "DNS name, in a pod"; do
    check_has "the page by $way" "$(grep -F "  $way " "$WORK/first.out")" "version 1, served by pod guestbook-"
done
check_has "it says where the guestbook is" "$out" "The guestbook is at http://192.0.2.1:30080/"
check_has "it shows the pods" "$out" "guestbook-backend-0"
check_has "it says how to go on" "$out" "export KUBECONFIG=$DATA/admin.kubeconfig"
check_has "it says how to end" "$out" "skiffctl down --purge --data-dir $DATA"
check "its address works" page_has http://192.0.2.1:30080/ "served by pod"

everything() { # what runs and stands here, with its versions
    cat "$DATA"/run/*.pid
    docker ps -q --no-trunc | sort
    docker images -q --no-trunc | sort
    skiffctl get deployments,statefulsets,services,configmaps,secrets,pods \
        -o 'jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.uid} {.metadata.generation}{"\n"}{end}'
}
settled() { everything >"$WORK/now" && everything | cmp -s - "$WORK/now"; }
wait_for 20 "all is settled" settled
everything >"$WORK/first.state"
quickstart second
wait_for 20 "all is settled" settled
check_eq "the second run changed nothing" "$(diff "$WORK/first.state" "$WORK/now" | head -n 10)" ""
check_has "it says so" "$(cat "$WORK/second.out")" "They are in Docker already."
check_has "it fetches the page again" "$(grep -F '  ClusterIP ' "$WORK/second.out")" "served by pod guestbook-"
check "down --purge" skiffctl down --purge --data-dir "$DATA"
check_eq "the host looks as before, but for the demo images" \
    "$(host_state | grep -v '^image ' | diff <(grep -v '^image ' "$WORK/before") - | grep '^[<>]' | head -n 20)" ""

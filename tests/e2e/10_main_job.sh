#!/usr/bin/env bash
# Goal: the main job on real containers, and that nothing which happens to a daemon disturbs the application.
# Method: a node of its own (network namespace, dockerd without a firewall of its own); the guestbook is applied, fetched in
# three ways, scaled 2 -> 5 -> 1, updated and rolled back while a client fetches its page in a loop and every answer
# counts; each daemon and the supervisor are killed with SIGKILL in that time; at the end the host must look as before.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/node.sh"
. "$(dirname "$0")/../lib/guestbook.sh"
own_network "$@"

start_docker --iptables=false --bridge=none
demo_images 1 2
host_state >"$WORK/before"
node_up

# A second `up` finds everything in place.
pids() { cat "$DATA"/run/*.pid "$DATA/run/supervisor.lock"; }
before=$(pids)
check "up again" skiffctl up --data-dir "$DATA"
check_eq "it starts nothing" "$(pids)" "$before"
check_eq "the admin's kubeconfig is private" "$(stat -c %a "$DATA/admin.kubeconfig" "$DATA" | tr '\n' ' ')" "600 700 "

guestbook_apply
guestbook_pages
guestbook_entry

# Scaling, with a client that looks on.
client_start "$NODE_URL"
scale_to 2
scale_to 5
endpoints_are() { [ "$(skiffctl get endpointslices -l kubernetes.io/service-name=guestbook -o 'jsonpath={.items[*].endpoints[*].addresses[0]}' | wc -w)" -eq "$1" ]; }
wait_for 10 "the Service has 5 endpoints" endpoints_are 5
scale_to 1
wait_for 10 "the Service has 1 endpoint" endpoints_are 1
check_client "no request failed in scaling"
scale_to 3

# A rolling update and back.
client_start "$NODE_URL"
guestbook_version 2
check "rollout status" skiffctl rollout status deployment/guestbook --timeout 90s
wait_for 15 "all pages are version 2" pages_are_version 2
history=$(skiffctl rollout history deployment/guestbook)
check_eq "history shows both revisions" "$(awk '$1 ~ /^[0-9]+$/ {print $1}' <<<"$history" | tr '\n' ' ')" "1 2 "
check "rollout undo" skiffctl rollout undo deployment/guestbook
check "rollout status" skiffctl rollout status deployment/guestbook --timeout 90s
wait_for 15 "all pages are version 1 again" pages_are_version 1
wait_for 30 "3 pods are left" pods_ready "$WEB" 3
history=$(skiffctl rollout history deployment/guestbook)
check_eq "history counts on" "$(awk '$1 ~ /^[0-9]+$/ {print $1}' <<<"$history" | tr '\n' ' ')" "2 3 "
check_client "no request failed in update and rollback"
check "the entries are still there" page_has "$NODE_URL" "<b>Ada</b>"

# Each daemon is killed once; the cluster must do its work again right after.
daemon_back() { # daemon_back NAME OLD-PID
    local pid url
    pid=$(cat "$DATA/run/$1.pid") && [ "$pid" != "$2" ] && kill -0 "$pid" || return 1
    url=$(python3 -c 'import json, sys
print([d["health"] for d in json.load(open(sys.argv[1])) if d["name"] == sys.argv[2]][0])' "$DATA/run/daemons.json" "$1")
    [ "$(curl -sk --max-time 5 "$url")" = ok ]
}
containers=$(pod_containers)
client_start "$NODE_URL"
replicas=3
for daemon in apiserver controller-manager scheduler kubelet proxy dns; do
    pid=$(cat "$DATA/run/$daemon.pid")
    skiffctl apply -f - >/dev/null <<YAML
{apiVersion: v1, kind: ConfigMap, metadata: {name: kept-$daemon}}
YAML
    kill -9 "$pid"
    wait_for 20 "$daemon is back after SIGKILL" daemon_back "$daemon" "$pid"
    check "what was written before is there" skiffctl get configmap "kept-$daemon"
    replicas=$((5 - replicas)) # 2 and 3 in turn
    scale_to "$replicas"
done
guestbook_pages
pid=$(head -n 1 "$DATA/run/supervisor.lock")
kill -9 "$pid"
check "the page is served without a supervisor" page_has "$NODE_URL" "served by pod"
check "up starts another supervisor" skiffctl up --data-dir "$DATA"
check "its pid is new" test "$(head -n 1 "$DATA/run/supervisor.lock")" != "$pid"
scale_to 2
check_client "no request failed while daemons were killed"
# Pods that lived through it all have the containers they had.
check_eq "no container was made again" "$(comm -12 <(sort <<<"$containers") <(pod_containers | sort) | cut -d' ' -f1 | tr '\n' ' ')" \
    "$(comm -12 <(cut -d' ' -f1 <<<"$containers" | sort) <(pod_containers | cut -d' ' -f1 | sort) | tr '\n' ' ')"
check_eq "no container was restarted" "$(pod_containers | awk '{n += $3} END {print n + 0}')" 0
check_eq "the node is Ready" "$(skiffctl get nodes -o 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}')" True

# The end of the application, then of the cluster.
check "delete -f manifests/guestbook" skiffctl delete -f "$ROOT/manifests/guestbook" --timeout 60s
wait_for 30 "no pod is left" no_pods app=guestbook
containers_gone() { [ -z "$(docker ps -aq --filter label=io.kubernetes.pod.namespace=default)" ]; }
wait_for 20 "no container is left" containers_gone
nothing_owned() { [ -z "$(skiffctl get replicasets,endpointslices,controllerrevisions -l app=guestbook --no-headers 2>/dev/null)" ]; }
wait_for 20 "no ReplicaSet, EndpointSlice or ControllerRevision is left" nothing_owned

keep_logs
check "apply it again, to take the cluster down with pods on it" skiffctl apply -f "$ROOT/manifests/guestbook"
check "it rolls out" skiffctl rollout status deployment/guestbook --timeout 60s
check "down keeps the state" skiffctl down --data-dir "$DATA"
check_eq "no process is left" "$(our_processes | cut -c 1-80)" ""
check_eq "no container is left" "$(docker ps -aq)" ""
check "up again" skiffctl up --data-dir "$DATA"
check "the application comes back" skiffctl rollout status deployment/guestbook --timeout 60s
wait_for 20 "its page is served" page_has "$NODE_URL" "served by pod guestbook-"
if skiffctl down --purge --data-dir "$DATA" >"$WORK/down.out" 2>&1; then ok "down --purge"; else not_ok "down --purge: $(cat "$WORK/down.out")"; fi
check_eq "the host looks as before" "$(host_state | diff "$WORK/before" - | grep '^[<>]' | head -n 20)" ""
check "down again finds nothing to do" skiffctl down --purge --data-dir "$DATA"

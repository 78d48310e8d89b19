#!/usr/bin/env bash
# Goal: the main job with the state in etcd, also when etcd is killed.
# Method: Debian's etcd on loopback with a folder of its own; a short form of the main job; etcd gets SIGKILL while a client
# fetches the page; reads from the cache go on, writes fail in bounded time and work again when etcd is back; nothing that was acknowledged
# is lost.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/node.sh"
. "$(dirname "$0")/../lib/guestbook.sh"
own_network "$@"

start_etcd() {
    etcd --data-dir "$WORK/etcd" --logger zap >>"$WORK/etcd.log" 2>&1 &
    ETCD_PID=$!
    on_exit "kill -9 $ETCD_PID 2>/dev/null"
}
etcd_healthy() { curl -fsS --max-time 2 http://127.0.0.1:2379/health; }
etcd_keys() { ETCDCTL_API=3 etcdctl get /skiff --prefix --keys-only; }

# Without etcd, `up` says so and leaves nothing.
start_docker --iptables=false --bridge=none
demo_images 1 2
out=$(timeout 60 "$BIN/skiffctl" up --store etcd --data-dir "$WORK/none" --docker-endpoint "unix://$DOCKER_SOCKET" --timeout 5s 2>&1)
check_eq "up without etcd fails" "$?" 1
check_has "it names etcd" "$out" "etcd"
check "it leaves no folder" test ! -e "$WORK/none"
check_eq "it leaves no process" "$(DATA=$WORK/none our_processes | cut -c 1-80)" ""

start_etcd
wait_for 20 "etcd runs" etcd_healthy
node_up --store etcd
check_has "the state is in etcd" "$(etcd_keys)" "/skiff/"
check "no database file" test ! -e "$DATA/db/skiff.db"
guestbook_apply
guestbook_pages
guestbook_entry
client_start "$NODE_URL"
scale_to 5
scale_to 2
guestbook_version 2
check "rollout status" skiffctl rollout status deployment/guestbook --timeout 90s
wait_for 15 "all pages are version 2" pages_are_version 2
check "rollout undo" skiffctl rollout undo deployment/guestbook
check "rollout status" skiffctl rollout status deployment/guestbook --timeout 90s
check_client "no request failed in scaling, update and rollback"

# etcd dies in the middle of writes.
client_start "$NODE_URL"
containers=$(pod_containers)
write() { # write N: creates a ConfigMap; prints its name when the server says it is there
    skiffctl apply -f - <<<"{apiVersion: v1, kind: ConfigMap, metadata: {name: numbered-$1}}" >/dev/null 2>&1 && echo "numbered-$1"
}
(for i in $(seq 400); do [ -e "$WORK/enough" ] || write "$i"; done >"$WORK/acknowledged") &
writer=$!
on_exit "touch '$WORK/enough'; wait $writer"
some_written() { [ "$(wc -l <"$WORK/acknowledged")" -ge "$1" ]; }
wait_for 20 "writes are acknowledged" some_written 5
{ kill -9 "$ETCD_PID" && wait "$ETCD_PID"; } 2>/dev/null
find_kubectls
check "reads from the cache go on without etcd" "$KUBECTL" get --raw '/api/v1/namespaces/default/pods?resourceVersion=0'
check_has "a read that must be the newest says what is missing" "$(skiffctl get pods 2>&1)" "etcd at http://127.0.0.1:2379"
started=$SECONDS
skiffctl apply -f - <<<'{apiVersion: v1, kind: ConfigMap, metadata: {name: not-now}}' >"$WORK/not-now" 2>&1
check "a write without etcd is answered in bounded time ($((SECONDS - started)) s)" test $((SECONDS - started)) -le 30
check "the page is served" page_has "$NODE_URL" "served by pod"
before=$(wc -l <"$WORK/acknowledged")
start_etcd
wait_for 20 "etcd is back" etcd_healthy
wait_for 30 "writes work again" some_written $((before + 5))
touch "$WORK/enough"
wait "$writer"
there=$(skiffctl get configmaps -o name | sed -n 's|.*/\(numbered-\)|\1|p' | sort)
check_eq "every acknowledged write is there" "$(sort "$WORK/acknowledged" | comm -23 - <(printf '%s\n' "$there"))" ""
check_eq "the caches agree with etcd" "$(etcd_keys | grep -c '/numbered-')" "$(wc -l <<<"$there")"
scale_to 4
check_client "no request failed while etcd was away"
check_eq "no container was restarted" "$(pod_containers | awk '{n += $3} END {print n + 0}')" 0

# The API server dies too, and finds everything again.
pid=$(cat "$DATA/run/apiserver.pid")
kill -9 "$pid"
apiserver_back() { [ "$(cat "$DATA/run/apiserver.pid")" != "$pid" ] && skiffctl get nodes; }
wait_for 20 "the API server is back after SIGKILL" apiserver_back
scale_to 2

check "down" skiffctl down --data-dir "$DATA"
check "up again" skiffctl up --data-dir "$DATA"
check "the application comes back" skiffctl rollout status deployment/guestbook --timeout 60s
wait_for 20 "its page is served" page_has "$NODE_URL" "served by pod guestbook-"
check_has "down --purge says what stays in etcd" "$(skiffctl down --purge --data-dir "$DATA" 2>&1)" "still in etcd"
check_eq "no process is left" "$(our_processes | cut -c 1-80)" ""
check_eq "no container is left" "$(docker ps -aq)" ""

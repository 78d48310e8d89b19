#!/usr/bin/env bash
# Goal: gRPC probes: a server that serves makes its pod ready, one that doesn't know the service, one that isn't there and one that
# never answers don't, and the event says why.
# Method: Debian's etcd on this host implements grpc.health.v1.Health; pods in the host's network are probed at its port.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/node.sh"
own_network "$@"
start_docker --iptables=false --bridge=none
demo_images 1
node_up
etcd --data-dir "$WORK/etcd" --listen-client-urls http://192.0.2.1:2390 --advertise-client-urls http://192.0.2.1:2390 \
    --listen-peer-urls http://127.0.0.1:2391 --logger zap >"$WORK/etcd.log" 2>&1 &
ETCD_PID=$!
on_exit "kill -9 $ETCD_PID 2>/dev/null"
python3 -c '
import socket, time
s = socket.create_server(("192.0.2.1", 2392))
kept = []
while True: kept.append(s.accept())' & # takes connections and says nothing
on_exit "kill $! 2>/dev/null"
etcd_healthy() { curl -fsS --max-time 2 http://192.0.2.1:2390/health; }
wait_for 20 "etcd runs" etcd_healthy
pod() { # pod NAME PROBE
    printf -- '---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec:\n  hostNetwork: true\n  terminationGracePeriodSeconds: 0\n' "$1"
    printf '  containers:\n  - name: m\n    image: skiff/guestbook:1\n    command: [sleep, "100000"]\n'
    printf '    readinessProbe: {grpc: %s, periodSeconds: 1, failureThreshold: 1}\n' "$2"
}
{
    pod good '{port: 2390}'
    pod unknown '{port: 2390, service: nothing}'
    pod absent '{port: 2399}'
    pod silent '{port: 2392}'
} >"$WORK/pods.yaml"
skiffctl apply -f "$WORK/pods.yaml" >/dev/null
ready_is() { field_is pod "$1" '{.status.conditions[?(@.type=="Ready")].status}' "$2"; }
told() { skiffctl get events -o 'jsonpath={range .items[*]}{.involvedObject.name} {.message}{"\n"}{end}' | grep -qE "^$1 Readiness probe failed: .*$2"; }
wait_for 30 "the one that serves is ready" ready_is good True
wait_for 20 "an unknown service: said" told unknown 'unknown service'
wait_for 20 "nobody there: said" told absent 'failed to connect service "192.0.2.1:2399".*refused'
wait_for 20 "no answer: said" told silent 'timeout: health rpc did not complete within 1s'
for p in unknown absent silent; do check "$p is not ready" ready_is "$p" False; done
kill -9 "$ETCD_PID"
wait_for 20 "without its server the good one isn't either" ready_is good False
exit $((failures > 0))

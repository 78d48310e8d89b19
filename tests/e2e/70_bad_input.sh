#!/usr/bin/env bash
# Goal: wrong starts and wrong manifests get an answer that says what is wrong and what to do, and change nothing.
# Method: `up` without Docker, with a taken port, without rights, on a full disk, in a folder of somebody else; then a control
# plane, and manifests with one mistake each.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/node.sh"
own_network "$@"
PATH=$BIN:$PATH

start_docker --iptables=false --bridge=none
docker_endpoint=unix://$DOCKER_SOCKET
host_state >"$WORK/before"
DATA=$WORK/bad
fails() { # fails STATUS TEXT NEEDLE command...: ends with STATUS, its message has NEEDLE, the host is as before
    local status=$1 text=$2 needle=$3 out got
    shift 3
    out=$("$@" 2>&1)
    got=$?
    check_eq "up $text fails" "$got" "$status"
    check_has "  it says so" "$out" "$needle"
    check_eq "  nothing is left" "$(host_state | diff "$WORK/before" - | grep '^[<>]' | head -n 5)" ""
}
up() { skiffctl up --data-dir "$DATA" --docker-endpoint "$docker_endpoint" "$@"; }

docker_endpoint=unix://$WORK/no.sock
fails 1 "without Docker" "Docker does not answer at unix://$WORK/no.sock (no such socket); start it with" up
python3 -c '
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
time.sleep(120)' "$WORK/mute.sock" &
on_exit "kill $! 2>/dev/null"
until [ -S "$WORK/mute.sock" ]; do sleep 0.05; done
docker_endpoint=unix://$WORK/mute.sock
fails 1 "with a Docker that says nothing" "Docker does not answer at unix://$WORK/mute.sock (no answer)" up
docker_endpoint=unix://$DOCKER_SOCKET

taken() { # taken PORT [udp]
    python3 -c '
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if "udp" in sys.argv else socket.SOCK_STREAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", int(sys.argv[1])))
if "udp" not in sys.argv: s.listen()
print("ready", flush=True)
time.sleep(120)' "$@" >"$WORK/taken.$1" &
    TAKER=$!
    on_exit "kill $TAKER 2>/dev/null"
    until [ -s "$WORK/taken.$1" ]; do sleep 0.05; done
}
for port in 6443 10250; do
    taken "$port"
    fails 1 "with port $port taken" "port $port for" up
    { kill "$TAKER" && wait "$TAKER"; } 2>/dev/null
done
taken 10053 udp
fails 1 "with the DNS port taken" "port 10053 for the cluster DNS is taken" up
{ kill "$TAKER" && wait "$TAKER"; } 2>/dev/null

# A nobody: the binaries and the folder must be reachable, so that rights are what is missing.
cp -r "$BIN" "$WORK/bin"
chmod 755 "$WORK" "$WORK/bin"
mkdir -m 777 "$WORK/nobody"
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$WORK/bin/skiffctl" "$@"; }
fails 1 "without root" "a node needs root" as_nobody up --data-dir "$WORK/nobody/c" --docker-endpoint "$docker_endpoint"
check "  no folder was made" test ! -e "$WORK/nobody/c"
fails 1 "in a folder that can't be made" "/nobodys" as_nobody up --control-plane-only --data-dir "/nobodys"
check "a control plane needs no root" as_nobody up --control-plane-only --data-dir "$WORK/nobody/c" --secure-port 7443
check "and goes down without" as_nobody down --purge --data-dir "$WORK/nobody/c"
check "  the folder is gone" test ! -e "$WORK/nobody/c"

mkdir "$WORK/small"
mount -t tmpfs -o size=20m tmpfs "$WORK/small"
on_exit "umount '$WORK/small' 2>/dev/null"
DATA=$WORK/small/c
fails 1 "on a full disk" "MB are free in $WORK/small/c and at least 256 MB are needed; free some space" up
check_eq "  no file is left" "$(ls -A "$WORK/small")" ""
DATA=$WORK/theirs
mkdir "$DATA"
echo precious >"$DATA/file"
out=$(up 2>&1)
check_eq "up in somebody's folder fails" "$?" 1
check_has "  it says so" "$out" "is not empty and does not hold a Skiff cluster"
check_eq "  the folder is as before" "$(ls -A "$DATA") $(cat "$DATA/file")" "file precious"
check_eq "down --purge refuses it" "$(skiffctl down --purge --data-dir "$DATA" 2>&1 | grep -c 'does not hold a Skiff cluster')" 1
check_eq "  the folder is as before" "$(ls -A "$DATA") $(cat "$DATA/file")" "file precious"
DATA=$WORK/bad
fails 2 "with an unknown flag" "--no-such-flag" up --no-such-flag
fails 2 "with an unknown store" "--store is embedded or etcd, not \"mongo\"" up --store mongo
fails 2 "with a relative folder" "--data-dir must be the absolute path" skiffctl up --data-dir here
fails 2 "with a port out of range" "--secure-port must be between" up --secure-port 70000
printf '#!/bin/sh\necho no such luck >&2; exit 3\n' >"$WORK/bin/skiff-scheduler.new"
chmod 755 "$WORK/bin/skiff-scheduler.new"
mv "$WORK/bin/skiff-scheduler.new" "$WORK/bin/skiff-scheduler"
fails 1 "with a daemon that dies at once" "no such luck" "$WORK/bin/skiffctl" up --data-dir "$DATA" --docker-endpoint "$docker_endpoint" --timeout 4s

# Manifests with one mistake each.
control_plane plane
refused() { # refused TEXT NEEDLE <manifest: status 1 or 2, a message with NEEDLE, no object
    local text=$1 needle=$2 out status
    out=$(skiffctl apply -f - 2>&1)
    status=$?
    check_eq "$text is refused" "$status" 1
    check_has "  it says so" "$out" "$needle"
}
refused "what is not YAML" "line 2" <<<$'kind: ConfigMap\n  metadata: [}'
refused "an unknown kind" 'no matches for kind "Frobnicator" in version "v1"' <<<'{apiVersion: v1, kind: Frobnicator, metadata: {name: a}}'
refused "an unknown version" 'no matches for kind "Deployment" in version "apps/v9"' <<<'{apiVersion: apps/v9, kind: Deployment, metadata: {name: a}}'
refused "an unknown field" 'unknown field "dat"' <<<'{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, dat: {b: c}}'
refused "a duplicate field" 'already set' <<<$'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {b: c}\ndata: {d: e}'
refused "a missing field" 'spec.containers: Required value' <<<'{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {}}'
refused "a wrong type" 'cannot unmarshal' <<<'{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {b: {c: d}}}'
refused "a wrong name" 'a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters' <<<'{apiVersion: v1, kind: ConfigMap, metadata: {name: Not_A_Name}}'
refused "a missing name" 'metadata.name' <<<'{apiVersion: v1, kind: ConfigMap, metadata: {}}'
refused "a value that is not allowed" 'spec.type: Unsupported value: "Teleport"' <<<'{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {type: Teleport, ports: [{port: 80}]}}'
refused "a Service without ports" 'spec.ports: Required value' <<<'{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {}}'
refused "selector and labels that differ" '`selector` does not match template `labels`' <<<'{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: a, image: b}]}}}}'
refused "a namespace that is not there" 'namespaces "nowhere" not found' <<<'{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: nowhere}}'
check_has "a good object beside a bad one is made" "$(skiffctl apply -f - 2>&1 <<<$'{apiVersion: v1, kind: ConfigMap, metadata: {name: good}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: BAD}}')" "configmap/good created"
check_eq "nothing else was made" "$(skiffctl get configmaps,pods,services,deployments -o name | grep -v kube-root-ca | tr '\n' ' ')" "configmap/good service/kubernetes "
out=$(skiffctl apply -f /nowhere/at/all.yaml 2>&1)
check_eq "a file that is not there" "$?" 1
check_has "  it says so" "$out" "/nowhere/at/all.yaml"

# The Status object behind the text, as any Kubernetes client gets it.
call() { # call METHOD PATH [body-file]
    curl -sS --max-time 20 --cacert "$DATA/pki/ca.crt" --cert "$DATA/pki/admin.crt" --key "$DATA/pki/admin.key" \
        -H 'Content-Type: application/json' -X "$1" ${3:+--data-binary "@$3"} "https://127.0.0.1:$PORT$2"
}
status_of() { jq -r '"\(.code) \(.reason) \([.details.causes[]?.field] | join(","))"'; }
echo '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "A b"}, "spec": {"containers": [{"name": "UP"}]}}' >"$WORK/body"
check_eq "causes name the fields" "$(call POST /api/v1/namespaces/default/pods "$WORK/body" | status_of)" \
    "422 Invalid metadata.name,spec.containers[0].name,spec.containers[0].image"
echo '{"apiVersion": "v1", "kind": "ConfigMap", "metadata"' >"$WORK/body"
check_eq "half an object" "$(call POST /api/v1/namespaces/default/configmaps "$WORK/body" | status_of)" "400 BadRequest "
python3 -c 'print("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"deep\"},\"data\":" + "[" * 10000 + "]" * 10000 + "}")' >"$WORK/body"
check_has "10,000 levels of nesting" "$(call POST /api/v1/namespaces/default/configmaps "$WORK/body" | status_of)" "400 BadRequest"
python3 -c 'print("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"big\"},\"data\":{\"a\":\"" + "x" * (3 << 20) + "\"}}")' >"$WORK/body"
check_has "3 MiB and a bit" "$(call POST /api/v1/namespaces/default/configmaps "$WORK/body" | status_of)" "413 RequestEntityTooLarge"
check_eq "what is not there" "$(call GET /api/v1/namespaces/default/pods/none | status_of)" "404 NotFound "
check "the server is well after all" skiffctl get nodes

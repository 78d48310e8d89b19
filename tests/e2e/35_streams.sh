#!/usr/bin/env bash
# Goal: exec, attach, cp, port-forward and proxy on real containers, as kubectl's oldest (SPDY) and newest (WebSocket first) do them
# and as Python's client does; and that nothing is left of a session whose client, kubelet or API server was killed.
# Method: a node of its own with a pod that serves a page; outputs, exit codes and checksums are compared; descriptors and
# threads of the daemons are counted before and after.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/node.sh"
find_kubectls
CLIENT_NODE=/var/tmp/skiff-test-client-node
if [ -z "${SKIFF_TEST_HOST:-}" ] && [ ! -d "$CLIENT_NODE/node_modules/@kubernetes/client-node" ]; then # (own_network has no way out)
    mkdir -p "$CLIENT_NODE"
    (cd "$CLIENT_NODE" && timeout 120 npm install --no-audit --no-fund @kubernetes/client-node@1 >/dev/null 2>&1)
fi
own_network "$@"
start_docker --iptables=false --bridge=none
demo_images 1
node_up
find_kubectls
need_python() { python3=/usr/bin/python3; "$python3" -c 'import kubernetes, websocket' 2>/dev/null; }
skiffctl apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: a}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: m
    image: skiff/guestbook:1
    command: [sh, -c, "mkdir -p /www; echo hello > /www/index.html; httpd -p 8080 -h /www; sleep 100000"]
    ports: [{containerPort: 8080}]
  - {name: second, image: "skiff/guestbook:1", command: [sleep, "100000"]}
---
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: m, image: "skiff/guestbook:1", stdin: true, command: [sh, -c, "while read l; do echo got \$l; done; sleep 100000"]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: m
        image: skiff/guestbook:1
        command: [sh, -c, "mkdir -p /www; echo from web > /www/index.html; httpd -f -p 8080 -h /www"]
        ports: [{name: http, containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
YAML
wait_for 30 "the pods run" pods_ready app=web 1
check "so do the others" "$KUBECTL" wait --for=condition=Ready pod/a pod/reader --timeout=30s
NODE=$(skiffctl get nodes -o 'jsonpath={.items[0].metadata.name}')
head -c 50000000 /dev/urandom >"$WORK/random"
SUM=$(md5sum <"$WORK/random" | cut -d' ' -f1)

usage() { # descriptors and threads of API server and kubelet
    local d pid
    for d in apiserver kubelet; do
        pid=$(cat "$DATA/run/$d.pid")
        printf '%s fds=%s threads=%s\n' "$d" "$(ls /proc/"$pid"/fd | wc -l)" "$(ls /proc/"$pid"/task | wc -l)"
    done
}
run() { # run WANTED-CODE WANTED-OUTPUT COMMAND...: sets OUT
    local code wanted=$1 out=$2
    shift 2
    OUT=$(timeout 60 "$@" 2>"$WORK/err")
    code=$?
    check_eq "${k##*/} ${*:2:6}: exit code" "$code" "$wanted"
    [ "$out" = - ] || check_eq "its output" "$OUT" "$out"
}
forward() { # forward WHAT PORTS...: sets PORTS_PID
    : >"$WORK/forward"
    "$k" port-forward "$@" >"$WORK/forward" 2>&1 &
    PORTS_PID=$!
    wait_for 10 "${k##*/} port-forward $1" grep -q '^Forwarding' "$WORK/forward"
}
forward_end() { kill "$PORTS_PID" 2>/dev/null; wait "$PORTS_PID" 2>/dev/null; }

for k in "$KUBECTL_OLD" "$KUBECTL"; do
    ok "kubectl $("$k" version --client -o json | sed -n 's/.*"gitVersion": "\(v[0-9.]*\).*/\1/p' | head -n 1)"
    run 0 hi "$k" exec a -- echo hi
    run 0 "" "$k" exec a -- sh -c 'echo only stderr >&2'
    check_has "stderr is apart" "$(cat "$WORK/err")" "only stderr"
    run 3 out "$k" exec a -c m -- sh -c 'echo out; exit 3'
    check_has "and said" "$(cat "$WORK/err")" "command terminated with exit code 3"
    run 127 "" "$k" exec a -- sh -c nosuchcommand
    run 137 "" "$k" exec a -- sh -c 'kill -9 $$'
    run 1 "" "$k" exec a -- nosuchcommand
    check_has "a command that isn't there" "$(cat "$WORK/err")" 'error executing command in container: OCI runtime exec failed: exec failed: unable to start container process: exec: "nosuchcommand": executable file not found in $PATH'
    run 0 "OCI runtime exec failed: not really" "$k" exec a -- echo "OCI runtime exec failed: not really"
    run 1 "" "$k" exec a -c nosuch -- true
    check_has "a container that isn't there" "$(cat "$WORK/err")" "container nosuch is not valid for pod a"
    run 0 "typed" sh -c "echo typed | '$k' exec -i a -- cat"
    run 0 "" sh -c "'$k' exec -i a -- cat </dev/null"
    run 0 "$SUM" sh -c "'$k' exec -i a -- md5sum <'$WORK/random' | cut -d' ' -f1"
    run 0 "" sh -c "'$k' exec -i a -- sh -c 'cat >/www/random' <'$WORK/random'"
    run 0 "$SUM" sh -c "'$k' exec a -- cat /www/random | md5sum | cut -d' ' -f1"
    run 5 - script -qec "stty rows 33 cols 111; '$k' exec -it a -- sh -c 'sleep 1; stty size; exit 5'" /dev/null
    check_has "its terminal has our size" "$OUT" "33 111"
    run 0 - script -qec "'$k' exec -it a -- sh -c 'echo; test -t 0 && test -t 1 && echo a terminal'" /dev/null
    check_has "a terminal" "$OUT" "a terminal"

    # cp, also of folders
    rm -rf "$WORK/tree" "$WORK/back"
    mkdir -p "$WORK/tree/deep/er"
    head -c 3000000 "$WORK/random" >"$WORK/tree/deep/er/bytes"
    echo text >"$WORK/tree/file"
    "$k" exec a -- rm -rf /tmp/tree
    check "cp to a pod" timeout 60 "$k" cp "$WORK/tree" a:/tmp/tree -c m
    check "cp from it" timeout 60 "$k" cp a:/tmp/tree "$WORK/back" -c m
    check "the same tree" diff -r "$WORK/tree" "$WORK/back"

    # attach
    (sleep 2; echo one; sleep 1) | timeout 20 "$k" attach -i reader >"$WORK/attached" 2>&1 &
    attach=$!
    wait_for 20 "attach -i reads and writes" grep -q "got one" "$WORK/attached"
    kill $attach 2>/dev/null
    wait $attach 2>/dev/null
    check_eq "the container goes on" "$(field pod reader '{.status.containerStatuses[0].restartCount}')" 0
    run 4 - "$k" run "once" -i --rm --restart=Never --image=skiff/guestbook:1 -- sh -c 'cat; exit 4' <<<"to a new pod"
    check_has "run -i --rm" "$OUT" "to a new pod"
    for i in 1 2 3 4; do # it may end before, while or after kubectl attaches
        run 0 - timeout 40 "$k" run "short-$i" -i --rm --restart=Never --image=skiff/guestbook:1 -- echo "short $i" </dev/null
        check_has "run -i --rm of what ends at once" "$OUT" "short $i"
    done

    # port-forward
    base=$(free_port 4)
    forward pod/a "$base:8080" "$((base + 1)):9"
    check_eq "a page" "$(curl -fsS -m 10 "http://127.0.0.1:$base/")" hello
    check_eq "100 at once" "$(seq 100 | xargs -P 100 -I{} curl -s -m 30 "http://127.0.0.1:$base/" | sort | uniq -c | xargs)" "100 hello"
    check_eq "50 MB" "$(curl -fsS -m 60 "http://127.0.0.1:$base/random" | md5sum | cut -d' ' -f1)" "$SUM"
    check "a port that nobody listens on gives nothing" test -z "$(curl -s -m 10 "http://127.0.0.1:$((base + 1))/")"
    wait_for 10 "and says why" grep -q "dial tcp4 127.0.0.1:9: connect: connection refused" "$WORK/forward"
    forward_end
    forward service/web "$((base + 2)):80"
    check_eq "through a service" "$(curl -fsS -m 10 "http://127.0.0.1:$((base + 2))/")" "from web"
    forward_end
    forward deployment/web "$((base + 3)):8080"
    check_eq "through a deployment" "$(curl -fsS -m 10 "http://127.0.0.1:$((base + 3))/")" "from web"
    forward_end
done

# Proxies, through kubectl proxy and curl.
k=$KUBECTL
base=$(free_port 1)
"$k" proxy --port="$base" >"$WORK/proxy" 2>&1 &
on_exit "kill $! 2>/dev/null"
wait_for 10 "kubectl proxy" grep -q "Starting to serve" "$WORK/proxy"
get() { curl -sS -m 20 -o "$WORK/body" -w '%{http_code} %{redirect_url}' "$@" "http://127.0.0.1:$base$P"; }
P=/api/v1/namespaces/default/pods/a/proxy/
check_eq "a pod" "$(get) $(cat "$WORK/body")" "200  hello"
P=/api/v1/namespaces/default/pods/http:a:8080/proxy/index.html
check_eq "a pod with scheme and port" "$(get) $(cat "$WORK/body")" "200  hello"
P=/api/v1/namespaces/default/pods/a:8080/proxy
check_has "without its slash" "$(get)" "301 http://127.0.0.1:$base/api/v1/namespaces/default/pods/a:8080/proxy/"
P=/api/v1/namespaces/default/pods/a:8080/proxy/nosuch
check_eq "the pod's own 404" "$(get)" "404 "
P=/api/v1/namespaces/default/pods/a:9/proxy/
check_eq "a port that nobody listens on" "$(get)" "503 "
check_has "and why" "$(cat "$WORK/body")" "error trying to reach service: dial tcp"
P=/api/v1/namespaces/default/services/web:http/proxy/
check_eq "a service's port by name" "$(get) $(cat "$WORK/body")" "200  from web"
P=/api/v1/namespaces/default/services/web:80/proxy/
check_eq "and by number" "$(get) $(cat "$WORK/body")" "200  from web"
P=/api/v1/nodes/$NODE/proxy/metrics
check_eq "a node" "$(get) $(grep -c '^kubelet_running_pods' "$WORK/body")" "200  1"
P=/api/v1/nodes/$NODE/proxy/healthz
check_eq "its health" "$(get) $(cat "$WORK/body")" "200  ok"
P=/api/v1/namespaces/default/pods/a:8080/proxy/random
get >/dev/null
check_eq "50 MB" "$(md5sum <"$WORK/body" | cut -d' ' -f1)" "$SUM"

# The kubelet itself: nobody without rights, and to read is not to open.
TOKEN=$("$KUBECTL" create token default)
ask() { curl -sk -m 10 -o /dev/null -w '%{http_code}' "$@"; }
exec_url="https://192.0.2.1:10250/exec/default/a/m?command=id&output=1"
ws=(-H "Connection: Upgrade" -H "Upgrade: websocket" -H "Sec-WebSocket-Version: 13" -H "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
check_eq "the kubelet refuses a stranger" "$(ask "${ws[@]}" "$exec_url")" 401
check_eq "and who has no rights" "$(ask -H "Authorization: Bearer $TOKEN" "${ws[@]}" "$exec_url")" 403
"$KUBECTL" create clusterrole reads-nodes --verb=get --resource=nodes/proxy >/dev/null
"$KUBECTL" create clusterrolebinding reads-nodes --clusterrole=reads-nodes --serviceaccount=default:default >/dev/null
reads() { [ "$(ask -H "Authorization: Bearer $TOKEN" https://192.0.2.1:10250/pods)" = 200 ]; }
wait_for 15 "get of nodes/proxy reads pages" reads
check_eq "but opens no shell" "$(ask -H "Authorization: Bearer $TOKEN" "${ws[@]}" "$exec_url")" 403
check_eq "nor through the API server" "$(ask -H "Authorization: Bearer $TOKEN" "${ws[@]}" "https://192.0.2.1:6443/api/v1/nodes/$NODE/proxy/exec/default/a/m?command=id&output=1")" 403

# Python's client.
if need_python; then
    timeout 60 "$python3" - "$KUBECONFIG" >"$WORK/python" 2>&1 <<'PY'
import sys
from kubernetes import client, config, watch
from kubernetes.stream import stream, portforward
config.load_kube_config(sys.argv[1])
v1 = client.CoreV1Api()
out = stream(v1.connect_get_namespaced_pod_exec, "a", "default", container="m", command=["sh", "-c", "echo out; echo err >&2"], stderr=True, stdin=False, stdout=True, tty=False)
print("exec", sorted(out.split()))
s = stream(v1.connect_get_namespaced_pod_exec, "a", "default", container="m", command=["sh"], stderr=True, stdin=True, stdout=True, tty=False, _preload_content=False)
s.write_stdin("echo one; exit 7\n")
s.run_forever(timeout=20)
print("interactive", s.read_stdout().strip(), s.returncode)
pf = portforward(v1.connect_get_namespaced_pod_portforward, "a", "default", ports="8080")
sock = pf.socket(8080)
sock.setblocking(True)
sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
data = b""
while True:
    got = sock.recv(4096)
    if not got:
        break
    data += got
print("forward", data.decode().strip().split("\n")[-1], pf.error(8080))
PY
    check_has "python: exec" "$(cat "$WORK/python")" "exec ['err', 'out']"
    check_has "python: an interactive one with its exit code" "$(cat "$WORK/python")" "interactive one 7"
    check_has "python: a forwarded port" "$(cat "$WORK/python")" "forward hello None"
else
    echo "skip: no python3-kubernetes"
fi

# JavaScript's client.
if [ -d "$CLIENT_NODE/node_modules/@kubernetes/client-node" ]; then
    cp "$ROOT/tests/e2e/35_streams.mjs" "$CLIENT_NODE/"
    timeout 60 node "$CLIENT_NODE/35_streams.mjs" "$KUBECONFIG" >"$WORK/javascript" 2>&1
    check_has "javascript: exec with its exit code" "$(cat "$WORK/javascript")" "exec out err Failure 3"
    check_has "javascript: attach" "$(cat "$WORK/javascript")" "attach got node"
    check_has "javascript: a forwarded port" "$(cat "$WORK/javascript")" "forward hello"
else
    echo "skip: npm install @kubernetes/client-node does not work here"
fi

# Nothing is left of sessions, however they ended.
mkfifo "$WORK/silence"
exec 9<>"$WORK/silence" # an input that says nothing and does not end
sessions() { # five of them, in the background
    local i
    for i in 1 2; do
        "$KUBECTL" exec -i a -c second -- cat <&9 >/dev/null 2>&1 &
        PIDS+=($!)
        "$KUBECTL_OLD" exec -i a -c second -- cat <&9 >/dev/null 2>&1 &
        PIDS+=($!)
    done
    script -qfec "'$KUBECTL' exec -it a -c second -- sh" /dev/null <&9 >/dev/null 2>&1 &
    PIDS+=($!)
    "$KUBECTL" port-forward pod/a "$base:8080" >"$WORK/forward" 2>&1 &
    PIDS+=($!)
    in_second() { [ "$("$KUBECTL" exec a -c second -- sh -c 'ps | grep -c "[ ]cat$"')" -ge 4 ]; }
    wait_for 20 "sessions are open" in_second
}
sessions_end() {
    local p
    for p in "${PIDS[@]}"; do kill -9 "$p" 2>/dev/null; done
    wait "${PIDS[@]}" 2>/dev/null
    PIDS=()
}
as_before() { # but for a few connections that clients of ours keep for the next call
    paste -d' ' <(echo "$BEFORE") <(usage) | awk -F'[= ]' '$8 > $3 + 4 || $10 > $5 + 1 {print; bad = 1} END {exit bad}'
}
commands_gone() { [ -z "$("$KUBECTL" exec a -c second -- sh -c "ps | grep -E '[ ](${1:-cat|sh})\$'")" ]; }
PIDS=()
"$KUBECTL" exec a -- true
sleep 1.5
BEFORE=$(usage)
base=$(free_port 1)
sessions
sessions_end
wait_for 20 "clients killed: commands end" commands_gone
wait_for 30 "and nothing is left in the daemons" as_before
sessions
kill -9 "$(cat "$DATA/run/apiserver.pid")"
wait_for 20 "API server killed: it is back" "$KUBECTL" get nodes
wait_for 20 "commands end" commands_gone
sessions_end
sessions
kill -9 "$(cat "$DATA/run/kubelet.pid")"
kubelet_back() { "$KUBECTL" exec a -- true; }
wait_for 20 "kubelet killed: exec works again" kubelet_back
wait_for 20 "commands that read their input end" commands_gone cat # (nobody is left to hang up a terminal)
sessions_end
few() { usage | awk -F'[= ]' '$5 > 60 || $3 > 200 {exit 1}'; }
wait_for 30 "the daemons hold little" few
check_eq "no container was restarted" "$(field pod a '{.status.containerStatuses[*].restartCount}')" "0 0"

# What it costs.
k=$KUBECTL
rss() { awk '/^VmRSS/ {print $2}' "/proc/$(cat "$DATA/run/$1.pid")/status"; }
cpu() { awk '{print $14 + $15}' "/proc/$(cat "$DATA/run/$1.pid")/stat"; }
a0=$(rss apiserver) b0=$(rss kubelet)
for _ in $(seq 20); do
    "$KUBECTL_OLD" exec -i a -c second -- cat <&9 >/dev/null 2>&1 &
    PIDS+=($!)
done
twenty() { [ "$("$KUBECTL" exec a -c second -- sh -c 'ps | grep -c "[ ]cat$"')" -ge 20 ]; }
wait_for 30 "20 idle sessions" twenty
printf 'an idle session: API server %d KB, kubelet %d KB\n' $((($(rss apiserver) - a0) / 20)) $((($(rss kubelet) - b0) / 20))
sessions_end
cat "$WORK/random" "$WORK/random" >"$WORK/hundred"
for k in "$KUBECTL_OLD" "$KUBECTL"; do
    a0=$(cpu apiserver) b0=$(cpu kubelet) t0=$(date +%s%N)
    check "cp of 100 MB" timeout 60 "$k" cp "$WORK/hundred" a:/tmp/hundred -c m
    t=$((($(date +%s%N) - t0) / 1000000))
    printf '%s: %d MB/s, CPU: API server %d ms, kubelet %d ms\n' "${k##*/}" $((100000 / t)) $((($(cpu apiserver) - a0) * 10)) $((($(cpu kubelet) - b0) * 10))
done
check_eq "all of it" "$("$k" exec a -- sh -c 'md5sum < /tmp/hundred' | cut -d' ' -f1)" "$(md5sum <"$WORK/hundred" | cut -d' ' -f1)"
exit $((failures > 0))

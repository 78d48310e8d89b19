#!/usr/bin/env bash
# Goal: a second host joins with a token, its pods and those of the first reach each other, and it leaves again.
# Method: two network namespaces on one Ethernet as hosts, each with its own Docker and data folder. Wrong tokens, hashes and
# addresses come first and must leave nothing. Pods pinned to each host fetch from the other by pod IP, Service and name.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/node.sh"
. "$(dirname "$0")/../lib/guestbook.sh"
two_hosts "$@"

start_docker --iptables=false --bridge=none
first_socket=$DOCKER_SOCKET
DOCKER_DIR=$WORK/docker2 DOCKER_NETNS=$SKIFF_TEST_SECOND start_docker # with Docker's defaults, to have one of each
second_socket=$DOCKER_SOCKET
on_second_docker() { DOCKER_HOST=unix://$second_socket on_second "$@"; }
demo_images 1
DOCKER_SOCKET=$first_socket DOCKER_HOST=unix://$first_socket
demo_images 1
second_data=$WORK/second
second_state() { # what is left on the second host
    (DATA=$second_data && on_second_docker bash -c ". '$ROOT/tests/lib/node.sh'; WORK='$WORK'; DATA='$second_data'; host_state")
}
second_state >"$WORK/second.before"
node_up --node-name host-1

# Joining with wrong values is refused and leaves nothing.
check "token create" skiffctl token create --data-dir "$DATA"
join=$(skiffctl token create --data-dir "$DATA")
server=$(sed -n 's/.*--server \([^ ]*\).*/\1/p' <<<"$join")
token=$(sed -n 's/.*--token \([^ ]*\).*/\1/p' <<<"$join")
hash=$(sed -n 's/.*--ca-hash \([^ ]*\).*/\1/p' <<<"$join")
check_eq "the command it prints" "$join" "skiffctl join --server https://192.0.2.1:6443 --token $token --ca-hash $hash"
join_second() { # join_second SERVER TOKEN HASH [flags]
    local a=(--server "$1" --token "$2" --ca-hash "$3")
    shift 3
    on_second skiffctl join "${a[@]}" --data-dir "$second_data" --docker-endpoint "unix://$second_socket" --node-name host-2 "$@"
}
refused() { # refused TEXT MESSAGE join-arguments...
    local text=$1 message=$2 out status
    shift 2
    out=$(join_second "$@" 2>&1)
    status=$?
    check_eq "$text is refused" "$status" 1
    check_has "  it says so" "$out" "$message"
    check_eq "  nothing is left" "$(second_state | diff "$WORK/second.before" - | grep '^[<>]' | head -n 5)" ""
}
refused "a wrong token" "the server does not accept the token" "$server" "abcdef.0123456789abcdef" "$hash"
refused "a malformed token" "the server does not accept the token" "$server" "nonsense" "$hash"
refused "a wrong hash" "no CA certificate with the hash sha256:00" "$server" "$token" "sha256:$(printf '0%.0s' $(seq 64))"
refused "a server that is not there" "192.0.2.77:6443 does not answer" "https://192.0.2.77:6443" "$token" "$hash"
refused "a port without a server" "192.0.2.1:6999 does not answer" "https://192.0.2.1:6999" "$token" "$hash"
check_eq "the cluster has one node" "$(skiffctl get nodes -o name | wc -l)" 1

if join_second "$server" "$token" "$hash" >"$WORK/join.out" 2>&1; then ok "the second host joins"; else
    sed 's/^/    | /' "$WORK/join.out"
    die "the second host does not join"
fi
on_exit "on_second skiffctl down --purge --data-dir '$second_data' >/dev/null 2>&1"
on_exit "[ \$failures -eq 0 ] || tail -n 15 '$second_data'/log/*.log"
check "joining again finds it in place" join_second "$server" "$token" "$hash"
ready() { [ "$(skiffctl get nodes -o 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}')" = "$1" ]; }
wait_for 20 "both nodes are Ready" ready "True True"
cidr_1=$(field node host-1 '{.spec.podCIDR}') cidr_2=$(field node host-2 '{.spec.podCIDR}')
check "they have pod addresses of their own ($cidr_1, $cidr_2)" test "$cidr_1" != "$cidr_2"
check_has "the node has its address" "$(field node host-2 '{.status.addresses[*].address}')" 192.0.2.2

# One pod pinned to each host; Service and names from both sides.
for n in 1 2; do
    cat <<YAML
apiVersion: v1
kind: Pod
metadata: {name: peer-$n, labels: {app: peer, peer: "$n"}}
spec:
  nodeSelector: {kubernetes.io/hostname: host-$n}
  terminationGracePeriodSeconds: 2
  containers:
  - {name: web, image: "skiff/guestbook:1", args: [/bin/serve, /backend], ports: [{containerPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: peer-$n}
spec:
  selector: {peer: "$n"}
  ports: [{port: 80, targetPort: 8080}]
---
YAML
done >"$WORK/peers.yaml"
check "a pod for each host" skiffctl apply -f "$WORK/peers.yaml"
wait_for 30 "both run" pods_ready app=peer 2
check_eq "each on its own" "$(field pod peer-1 '{.spec.nodeName}') $(field pod peer-2 '{.spec.nodeName}')" "host-1 host-2"
fetch_in() { # fetch_in N URL: from the pod peer-N
    local host=unix://$first_socket id
    [ "$1" = 1 ] || host=unix://$second_socket
    id=$(docker -H "$host" ps -q --filter "label=io.kubernetes.pod.name=peer-$1" --filter label=io.kubernetes.container.name=web)
    docker -H "$host" exec "$id" timeout 5 wget -q -O - "$2"
}
for pair in "1 2" "2 1"; do
    set -- $pair
    other=$(field pod "peer-$2" '{.status.podIP}') service=$(field service "peer-$2" '{.spec.clusterIP}')
    check_eq "host $1 to $2 by pod IP" "$(fetch_in "$1" "http://$other:8080/health.html")" ok
    wait_for 10 "host $1 to $2 by ClusterIP" fetch_in "$1" "http://$service/health.html"
    wait_for 10 "host $1 to $2 by name" fetch_in "$1" "http://peer-$2.default.svc.cluster.local/health.html"
    wait_for 10 "host $1 to itself by Service" fetch_in "$1" "http://peer-$1.default/health.html"
done
check_eq "from the first host itself" "$(curl -sS --max-time 5 "http://$(field service peer-2 '{.spec.clusterIP}')/health.html")" ok
check_eq "from the second host itself" "$(on_second curl -sS --max-time 5 "http://$(field service peer-1 '{.spec.clusterIP}')/health.html")" ok
check "logs of a pod on the second host" skiffctl logs peer-2

# The application over both hosts.
guestbook_apply
scale_to 4
hosts_used() { [ "$(skiffctl get pods -l "$WEB" -o 'jsonpath={range .items[*]}{.spec.nodeName}{"\n"}{end}' | sort -u | wc -l)" -eq "$1" ]; }
check "its pods are on both hosts" hosts_used 2
guestbook_pages
wait_for 10 "the NodePort of the second host, from the first" page_has "http://192.0.2.2:30080/" "served by pod"
second_page() { on_second curl -fsS --max-time 5 "http://192.0.2.1:30080/"; }
wait_for 10 "the NodePort of the first host, from the second" second_page

# The second host leaves: cordon, drain, down, delete.
find_kubectls
check "cordon" "$KUBECTL" cordon host-2
check "drain" "$KUBECTL" drain host-2 --ignore-daemonsets --delete-emptydir-data --force --timeout 60s
wait_for 60 "the application is whole again" skiffctl rollout status deployment/guestbook --no-watch
wait_for 60 "all its pods are on the first host" eval 'hosts_used 1 && pods_ready "$WEB" 4 && pods_ready app=guestbook,tier=backend 1'
wait_for 20 "its page is served" page_has "$NODE_URL" "served by pod"
check "down --purge on the second host" on_second skiffctl down --purge --data-dir "$second_data"
check_eq "it looks as before" "$(second_state | diff "$WORK/second.before" - | grep '^[<>]' | head -n 10)" ""
check "delete node" skiffctl delete node host-2
no_route() { ! ip route | grep -q "$cidr_2"; }
wait_for 20 "the first host's route to it is gone" no_route
check "the page is still served" page_has "$NODE_URL" "served by pod"
check "down --purge on the first host" skiffctl down --purge --data-dir "$DATA"
check_eq "no process is left" "$(our_processes | cut -c 1-80)" ""

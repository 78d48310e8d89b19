# Whole nodes for the scenario scripts: network namespaces as hosts, clusters on real containers, a client that counts.
# Source it after lib.sh.
#
#   own_network "$@"      runs the rest of the script in a network namespace of its own (a host with the address
#                         192.0.2.1), so that clusters of several scripts don't meet
#   two_hosts "$@"        the same with a second host, 192.0.2.2, on the same Ethernet: on_second COMMAND...
#   node_up [up flags]    dockerd must run (start_docker); sets DATA and KUBECONFIG
#   host_state            what a cluster could leave on this host, one item a line
#   client_start URL      fetches the URL in a loop; client_stop prints "N answers, M failed" and how they failed

# host_add NAME ADDRESS/LEN [PEER-NAMESPACE]: a namespace with lo and eth0; without a peer eth0 leads nowhere.
host_add() {
    ip netns add "$1"
    on_exit "ip netns del $1 2>/dev/null"
    local in=(nsenter --net=/run/netns/"$1")
    "${in[@]}" ip link set lo up
    if [ -n "${3:-}" ]; then
        ip -n "$3" link add "to-${1##*-}" type veth peer name eth0 netns "$1"
        ip -n "$3" link set "to-${1##*-}" master br0 up
    else
        "${in[@]}" ip link add eth0 type veth peer name nowhere
        "${in[@]}" ip link set nowhere up
    fi
    "${in[@]}" ip addr add "$2" dev eth0
    "${in[@]}" ip link set eth0 up
    "${in[@]}" ip route add default via 192.0.2.254
}

own_network() {
    [ -z "${SKIFF_TEST_HOST:-}" ] || return 0
    local status
    host_add "skiff-test-$$" 192.0.2.1/24
    SKIFF_TEST_HOST=skiff-test-$$ nsenter --net="/run/netns/skiff-test-$$" "$0" "$@"
    status=$?
    exit "$status"
}

two_hosts() {
    [ -z "${SKIFF_TEST_HOST:-}" ] || return 0
    local net=skiff-test-$$ status
    ip netns add "$net-net"
    on_exit "ip netns del $net-net"
    ip -n "$net-net" link add br0 type bridge
    ip -n "$net-net" addr add 192.0.2.254/24 dev br0
    ip -n "$net-net" link set br0 up
    host_add "$net-h1" 192.0.2.1/24 "$net-net"
    host_add "$net-h2" 192.0.2.2/24 "$net-net"
    SKIFF_TEST_HOST=$net-h1 SKIFF_TEST_SECOND=$net-h2 nsenter --net="/run/netns/$net-h1" "$0" "$@"
    status=$?
    exit "$status"
}
on_second() { nsenter --net="/run/netns/$SKIFF_TEST_SECOND" "$@"; }

node_up() {
    DATA=$WORK/cluster
    "$BIN/skiffctl" up --data-dir "$DATA" --docker-endpoint "unix://$DOCKER_SOCKET" "$@" >"$WORK/up.out" 2>&1 ||
        { sed 's/^/    | /' "$WORK/up.out"; die "the cluster does not start"; }
    on_exit end_cluster
    on_exit "'$BIN/skiffctl' down --purge --data-dir '$DATA' >/dev/null 2>&1"
    on_exit keep_logs
    local took
    took=$(sed -n 's/^The cluster is up (\(.*\) s).*/\1/p' "$WORK/up.out")
    ok "skiffctl up: $took s"
    [ "${took%.*}" -lt 5 ] || sed 's/^/    | /' "$WORK/up.out" "$DATA/log/supervisor.log"
    export KUBECONFIG=$DATA/admin.kubeconfig PATH=$BIN:$PATH
}

# What a broken `down` would leave must not stay behind a test that noticed it.
end_cluster() {
    local p
    for p in /proc/[0-9]*; do
        tr '\0' ' ' 2>/dev/null <"$p/cmdline" | grep -q "skiff-[a-z-]* .*$DATA/" && kill -9 "${p#/proc/}"
    done
    awk -v w="$DATA/" 'index($2, w) == 1 {print $2}' /proc/self/mounts | sort -r | while read -r m; do umount -l "$m"; done
} 2>/dev/null

# After a failure, what the daemons said last; all of it in the folder SKIFF_TEST_LOGS.
keep_logs() {
    [ -z "${SKIFF_TEST_LOGS:-}" ] || { mkdir -p "$SKIFF_TEST_LOGS" && cp "$DATA"/log/*.log "$SKIFF_TEST_LOGS" 2>/dev/null; }
    [ "$failures" -gt 0 ] && [ -d "$DATA/log" ] || return 0
    skiffctl get pods -A -o wide 2>/dev/null | sed 's/^/    | /'
    local f
    for f in "$DATA"/log/*.log; do
        printf '    --- %s\n' "${f##*/}"
        grep -E '^[^ ]+ [EW] ' "$f" | tail -n 8 | sed 's/^/    | /'
    done
}

demo_images() { "$ROOT/deploy/build-images" --docker "unix://$DOCKER_SOCKET" "$@"; }

page_has() { [[ "$(curl -fsS --max-time 5 "$1" 2>&1)" == *"$2"* ]]; }
field() { skiffctl get "$1" "$2" -o "jsonpath=$3"; }
field_is() { [ "$(field "$1" "$2" "$3")" = "$4" ]; }
pods_ready() { # pods_ready SELECTOR N: exactly N pods, all ready, none on its way out
    local pods
    pods=$(skiffctl get pods -l "$1" --no-headers 2>/dev/null) || return 1
    [ "$(printf '%s' "$pods" | grep -c .)" -eq "$2" ] && [ "$(printf '%s' "$pods" | grep -c ' 1/1  *Running ')" -eq "$2" ]
}
no_pods() {
    local pods
    pods=$(skiffctl get pods -l "$1" --no-headers 2>/dev/null)
    [ -z "$pods" ] || { printf '%s\n' "$pods"; return 1; }
}

# Programs of Skiff that run in our network namespace or work in the cluster's folder.
our_processes() {
    local own p line folder=${DATA:-$WORK/cluster}
    own=$(readlink /proc/self/ns/net)
    for p in /proc/[0-9]*; do
        line=$(tr '\0' ' ' 2>/dev/null <"$p/cmdline") || continue
        case "${line%% *}" in
            */skiff-[a-z]* | skiff-[a-z]* | */skiffctl | skiffctl) ;;
            *) continue ;;
        esac
        if [ "$(readlink "$p/ns/net" 2>/dev/null)" = "$own" ] || [[ $line == *"$folder"* ]]; then
            printf 'process %s\n' "$line"
        fi
    done
}

# of the Docker at hand (DOCKER_HOST), this network namespace and the cluster's folder (DATA)
host_state() {
    local folder=${DATA:-$WORK/cluster} docker_dir=${DOCKER_HOST#unix://}
    docker_dir=${docker_dir%/*}
    our_processes
    docker ps -aq | sed 's/^/container /'
    docker images -q --no-trunc | sort -u | sed 's/^/image /'
    docker volume ls -q | sed 's/^/volume /'
    docker network ls --format '{{.Name}}' | sort | sed 's/^/docker network /'
    # (dockerd unmounts a container's namespace at once and removes the empty file up to a minute later)
    awk -v w="$docker_dir/exec/netns/" 'index($2, w) == 1 && $2 != w "default" {print "network namespace " $2}' /proc/self/mounts
    ip -o link | awk -F': ' '{print "link " $2}'
    ip -4 route | sed 's/^/route /'
    nft list ruleset 2>/dev/null | sed -E 's/counter packets [0-9]+ bytes [0-9]+/counter/; s/^/nft /'
    iptables-save 2>/dev/null | grep -v '^#' | sed -E 's/\[[0-9]+:[0-9]+\]//; s/^/iptables /'
    awk -v w="$folder/" 'index($2, w) == 1 {print "mount " $2}' /proc/self/mounts
    find /etc/cni/net.d /var/lib/cni /run/skiff -iname '*skiff*' 2>/dev/null | sed 's/^/file /'
    [ ! -e "$folder" ] || printf 'file %s\n' "$folder"
}

client_start() { # client_start URL [NAME]
    local name=${2:-client}
    python3 "$ROOT/tests/lib/client.py" "$1" >"$WORK/$name.out" 2>&1 &
    CLIENT_PID=$!
    on_exit "kill $CLIENT_PID 2>/dev/null"
    CLIENT_OUT=$WORK/$name.out
}
client_stop() { # sets CLIENT_RESULT and CLIENT_FAILED
    kill -TERM "$CLIENT_PID"
    wait "$CLIENT_PID"
    CLIENT_RESULT=$(tail -n 1 "$CLIENT_OUT")
    CLIENT_FAILED=$(sed -n 's/.* answers, \([0-9]*\) failed$/\1/p' <<<"$CLIENT_RESULT")
}
check_client() { # check_client TEXT: not one request failed, and there were some
    client_stop
    if [ "${CLIENT_FAILED:-1}" = 0 ] && [[ $CLIENT_RESULT != 0\ * ]]; then
        ok "$1: $CLIENT_RESULT"
    else
        not_ok "$1: $CLIENT_RESULT"
        head -n 20 "$CLIENT_OUT" | sed 's/^/    | /'
    fi
}

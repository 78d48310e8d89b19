# Shared by the scenario scripts: checks, waiting, clusters of their own that are taken down at the end.
#
#   . "$(dirname "$0")/../lib/lib.sh"
#   check "text" command...          ok or not ok by the command's status; goes on
#   wait_for SECONDS "text" command...   polls until it succeeds
#   need COMMAND                     skips the script when the machine has none
#
# Everything made here is gone at the end, however the script ends: on_exit adds what to undo, last first.
set -u
BIN=${BIN:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../../build/bin" && pwd)}
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
WORK=$(mktemp -d /tmp/skiff-test.XXXXXX)
failures=0
exit_commands=()

on_exit() { exit_commands=("$*" "${exit_commands[@]}"); }
finish() {
    local status=$? c
    trap - EXIT INT TERM
    for c in "${exit_commands[@]}"; do eval "$c"; done
    rm -rf "$WORK"
    [ "$status" -eq 0 ] && [ "$failures" -gt 0 ] && status=1
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

ok() { printf 'ok %s\n' "$*"; }
not_ok() { printf 'not ok %s\n' "$*"; failures=$((failures + 1)); }
check() {
    local text=$1
    shift
    if "$@" >"$WORK/check.out" 2>&1; then ok "$text"; else not_ok "$text"; sed 's/^/    | /' "$WORK/check.out" | tail -n 15; fi
}
check_eq() { # check_eq TEXT GOT WANTED
    if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1: got '$2', expected '$3'"; fi
}
check_has() { # check_has TEXT HAYSTACK NEEDLE
    case "$2" in *"$3"*) ok "$1" ;; *) not_ok "$1: no '$3' in: $(printf '%s' "$2" | head -c 600)" ;; esac
}
die() { not_ok "$*"; exit 1; }
wait_for() {
    local seconds=$1 text=$2 deadline
    shift 2
    deadline=$((SECONDS + seconds))
    until "$@" >"$WORK/wait.out" 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            not_ok "$text (not within $seconds s)"
            sed 's/^/    | /' "$WORK/wait.out" | tail -n 15
            return 1
        fi
        sleep 0.1
    done
    ok "$text"
}
free_port() { # a port with N free ones behind it (default 10)
    python3 - "${1:-10}" <<'PY'
import random, socket, sys
count = int(sys.argv[1])
for _ in range(200):
    base = random.randrange(20000, 29000)
    socks = []
    try:
        for port in range(base, base + count):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                s = socket.socket(socket.AF_INET, kind)
                s.bind(("0.0.0.0", port))
                socks.append(s)
        print(base)
        break
    except OSError:
        continue
    finally:
        for s in socks:
            s.close()
PY
}

# control_plane NAME [up flags]...: a control plane of the script's own; sets KUBECONFIG and DATA.
control_plane() {
    DATA=$WORK/$1
    local name=$1
    shift
    PORT=$(free_port)
    "$BIN/skiffctl" up --control-plane-only --data-dir "$DATA" --secure-port "$PORT" "$@" >"$WORK/$name.up" 2>&1 ||
        { sed 's/^/    | /' "$WORK/$name.up"; die "control plane $name does not start"; }
    on_exit "'$BIN/skiffctl' down --purge --data-dir '$DATA' >/dev/null 2>&1"
    export KUBECONFIG=$DATA/admin.kubeconfig
}

# A dockerd of the script's own: start_docker [extra flags]; sets DOCKER_SOCKET and DOCKER_HOST. Another one, perhaps
# in another network namespace: DOCKER_DIR=... DOCKER_NETNS=... start_docker
start_docker() {
    local dir=${DOCKER_DIR:-$WORK/docker} enter=()
    [ -z "${DOCKER_NETNS:-}" ] || enter=(nsenter --net="/run/netns/$DOCKER_NETNS")
    mkdir -p "$dir"
    "${enter[@]}" dockerd --data-root "$dir/data" --exec-root "$dir/exec" -H "unix://$dir/docker.sock" -p "$dir/pid" "$@" \
        >"$dir/log" 2>&1 &
    local pid=$!
    on_exit "stop_docker $pid $dir"
    DOCKER_SOCKET=$dir/docker.sock
    export DOCKER_HOST=unix://$DOCKER_SOCKET DOCKER_API_VERSION=1.41
    local deadline=$((SECONDS + 60))
    until curl -fsS --unix-socket "$DOCKER_SOCKET" http://docker/_ping >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || { tail -n 20 "$dir/log"; die "dockerd does not start"; }
        sleep 0.1
    done
}
stop_docker() {
    kill "$1" 2>/dev/null
    local i
    for i in $(seq 150); do kill -0 "$1" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$1" 2>/dev/null
    wait "$1" 2>/dev/null
    grep -o " $2[^ ]*" /proc/self/mounts | sort -r | while read -r m; do umount -l "$m" 2>/dev/null; done
}

# kubectl: the oldest and newest on the machine, in $KUBECTLS; Debian's 1.20 is unpacked for the tests.
find_kubectls() {
    local all=() k
    for k in /usr/lib/google-cloud-sdk/bin/kubectl.* /usr/bin/kubectl /usr/local/bin/kubectl; do
        [ -x "$k" ] && all+=("$k")
    done
    local cache=/var/tmp/skiff-test-kubectl
    if [ ! -x "$cache/usr/bin/kubectl" ] && [ -z "${SKIFF_TEST_HOST:-}" ]; then # (a host of own_network has no way out)
        (mkdir -p "$cache" && cd "$cache" && apt-get download -qq kubernetes-client >/dev/null 2>&1 &&
            dpkg -x kubernetes-client_*.deb . && rm -f ./*.deb)
    fi
    [ -x "$cache/usr/bin/kubectl" ] && all+=("$cache/usr/bin/kubectl")
    KUBECTLS=$(for k in "${all[@]}"; do
        printf '%s %s\n' "$("$k" version --client -o json 2>/dev/null | sed -n 's/.*"gitVersion": "v\([0-9.]*\).*/\1/p' | head -n 1)" "$k"
    done | sort -V | awk '{print $2}')
    KUBECTL_OLD=$(printf '%s\n' "$KUBECTLS" | head -n 1)
    KUBECTL=$(printf '%s\n' "$KUBECTLS" | tail -n 1)
}

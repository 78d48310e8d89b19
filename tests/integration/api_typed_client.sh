#!/usr/bin/env bash
# Goal: the typed clients of Go, which speak protobuf by default, work: every verb on many kinds, informers, metadata
# clients, watches, refusals; and what the server writes is what upstream's own code would write, byte for byte.
# Method: typed_client/main.go is compiled in the source tree of Debian's kubernetes package with Debian's Go, both only
# unpacked into a folder that later runs find again, and run against a real server, accepting nothing but protobuf.
# Skipped where the packages can't be had. SKIFF_TEST_TYPED_CLIENT: that folder (default /var/tmp/skiff-test-typed-client).
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
BIN=${BIN:-$here/../../build/bin}
export BIN
dir=${SKIFF_TEST_TYPED_CLIENT:-/var/tmp/skiff-test-typed-client}
mkdir -p "$dir/apt/lists/partial" "$dir/apt/archives/partial"
exec 9>"$dir/lock"
flock 9

skip() { echo "skipped: $1"; exit 0; }

# A source list of its own: nothing of the machine's package state changes.
apt() {
    apt-get -qq -o Dir::Etc::SourceList="$dir/apt/sources.list" -o Dir::Etc::SourceParts=- -o APT::Sandbox::User=root \
        -o Dir::State::Lists="$dir/apt/lists" -o Dir::Cache::Archives="$dir/apt/archives" "$@"
}

fetch() {
    command -v apt-get >/dev/null || return 1
    printf 'deb%s http://deb.debian.org/debian bookworm main\n' '' -src >"$dir/apt/sources.list"
    (cd "$dir" && apt update && apt download golang-1.19-go golang-1.19-src && apt source --download-only kubernetes) || return 1
    for package in "$dir"/golang-*.deb; do dpkg -x "$package" "$dir" || return 1; done
    mkdir -p "$dir/gopath/src/k8s.io/kubernetes"
    tar -xzf "$dir"/kubernetes_*.orig.tar.gz -C "$dir/gopath/src/k8s.io/kubernetes" --strip-components=1 || return 1
    # What is always written has changed since 1.20: clusterName went from the metadata, managedFields got a subresource.
    sed -i -e '/i -= len(m.ClusterName)/,+4d; /l = len(m.ClusterName)/,+1d' \
        -e '/^func (m \*ManagedFieldsEntry) MarshalToSizedBuffer/,/_ = l$/s/_ = l$/_ = l\n\ti -= 2\n\tdAtA[i], dAtA[i+1] = 0x42, 0/' \
        -e '/^func (m \*ManagedFieldsEntry) Size/,/_ = l$/s/_ = l$/_ = l\n\tn += 2/' \
        "$dir/gopath/src/k8s.io/kubernetes/staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/generated.pb.go"
    rm -f "$dir"/*.deb "$dir"/kubernetes_*
    touch "$dir/fetched"
}

compile() {
    local source=$dir/gopath/src/k8s.io/kubernetes/cmd/typed
    cmp -s "$here/typed_client/main.go" "$source/main.go" && [ -x "$dir/typed" ] && return
    mkdir -p "$source" && cp "$here/typed_client/main.go" "$source/main.go" && cd "$source" || return 1
    GOROOT=$dir/usr/lib/go-1.19 GOPATH=$dir/gopath GOCACHE=$dir/cache GO111MODULE=off GOFLAGS= CGO_ENABLED=0 \
        timeout 400 "$dir/usr/lib/go-1.19/bin/go" build -o "$dir/typed" .
    case $? in
        0) ;;
        124) rm -f "$source/main.go"; skip "compiling takes too long here; the next run goes on from what is done" ;;
        *) rm -f "$source/main.go"; return 1 ;;
    esac
}

[ -e "$dir/fetched" ] || fetch || skip "Debian's kubernetes source or Go can't be fetched"
compile || { echo "not ok the typed client compiles"; exit 1; }
cd "$here" || exit 1
exec python3 - "$dir/typed" <<'PYTHON'
import subprocess, sys
sys.path.insert(0, "lib")
from apiserver import *

directory = tempfile.mkdtemp(prefix="skiff-typed-")
key = directory + "/key"
subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True)
with Server("--service-account-signing-key-file=" + key, "--service-account-key-file=" + key) as s:
    run = subprocess.run([sys.argv[1], s.kubeconfig()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    lines = run.stdout.decode("utf-8", "replace").splitlines()
    for line in lines:
        if not line.startswith("ok "):
            print(line[:600])
    passed = sum(line.startswith("ok ") for line in lines)
    check("a typed client in protobuf: %d checks" % passed, run.returncode == 0 and passed > 400, run.returncode)
shutil.rmtree(directory)
finish()
PYTHON

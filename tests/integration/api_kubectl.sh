#!/usr/bin/env bash
# Goal: an unmodified kubectl, old and new, works against the API server.
# Method: every kubectl found on the machine drives one server with the embedded store; output is checked for meaning.
set -u
here=$(cd "$(dirname "$0")" && pwd)
BIN=${BIN:-$here/../../build/bin}
dir=$(mktemp -d /tmp/skiff-kubectl.XXXXXX)
failures=0

python3 - "$here" "$dir" "$BIN" <<'PY' &
import os, signal, sys
os.environ["BIN"] = sys.argv[3]
sys.path.insert(0, sys.argv[1] + "/lib")
from apiserver import *
with Server() as s:
    os.rename(s.kubeconfig(), sys.argv[2] + "/kubeconfig")
    service_account(s)
    signal.signal(signal.SIGTERM, lambda *_: None)
    open(sys.argv[2] + "/ready", "w").close()
    signal.pause()
finish()
PY
server=$!
trap 'kill $server 2>/dev/null; wait $server; [ $? -eq 0 ] || failures=1; rm -rf "$dir"; exit $((failures > 0))' EXIT
for _ in $(seq 300); do [ -e "$dir/ready" ] && break; sleep 0.1; done
export KUBECONFIG=$dir/kubeconfig HOME=$dir

ok() { echo "ok $kubectl_name: $1"; }
bad() { echo "not ok $kubectl_name: $1 -- ${2:-}"; failures=$((failures + 1)); }
k() { timeout 60 "$kubectl" "$@" 2>&1; }
# has TEXT PATTERN COMMAND...: the output of kubectl matches the extended regular expression
has() {
    local text=$1 pattern=$2 out
    shift 2
    out=$(k "$@")
    if grep -Eq -- "$pattern" <<<"$out"; then ok "$text"; else bad "$text" "$out"; fi
}
is() { # is TEXT WANTED COMMAND...
    local text=$1 wanted=$2 out
    shift 2
    out=$(k "$@")
    if [ "$out" = "$wanted" ]; then ok "$text"; else bad "$text" "$out"; fi
}

manifest() {
    cat <<YAML
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: $1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: "web:$2", ports: [{containerPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
YAML
}

config() { printf '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"ssa"},"data":{%s}}' "$1"; }

applies_on_the_server() {
    has "apply --server-side creates" 'configmap/ssa serverside-applied' apply --server-side -f - <<<"$(config '"a":"1"')"
    has "another manager conflicts" 'Apply failed with 1 conflict: conflict with "kubectl": \.data\.a' \
        apply --server-side --field-manager=other -f - <<<"$(config '"a":"2"')"
    has "--force-conflicts" 'serverside-applied' apply --server-side --field-manager=other --force-conflicts -f - <<<"$(config '"a":"2","b":"1"')"
    is "the other one's" '2 1' get cm ssa -o 'jsonpath={.data.a} {.data.b}'
    has "what is left out goes" 'serverside-applied' apply --server-side --field-manager=other -f - <<<"$(config '"a":"2"')"
    is "gone" '{"a":"2"}' get cm ssa -o 'jsonpath={.data}'
    has "a server-side dry run" 'serverside-applied \(server dry run\)' apply --server-side --dry-run=server --field-manager=other -f - <<<"$(config '"z":"2"')"
    if [[ $kubectl_name == v1.20* ]]; then
        has "managed fields are shown" 'manager: other' get cm ssa -o yaml
    else
        has "--show-managed-fields" 'manager: other' get cm ssa -o yaml --show-managed-fields
        if k get cm ssa -o yaml | grep -q managedFields; then bad "managed fields are hidden"; else ok "managed fields are hidden"; fi
    fi
    has "diff --server-side" '^\+  a: "7"' diff --server-side --field-manager=other -f - <<<"$(config '"a":"7"')"
    config '"a":"2"' >"$dir/ssa.json"
    has "a client-side apply" 'configmap/ssa (configured|unchanged)' apply -f "$dir/ssa.json"
    has "apply view-last-applied" '^  a: "2"' apply view-last-applied cm/ssa
    config '"a":"3"' >"$dir/ssa.json"
    has "a client-side apply changes" 'configmap/ssa configured' apply -f "$dir/ssa.json"
    has "back to the server's side" 'serverside-applied' apply --server-side -f - <<<"$(config '"a":"4"')"
    is "taken over" 4 get cm ssa -o 'jsonpath={.data.a}'
    has "the last applied goes along" '^  a: "4"' apply view-last-applied cm/ssa
    manifest 2 1 >"$dir/s.yaml"
    has "a deployment and a service" 'service/web serverside-applied' apply --server-side --force-conflicts -f "$dir/s.yaml"
    k delete cm ssa >/dev/null
}

run_all() {
    local ns=k${RANDOM} w
    has "version" 'v1\.34\.0\+skiff' version
    has "create namespace" "namespace/$ns created" create namespace "$ns"
    k config set-context x --namespace="$ns" >/dev/null
    has "create serviceaccount" 'serviceaccount/default created' create serviceaccount default
    has "create configmap" 'configmap/c created' create configmap c --from-literal=a=1
    is "get -o jsonpath" 1 get configmap c -o 'jsonpath={.data.a}'
    has "create secret" 'secret/s created' create secret generic s --from-literal=p=q
    is "secrets are base64" cQ== get secret s -o 'jsonpath={.data.p}'
    manifest 2 1 >"$dir/m.yaml"
    has "apply creates" 'deployment.apps/web created' apply -f "$dir/m.yaml"
    has "apply again changes nothing" 'deployment.apps/web unchanged' apply -f "$dir/m.yaml"
    manifest 3 2 >"$dir/m.yaml"
    has "apply changes" 'deployment.apps/web configured' apply -f "$dir/m.yaml"
    is "what the manifest says" "3 web:2" get deploy web -o 'jsonpath={.spec.replicas} {.spec.template.spec.containers[0].image}'
    has "get: a table" '^web +0/3 +0 +0 ' get deploy
    has "get -o wide" 'CONTAINERS +IMAGES +SELECTOR' get deploy -o wide
    has "get -l" '^web ' get deploy -l app=web
    has "get -A" "^$ns +web " get deploy -A
    has "get of several kinds" '^service/web ' get deploy,svc
    has "get --show-labels" 'app=web' get deploy --show-labels
    has "get -o yaml" '^kind: Deployment' get deploy web -o yaml
    has "get -o json" '"kind": "List"' get deploy,svc -o json
    has "get -o name" 'deployment.apps/web' get deploy -o name
    has "describe deployment" 'Replicas: +3 desired' describe deploy web
    has "describe service" 'Selector: +app=web' describe svc web
    has "describe namespace" "Name: +$ns" describe ns "$ns"
    has "scale" 'deployment.apps/web scaled' scale deploy web --replicas=5
    is "scaled" 5 get deploy web -o 'jsonpath={.spec.replicas}'
    has "patch (strategic)" 'deployment.apps/web patched' patch deploy web -p '{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"web:3"}]}}}}'
    has "patch (merge)" 'patched' patch deploy web --type=merge -p '{"metadata":{"annotations":{"x":"y"}}}'
    has "patch (json)" 'patched' patch deploy web --type=json -p '[{"op":"add","path":"/metadata/labels/j","value":"1"}]'
    has "label" 'deployment.apps/web labeled' label deploy web l=1
    has "annotate" 'deployment.apps/web annotated?' annotate deploy web a=1
    has "set image" 'image updated' set image deploy/web c=web:4
    has "edit" 'deployment.apps/web edited' --v=0 edit deploy web
    is "edited" 7 get deploy web -o 'jsonpath={.spec.replicas}'
    has "run" 'pod/p created' run p --image=busybox --restart=Never
    has "get pods" '^p +0/1 +Pending' get pods
    has "describe pod" 'Status: +Pending' describe pod p
    has "explain" 'FIELD: +replicas' explain deploy.spec.replicas
    has "api-resources" '^deployments +deploy +apps/v1 +true +Deployment' api-resources
    has "api-versions" '^apps/v1$' api-versions
    has "auth can-i" '^yes' auth can-i create pods
    has "auth can-i --list" '\[\*\]' auth can-i --list
    has "a strict refusal" 'unknown field "(spec.)?nope"' create -f - <<<'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"nope":1,"containers":[{"name":"c","image":"i"}]}}'
    has "a missing object" 'Error from server \(NotFound\): configmaps "none" not found' get cm none
    has "a taken name" 'already exists' create configmap c
    has "a dry run" 'configmap/d created \(server dry run\)' create configmap d --dry-run=server
    has "dry runs store nothing" 'NotFound' get cm d
    has "replace" 'configmap/c replaced' replace -f - <<<'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"2"}}'
    has "diff" '^\+  replicas: 9|^\+.*replicas.*9' diff -f <(manifest 9 2)
    applies_on_the_server
    (k get cm -w --request-timeout=30s >"$dir/watch" 2>&1 & echo $! >"$dir/watch.pid"; wait) &
    w=$!
    for _ in $(seq 50); do grep -q '^c ' "$dir/watch" 2>/dev/null && break; sleep 0.1; done
    k create configmap watched >/dev/null
    for _ in $(seq 50); do grep -q '^watched ' "$dir/watch" && break; sleep 0.1; done
    if grep -q '^watched ' "$dir/watch"; then ok "get -w"; else bad "get -w" "$(cat "$dir/watch")"; fi
    k delete cm watched >/dev/null
    pkill -P "$(cat "$dir/watch.pid")" 2>/dev/null
    kill "$(cat "$dir/watch.pid")" 2>/dev/null
    wait $w 2>/dev/null
    [[ $kubectl_name == v1.20* ]] || has "wait" 'condition met' wait --for=jsonpath='{.data.a}'=2 cm/c --timeout=10s
    has "delete -f" 'deployment.apps "web" deleted' delete -f "$dir/m.yaml"
    has "delete --wait" 'configmap "c" deleted' delete cm c --wait
    has "delete a pod at once" 'pod "p" (force )?deleted' delete pod p --now
    has "delete by label" 'No resources found' delete cm -l none=none
    has "get all of nothing" 'No resources found' get all
    k config set-context x --namespace=default >/dev/null
}

cat >"$dir/editor" <<'ED'
#!/bin/sh
sed -i 's/^  replicas: .*/  replicas: 7/' "$1"
ED
chmod +x "$dir/editor"
export KUBE_EDITOR=$dir/editor

found=0
for kubectl in $(ls /usr/lib/google-cloud-sdk/bin/kubectl.1.27 /usr/lib/google-cloud-sdk/bin/kubectl.1.33 ${SKIFF_KUBECTLS:-} 2>/dev/null) $(command -v kubectl); do
    kubectl_name=$("$kubectl" version --client -o json 2>/dev/null | sed -n 's/.*"gitVersion": "\(v[0-9.]*\).*/\1/p' | head -n 1)
    found=1
    run_all
done
[ $found -eq 1 ] || echo "skip kubectl: there is none on this machine"

#!/usr/bin/env bash
# skiffctl's commands on a cluster of pretended nodes: what they do, print and return; tables as kubectl's.
. "$(dirname "$0")/../lib/lib.sh"
S=$BIN/skiffctl
control_plane plane --hollow-nodes 2
find_kubectls

status() { "$@" >"$WORK/out" 2>"$WORK/err"; echo $?; }
# code TEXT WANTED command...: the exit code; output stays in $WORK/out and err
code() { local text=$1 wanted=$2; shift 2; check_eq "$text" "$(status "$@")" "$wanted"; }
out() { cat "$WORK/out"; }
err() { cat "$WORK/err"; }
field() { "$S" get "$1" -o "jsonpath=$2"; }
field_is() { [ "$(field "$1" "$2")" = "$3" ]; }
absent() { ! "$S" get "$1" >/dev/null 2>&1; }

# --- help and usage ---
for c in up down join token certs apply get describe delete scale rollout logs version; do
    code "help of $c" 0 "$S" "$c" --help
    check_has "help of $c shows its usage" "$(out)" "Usage: skiffctl $c"
    check_has "the list of commands has $c" "$("$S" --help)" "  $c "
done
code "no command" 2 "$S"
code "an unknown command" 2 "$S" fly
check_has "names it" "$(err)" 'unknown command "fly"'
while read -r line; do
    # shellcheck disable=SC2086
    code "wrong usage: $line" 2 env KUBECONFIG=/nonexistent "$S" $line
    check_has "says so on stderr: $line" "$(err)" "skiffctl"
done <<'CASES'
get
get pods -o table
get pods -o jsonpath={.items
get pods --nonsense
describe
delete
delete pod x -f y
delete -f y --all
delete pod x --cascade sideways
scale deployment/x
scale --replicas 2
rollout
rollout status
rollout sideways deployment/x
logs
apply
apply x
apply -f
token
token sideways
token delete abc
version x
up x
up --data-dir relative
up --secure-port 70000
down x
join
CASES
for line in "get pods/" "get pod a/b" "get pod x -A" "get pod x -l a=b" "get pods,nodes -w" "delete pods" "delete pod x --all" \
    "rollout status deployments" "rollout status nodes/x" "rollout pause daemonset/x"; do
    # shellcheck disable=SC2086
    code "wrong usage: $line" 2 "$S" $line
done
code "get of an empty name" 2 "$S" get pod ""

# --- kubeconfig ---
mkdir -p "$WORK/home/.kube"
sed 's/^    user: skiff/    user: skiff\n    namespace: kube-system/' "$KUBECONFIG" >"$WORK/home/.kube/config"
check_has "~/.kube/config is used, with its namespace" \
    "$(env -u KUBECONFIG HOME="$WORK/home" "$S" get pods 2>&1)" "No resources found in kube-system namespace"
check_has "\$KUBECONFIG goes before it" "$(HOME=$WORK/home "$S" get pods 2>&1)" "No resources found in default namespace"
check_has "the first existing file of \$KUBECONFIG counts" \
    "$(KUBECONFIG=/nonexistent:$WORK/home/.kube/config:$KUBECONFIG "$S" get pods 2>&1)" "in kube-system namespace"
check_has "--kubeconfig goes before both" \
    "$(KUBECONFIG=/nonexistent "$S" get pods --kubeconfig "$KUBECONFIG" 2>&1)" "in default namespace"
code "a \$KUBECONFIG that does not exist" 1 env KUBECONFIG=/nonexistent "$S" get pods
check_has "is named" "$(err)" /nonexistent
code "a context that does not exist" 1 "$S" get pods --context nope
check_has "is named" "$(err)" nope
sed "s/:$PORT/:1/" "$KUBECONFIG" >"$WORK/dead"
code "a server that does not answer" 1 "$S" get pods --kubeconfig "$WORK/dead"
check_has "is named" "$(err)" 127.0.0.1:1

# --- version and token ---
code "version" 0 "$S" version
check_has "has the server's" "$(out)" "server   v1.34"
code "version of a dead server" 1 "$S" version --kubeconfig "$WORK/dead"
code "version --client of it" 0 "$S" version --client --kubeconfig "$WORK/dead"
code "token create" 0 "$S" token create --data-dir "$DATA"
check_has "prints the command for the other host" "$(out)" "skiffctl join --server https://"
id=$(sed -n 's/.*--token \([a-z0-9]*\)\..*/\1/p' "$WORK/out")
check_has "token list has it" "$("$S" token list --data-dir "$DATA")" "$id"
check_eq "the secret half is shown once only" "$("$S" token list --data-dir "$DATA" | grep -c '\.')" 0
code "token delete" 0 "$S" token delete "$id" --data-dir "$DATA"
code "a second one fails" 1 "$S" token delete "$id" --data-dir "$DATA"
"$S" token create --data-dir "$DATA" --ttl 0s >/dev/null
check_has "a token without an end" "$("$S" token list --data-dir "$DATA")" never
code "token create without the cluster's folder" 1 "$S" token create --kubeconfig "$KUBECONFIG" --data-dir "$WORK/none"
check_eq "leaves no token" "$("$S" token list --data-dir "$DATA" | wc -l)" 2

# --- apply ---
manifest() { # manifest REPLICAS ENV... -> stdout
    local replicas=$1 e
    shift
    printf 'apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  labels: {app: web}\n'
    [ -z "${NOTE:-}" ] || printf '  annotations: {note: %s}\n' "$NOTE"
    printf 'spec:\n  replicas: %s\n  selector: {matchLabels: {app: web}}\n' "$replicas"
    [ -z "${STRATEGY:-}" ] || printf '  strategy: {type: %s}\n' "$STRATEGY"
    printf '  template:\n    metadata: {labels: {app: web}}\n    spec:\n      containers:\n      - name: c\n        image: %s\n        env:\n' \
        "${IMAGE:-a:1}"
    for e in "$@"; do printf '        - {name: %s, value: "1"}\n' "$e"; done
}
apply() { "$S" apply -f -; }
check_eq "apply creates" "$(NOTE=x manifest 3 ONE TWO | apply)" "deployment.apps/web created"
wait_for 20 "its pods run" field_is deployment/web '{.status.readyReplicas}' 3
check_eq "apply again changes nothing" "$(NOTE=x manifest 3 ONE TWO | apply)" "deployment.apps/web unchanged"
"$S" scale deployment/web --replicas 2 >/dev/null
check_eq "apply puts back" "$(manifest 3 ONE | apply)" "deployment.apps/web configured"
check_eq "the replicas" "$(field deployment/web '{.spec.replicas}')" 3
check_eq "and removes the item that is gone" "$(field deployment/web '{.spec.template.spec.containers[0].env[*].name}')" ONE
check_eq "and the annotation that is gone" "$(field deployment/web '{.metadata.annotations.note}')" ""
check_eq "another strategy" "$(STRATEGY=Recreate manifest 3 ONE | apply)" "deployment.apps/web configured"
check_eq "drops the old one's parameters" "$(field deployment/web '{.spec.strategy}')" '{"type":"Recreate"}'
manifest 3 ONE | apply >/dev/null
manifest 3 ONE >"$WORK/web.yaml"
if [ -n "$KUBECTL" ]; then
    check_eq "kubectl finds skiffctl's apply unchanged" "$("$KUBECTL" apply -f "$WORK/web.yaml")" "deployment.apps/web unchanged"
fi

# --- apply on the server ---
limits() { printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: limits}\ndata: {%s}\n' "$1"; }
there() { "$S" apply --server-side -f - "$@"; }
check_eq "apply on the server creates" "$(limits 'a: "1", b: "1"' | there)" "configmap/limits serverside-applied"
check_eq "another manager shares what is equal" "$(limits 'a: "1"' | there --field-manager=other)" "configmap/limits serverside-applied"
code "but takes no other value" 1 there --field-manager=other < <(limits 'a: "2"')
check_has "and says whose it is" "$(limits 'a: "2"' | there --field-manager=other 2>&1)" 'conflict with "skiffctl": .data.a; leave'
check_eq "nothing has changed" "$(field configmap/limits '{.data.a}')" 1
check_eq "forced, it does" "$(limits 'a: "2"' | there --field-manager=other --force-conflicts)" "configmap/limits serverside-applied"
check_eq "the new value" "$(field configmap/limits '{.data.a}')" 2
check_eq "what its only owner gives up goes" "$(limits 'c: "1"' | there; field configmap/limits '{.data}')" 'configmap/limits serverside-applied
{"a":"2","c":"1"}'
check_eq "the owners" "$(field configmap/limits '{.metadata.managedFields[*].manager}')" "other skiffctl"
check_eq "no annotation" "$(field configmap/limits '{.metadata.annotations}')" ""
code "a field that does not exist" 1 there < <(printf '{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, date: {}}')
code "a manager without --server-side" 2 "$S" apply -f "$WORK/web.yaml" --field-manager=x
code "force without --server-side" 2 "$S" apply -f "$WORK/web.yaml" --force-conflicts
mkdir "$WORK/many"
for n in 1 2 3; do
    printf '{apiVersion: v1, kind: ConfigMap, metadata: {name: cm%s, labels: {set: many}}, data: {k: v}}\n' $n >"$WORK/many/$n.yaml"
done
check_eq "apply of a folder" "$("$S" apply -f "$WORK/many" | tr '\n' ' ')" "configmap/cm1 created configmap/cm2 created configmap/cm3 created "
printf 'apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: cm1}}\n' >"$WORK/list.yaml"
check_eq "apply of a List" "$("$S" apply -f "$WORK/list.yaml")" "configmap/cm1 configured"
check_eq "removes data" "$(field configmap/cm1 '{.data}')" ""
{ cat "$WORK/many/2.yaml"; printf -- '---\n{apiVersion: nope/v1, kind: Nope, metadata: {name: nope}}\n---\n'; cat "$WORK/many/3.yaml"; } >"$WORK/mixed.yaml"
code "apply with one wrong object" 1 "$S" apply -f "$WORK/mixed.yaml"
check_has "does the others" "$(out)" "configmap/cm3 unchanged"
check_has "and names it" "$(err)" 'no matches for kind "Nope"'
code "apply of another namespace's object" 1 "$S" apply -n kube-system -f <(printf '{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: default}}')
code "apply without a name" 1 "$S" apply -f <(printf '{apiVersion: v1, kind: ConfigMap}')
code "apply of a missing file" 1 "$S" apply -f "$WORK/none.yaml"
code "apply of a field that does not exist" 1 "$S" apply -f <(printf '{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, date: {}}')

# --- get ---
check_eq "get -o name" "$("$S" get deployment/web -o name)" "deployment.apps/web"
check_has "get -o yaml" "$("$S" get deployment web -o yaml)" "  name: web"
"$S" get pods -o json >"$WORK/pods.json"
check "get -o json is a List" python3 -c "import json,sys; l=json.load(open('$WORK/pods.json')); sys.exit(l['kind']!='List' or len(l['items'])!=3 or l['items'][0]['kind']!='Pod')"
check_has "get -A has namespaces" "$("$S" get configmaps -A | head -n 1)" "NAMESPACE"
check_has "get -l" "$("$S" get configmaps -l set=many)" cm2
check_eq "get -l, others not" "$("$S" get configmaps -l set=many | grep -c kube-root-ca)" 0
check_eq "get --field-selector" "$("$S" get pods --field-selector status.phase=Running -o name | wc -l)" 3
check_eq "get --no-headers" "$("$S" get pods --no-headers | wc -l)" 3
check_has "get of nothing says so" "$("$S" get jobs 2>&1)" "No resources found in default namespace."
code "get of a missing object" 1 "$S" get pod nope
check_eq "in the server's words" "$(err)" 'skiffctl: pods "nope" not found'
code "get --ignore-not-found" 0 "$S" get pod nope --ignore-not-found
check_eq "says nothing" "$(out)$(err)" ""
code "get of three, one missing" 1 "$S" get cm cm1 nope cm3
check_eq "shows the two in one table" "$(wc -l <"$WORK/out")" 3
code "get of an unknown type" 1 "$S" get nonsense
"$S" get all >"$WORK/all"
check_eq "get all: every row has its type" "$(grep -v -e '^NAME' -e '^$' -c "$WORK/all")" "$(grep -c -E '^(pod|service|deployment.apps|replicaset.apps)/' "$WORK/all")"
check_has "get all has pods" "$(cat "$WORK/all")" "pod/web-"
code "output that can't be written" 1 sh -c "'$S' get pods >/dev/full"
pod=$("$S" get pods -o 'jsonpath={.items[0].metadata.name}')
code "get -w goes on until it is stopped" 124 timeout 2 "$S" get pod "$pod" -w
check_eq "with the pod of that name only" "$(grep -c -v '^NAME' "$WORK/out")" 1
code "get -w of a missing object" 1 timeout 5 "$S" get pod nope -w
timeout 20 "$S" get configmaps -l set=watched -w --no-headers >"$WORK/watch" &
watcher=$!
for n in 1 2 3; do
    printf '{apiVersion: v1, kind: ConfigMap, metadata: {name: w%s, labels: {set: watched}}}' $n | "$S" apply -f - >/dev/null
done
wait_for 10 "get -w shows objects as they come" sh -c "grep -q ^w3 '$WORK/watch'"
kill "$watcher" 2>/dev/null
wait "$watcher" 2>/dev/null
timeout 2 "$S" get configmaps -l set=watched -w -o name >"$WORK/names"
check_eq "get -w -o name, into a file" "$(sort "$WORK/names" | head -n 1)" configmap/w1
check_eq "nothing in colour where no terminal is" "$("$S" get all 2>&1 | cat -v | grep -c '\^\[')" 0

# --- the same tables as kubectl ---
plain() { sed -E 's/[0-9]+[smhd]([0-9]+[smh])?( ago)?/AGE/g; s/ +/ /g; s/ $//'; }
if [ -n "$KUBECTL" ]; then
    for args in "pods" "pods -o wide" "nodes -o wide" "deployments -o wide" "rs" "svc -o wide" "cm" "secrets -A" "ns" "sa -A" "pods -A" \
        "clusterroles" "pod $pod" "deployments -o name" "pods,svc" "events --no-headers"; do
        # shellcheck disable=SC2086
        check_eq "get $args as kubectl's" "$("$S" get $args 2>&1 | plain)" "$("$KUBECTL" get $args 2>&1 | plain)"
    done
    for template in '{.items[*].metadata.name}' '{range .items[*]}{.metadata.name}{"\t"}{.status.phase}{"\n"}{end}' \
        '{.items[0].status.conditions[?(@.type=="Ready")].status}' '{.items[0:2].metadata.uid}' '{..image}' \
        '{.items[-1:].spec.containers}' '{.items[0].metadata.nothing}'; do
        check_eq "jsonpath $template as kubectl's" "$("$S" get pods -o "jsonpath=$template")" "$("$KUBECTL" get pods -o "jsonpath=$template")"
    done
fi

# --- describe ---
code "describe" 0 "$S" describe pod "$pod"
check_has "has the name" "$(out)" "Name:  $pod"
check_has "has events" "$(out)" "Events:"
printf '{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {k: hidden}}' | "$S" apply -f - >/dev/null
code "describe of a Secret" 0 "$S" describe secret s
check_has "shows sizes" "$(out)" "6 bytes"
check_eq "and no values" "$(grep -c -e hidden -e aGlkZGVu "$WORK/out")" 0
code "describe of a missing object" 1 "$S" describe pod nope

# --- scale and rollout ---
check_eq "scale" "$("$S" scale deployment/web --replicas 2)" "deployment.apps/web scaled"
code "scale of a missing object" 1 "$S" scale deployment/nope --replicas 2
code "rollout status" 0 "$S" rollout status deployment/web --timeout 20s
check_has "says when it is done" "$(out)" 'deployment "web" successfully rolled out'
IMAGE=a:2 manifest 2 ONE | apply >/dev/null
code "rollout status of a change" 0 "$S" rollout status deployment/web --timeout 20s
check_eq "rollout history has the revisions" "$("$S" rollout history deployment/web | grep -c '^[0-9]')" \
    "$("$S" get rs -l app=web -o name | wc -l)"
check_eq "rollout undo" "$("$S" rollout undo deployment/web)" "deployment.apps/web rolled back"
check_eq "brings the template back" "$(field deployment/web '{.spec.template.spec.containers[0].image}')" a:1
code "rollout undo to a revision that is not there" 1 "$S" rollout undo deployment/web --to-revision 99
check_eq "rollout restart" "$("$S" rollout restart deployment/web)" "deployment.apps/web restarted"
check_eq "rollout pause" "$("$S" rollout pause deployment/web)" "deployment.apps/web paused"
code "undo of a paused one" 1 "$S" rollout undo deployment/web
code "restart of a paused one" 1 "$S" rollout restart deployment/web
check_eq "rollout resume" "$("$S" rollout resume deployment/web)" "deployment.apps/web resumed"
code "rollout status afterwards" 0 "$S" rollout status deployment/web --timeout 20s
"$S" get pods >/dev/null
IMAGE=a:3 manifest 2 ONE | sed 's/image:/resources: {requests: {cpu: "1000"}}\n        image:/' | apply >/dev/null
code "rollout status that takes too long" 1 "$S" rollout status deployment/web --timeout 1s
check_has "says so" "$(err)" "timed out waiting for the condition"

# --- delete ---
printf '{apiVersion: v1, kind: ConfigMap, metadata: {name: fin, finalizers: [example.com/hold]}}' | "$S" apply -f - >/dev/null
code "delete waits for finalizers" 1 "$S" delete configmap fin --timeout 1s
check_has "says what it waited for" "$(err)" "timed out waiting for the condition on configmaps/fin"
code "delete --no-wait does not" 0 "$S" delete configmap fin --no-wait
"$S" delete configmap fin >"$WORK/fin" 2>&1 &
deleter=$!
sleep 0.5
check "a waiting delete still waits" kill -0 "$deleter"
printf '{apiVersion: v1, kind: ConfigMap, metadata: {name: fin}}' | "$S" apply -f - >/dev/null
wait "$deleter"
check_eq "and ends when the finalizer is gone" "$?" 0
check "the object is gone" absent configmap/fin
check_eq "delete by name" "$("$S" delete configmap w1)" 'configmap "w1" deleted from default namespace'
code "delete of three, one missing" 1 "$S" delete configmap w2 nope w3
check "deletes the others" absent configmap/w3
code "delete of a missing object" 1 "$S" delete configmap nope
code "delete --ignore-not-found" 0 "$S" delete configmap nope --ignore-not-found
code "delete -f without a name" 1 "$S" delete -f <(printf '{apiVersion: v1, kind: ConfigMap}')
check_has "deletes nothing" "$("$S" get configmaps -o name)" configmap/cm1
"$S" delete configmap cm1 >/dev/null
code "delete -f, one of them missing" 1 "$S" delete -f "$WORK/many"
check_eq "deletes the others" "$("$S" get configmaps -l set=many -o name)" ""
"$S" apply -f "$WORK/many" >/dev/null
code "delete -l" 0 "$S" delete configmaps -l set=many
check_eq "deletes those" "$("$S" get configmaps -l set=many -o name)" ""
code "delete -l again" 0 "$S" delete configmaps -l set=many
check_eq "says that there are none" "$(out)" "No resources found"
code "delete -f - with pods" 0 sh -c "'$S' delete -f - --timeout 30s <'$WORK/web.yaml'"
wait_for 20 "its pods go" sh -c "[ -z \"\$('$S' get pods -o name)\" ]"
code "delete --all" 0 "$S" delete secrets --all
check_eq "deletes all of the namespace" "$("$S" get secrets -o name)" ""
check_has "and of no other" "$("$S" get secrets -n kube-system -o name)" secret/bootstrap-token

# --- a changed port ---
other=$(free_port)
code "up with another port" 0 "$S" up --data-dir "$DATA" --secure-port "$other"
code "the kubeconfig follows" 0 "$S" get nodes
code "down without a cluster" 0 "$S" down --data-dir "$WORK/none"
check_has "says so" "$(err)" "Nothing to do"

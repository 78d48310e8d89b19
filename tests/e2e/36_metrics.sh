#!/usr/bin/env bash
# Goal: usage from real containers: the kubelet's pages, metrics.k8s.io with kubectl top of the oldest and the newest client, and a
# HorizontalPodAutoscaler that follows the load of a Deployment up and down.
# Method: one node; a pod that burns a fifth of a processor and holds 20 MB, and one that sleeps; a Deployment whose first pod is told
# to work and to stop.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/node.sh"
find_kubectls
own_network "$@"
start_docker --iptables=false --bridge=none
demo_images 1
node_up
find_kubectls
skiffctl apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: busy, labels: {app: busy}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: burn
    image: skiff/guestbook:1
    command: [sh, -c, "while :; do :; done"]
    resources: {limits: {cpu: 200m, memory: 64Mi}}
  - name: hold
    image: skiff/guestbook:1
    command: [sh, -c, "head -c 20000000 /dev/zero > /dev/shm/x; sleep 100000"]
    volumeMounts: [{name: shm, mountPath: /dev/shm}]
  volumes: [{name: shm, emptyDir: {medium: Memory}}]
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
        command: [sh, -c, "while :; do [ -e /tmp/work ] || sleep 0.2; done"]
        resources: {requests: {cpu: 100m}, limits: {cpu: 200m}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 1
  maxReplicas: 3
  behavior: {scaleDown: {stabilizationWindowSeconds: 3}}
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
YAML
wait_for 30 "the pods run" pods_ready app=web 1
check "so does the other" "$KUBECTL" wait --for=condition=Ready pod/busy --timeout=30s
POD=$(skiffctl get pods -l app=web -o 'jsonpath={.items[0].metadata.name}')
"$KUBECTL" exec "$POD" -- touch /tmp/work
STARTED=$(date +%s)
NODE=$(skiffctl get nodes -o 'jsonpath={.items[0].metadata.name}')
raw() { "$KUBECTL" get --raw "$1"; }
number() { python3 -c 'import json,sys; d=json.load(sys.stdin); print('"$1"')'; }

# metrics.k8s.io
pod_is_busy() { # of its fifth of a processor, at least half
    "$KUBECTL" top pod busy --containers --no-headers >"$WORK/top" 2>"$WORK/err" &&
        awk '$2 == "burn" && $3 + 0 >= 100 && $3 + 0 <= 300 {a = 1} $2 == "hold" && $4 + 0 >= 19 {b = 1} END {exit !(a && b)}' "$WORK/top"
}
wait_for 20 "the busy pod's containers have their figures" pod_is_busy
for k in "$KUBECTL_OLD" "$KUBECTL"; do
    check "${k##*/} top nodes" "$k" top nodes
    check "${k##*/} top node NAME" "$k" top node "$NODE"
    check "${k##*/} top pods -A" "$k" top pods -A
    check_eq "${k##*/} top pods with a selector" "$("$k" top pods -l app=busy --no-headers | awk '{print $1}')" busy
done
check_eq "a node uses something" "$("$KUBECTL" top nodes --no-headers | awk '{print ($2 + 0 > 0 && $4 + 0 > 0)}')" 1
M=/apis/metrics.k8s.io/v1beta1
check_eq "the group is discovered" "$(raw /apis/metrics.k8s.io | number 'd["preferredVersion"]["groupVersion"]')" metrics.k8s.io/v1beta1
check_eq "with its kinds" "$(raw $M | number 'sorted((r["name"], r["kind"], ",".join(r["verbs"])) for r in d["resources"])')" \
    "[('nodes', 'NodeMetrics', 'get,list'), ('pods', 'PodMetrics', 'get,list')]"
check_eq "one pod, with its labels" "$(raw $M/namespaces/default/pods/busy | number 'd["kind"], d["metadata"]["labels"]["app"], len(d["containers"])')" \
    "PodMetrics busy 2"
check_eq "a list by name of field" "$(raw "$M/pods?fieldSelector=metadata.name%3Dbusy" | number 'd["kind"], len(d["items"])')" "PodMetricsList 1"
check_eq "times and windows are right" "$(raw $M/nodes | python3 -c '
import datetime, json, sys
n = json.load(sys.stdin)["items"][0]
t = datetime.datetime.strptime(n["timestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
age = (datetime.datetime.now(datetime.timezone.utc) - t).total_seconds()
print(-1 < age < 20, n["window"].endswith("s"))')" "True True"
"$KUBECTL" get --raw $M/namespaces/default/pods/nothing >"$WORK/out" 2>&1
check "what isn't there" grep -q 'podmetrics.metrics.k8s.io \\\?"default/nothing\\\?" not found' "$WORK/out"
"$KUBECTL" get --raw "$M/pods?watch=true" >"$WORK/out" 2>&1
check "there is no watch" grep -q 'does not allow this method' "$WORK/out"
check "get shows them by name" "$KUBECTL" get pods.metrics.k8s.io busy
skiffctl create serviceaccount viewer >/dev/null
"$KUBECTL" create rolebinding viewer --clusterrole=view --serviceaccount=default:viewer >/dev/null
check_eq "a viewer may" "$("$KUBECTL" auth can-i list pods.metrics.k8s.io --as system:serviceaccount:default:viewer)" yes
check_eq "others may not" "$("$KUBECTL" auth can-i list pods.metrics.k8s.io --as nobody)" no

# the kubelet's own pages
P=/api/v1/nodes/$NODE/proxy
raw "$P/stats/summary" >"$WORK/summary"
check_eq "the summary has node and pod" "$(number '
(lambda p: (d["node"]["nodeName"] == "'"$NODE"'", d["node"]["memory"]["workingSetBytes"] > 0, d["node"]["fs"]["capacityBytes"] > 0,
  [50e6 < c["cpu"]["usageNanoCores"] < 350e6 for c in p["containers"] if c["name"] == "burn"],
  p["network"]["name"], all(c["rootfs"]["usedBytes"] >= 0 for c in p["containers"])))(
    [p for p in d["pods"] if p["podRef"]["name"] == "busy"][0])' <"$WORK/summary")" "(True, True, True, [True], 'eth0', True)"
raw "$P/metrics/cadvisor" >"$WORK/cadvisor"
for m in container_cpu_usage_seconds_total container_memory_working_set_bytes container_memory_usage_bytes \
    container_start_time_seconds container_fs_usage_bytes; do
    check "cadvisor: $m" grep -q "^$m{container=\"burn\",id=\"/kubepods/.*\",image=\"skiff/guestbook:1\",name=\"k8s_burn_.*\",namespace=\"default\",pod=\"busy\"}" "$WORK/cadvisor"
done
check "cadvisor: network" grep -q '^container_network_receive_bytes_total{.*pod="busy",interface="eth0"}' "$WORK/cadvisor"
check "cadvisor: the machine" grep -q '^machine_memory_bytes{' "$WORK/cadvisor"
raw "$P/metrics/resource" >"$WORK/resource"
check "resource: node, pod, container" awk '/^node_cpu_usage_seconds_total /{a=1} /^pod_memory_working_set_bytes{namespace="default",pod="busy"}/{b=1}
    /^container_cpu_usage_seconds_total{container="burn",namespace="default",pod="busy"}/{c=1} END {exit !(a && b && c)}' "$WORK/resource"

images_are_told() { field node "$NODE" '{.status.images[*].names}' | grep -q '"skiff/guestbook:1"'; }
wait_for 20 "the node tells its images" images_are_told

# the autoscaler
replicas_are() { [ "$(field deployment web '{.spec.replicas}')" = "$1" ]; }
wait_for 60 "the autoscaler adds pods" replicas_are 3
printf '    scaled up after %s s\n' "$(($(date +%s) - STARTED))"
"$KUBECTL" exec "$POD" -- rm /tmp/work
STARTED=$(date +%s)
wait_for 75 "and takes them away" replicas_are 1
printf '    scaled down after %s s\n' "$(($(date +%s) - STARTED))"
exit $((failures > 0))

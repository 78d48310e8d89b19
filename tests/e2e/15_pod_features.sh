#!/usr/bin/env bash
# Goal: what a pod may ask of the node agent, on real Docker: every volume kind, environment, limits, probes, restarts, hooks.
# Method: a few pods of the demo image print what they find; logs (by kubectl) and statuses are compared.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/node.sh"
. "$(dirname "$0")/../lib/guestbook.sh"
own_network "$@"
start_docker --iptables=false --bridge=none
demo_images 1
node_up
find_kubectls
mkdir -p "$WORK/host"
skiffctl apply -f - >/dev/null <<YAML
{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {k: from-config}}
---
{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {p: from-secret}}
---
apiVersion: v1
kind: Pod
metadata: {name: all, labels: {app: all}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  initContainers:
  - {name: init, image: "skiff/guestbook:1", command: [sh, -c, "echo init > /e/init"], volumeMounts: [{name: e, mountPath: /e}]}
  containers:
  - name: main
    image: skiff/guestbook:1
    command: [sh, -c]
    args:
    - |
      echo config=\$(cat /c/k) secret=\$(cat /s/p) empty=\$(cat /e/init) labels=\$(cat /d/labels) cpu=\$CPU
      echo expanded=$(printf '%s' '$(WHO)')-x name=\$WHO token=\$(test -s /var/run/secrets/kubernetes.io/serviceaccount/token && echo yes)
      echo host > /h/file; echo memory=\$(cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max)
    env:
    - {name: WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    resources: {limits: {cpu: 200m, memory: 32Mi}}
    volumeMounts: [{name: c, mountPath: /c}, {name: s, mountPath: /s}, {name: e, mountPath: /e}, {name: d, mountPath: /d}, {name: h, mountPath: /h}]
  volumes:
  - {name: c, configMap: {name: c}}
  - {name: s, secret: {secretName: s}}
  - {name: e, emptyDir: {}}
  - {name: d, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
  - {name: h, hostPath: {path: $WORK/host, type: Directory}}
---
apiVersion: v1
kind: Pod
metadata: {name: crash}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: "skiff/guestbook:1", command: [sh, -c, "exit 3"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: probed}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - name: main
    image: skiff/guestbook:1
    command: [sh, -c, "sleep 2; touch /tmp/up; sleep 6; rm /tmp/up; sleep 600"]
    startupProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1, failureThreshold: 20}
    readinessProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1}
    livenessProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1, failureThreshold: 2}
    lifecycle: {preStop: {exec: {command: [sh, -c, "echo stopped > /h/stopped"]}}}
    volumeMounts: [{name: h, mountPath: /h}]
  volumes: [{name: h, hostPath: {path: $WORK/host}}]
---
apiVersion: v1
kind: Pod
metadata: {name: debugged}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: "skiff/guestbook:1", command: [sh, -c, "sleep 600"]}]}
YAML
pod_is() { field_is pods "$1" "$2" "$3"; }
wait_for 30 "the pod with everything succeeds" pod_is all '{.status.phase}' Succeeded
logs=$("$KUBECTL" logs all)
for wanted in config=from-config secret=from-secret empty=init 'labels=app="all"' cpu=1 expanded=all-x name=all token=yes memory=33554432; do
    check_has "it finds $wanted" "$logs" "$wanted"
done
check_eq "hostPath is the host's" "$(cat "$WORK/host/file")" host
wait_for 20 "a probed pod is ready" pod_is probed '{.status.containerStatuses[0].ready}' true
wait_for 30 "a failing command backs off" pod_is crash '{.status.containerStatuses[0].state.waiting.reason}' CrashLoopBackOff
check_eq "with its exit code" "$(skiffctl get pod crash -o 'jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}')" 3
wait_for 30 "a failing liveness probe restarts it" pod_is probed '{.status.containerStatuses[0].restartCount}' 1
check "preStop ran before the restart" test -e "$WORK/host/stopped"
wait_for 20 "a pod to look into runs" pod_is debugged '{.status.phase}' Running
check "kubectl debug adds a container" "$KUBECTL" debug debugged --image skiff/guestbook:1 --target main -c dbg -- \
    sh -c 'cat /proc/1/cmdline | tr "\0" " "; exit 4'
wait_for 20 "it runs once" pod_is debugged '{.status.ephemeralContainerStatuses[0].state.terminated.exitCode}' 4
check_has "and sees the processes of the other" "$("$KUBECTL" logs debugged -c dbg)" "sleep 600"
check "a second one" "$KUBECTL" debug debugged --image skiff/guestbook:1 -c more -- sh -c 'exit 0'
wait_for 20 "runs, too" pod_is debugged '{.status.ephemeralContainerStatuses[1].state.terminated.exitCode}' 0
check_eq "neither runs again, and the pod goes on" \
    "$(skiffctl get pod debugged -o 'jsonpath={.status.ephemeralContainerStatuses[0].restartCount} {.status.phase}')" "0 Running"
# A claim of a class of the built-in provisioner, with a folder of the test's own.
node=$(skiffctl get nodes -o 'jsonpath={.items[0].metadata.name}')
skiffctl apply -f - >/dev/null <<YAML
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: here}
provisioner: skiff.io/host-path
parameters: {path: $WORK/volumes}
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, annotations: {volume.kubernetes.io/selected-node: $node}}
spec: {storageClassName: here, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: "skiff/guestbook:1", command: [sh, -c, "echo kept > /data/file"], volumeMounts: [{name: v, mountPath: /data}]}
  volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]
YAML
wait_for 30 "a pod writes to a claim" pod_is writer '{.status.phase}' Succeeded
check_eq "its folder is the node's" "$(cat "$WORK"/volumes/pvc-*_default_data/file)" kept
"$KUBECTL" delete pvc data --wait=false >/dev/null
no_folder() { ! ls "$WORK"/volumes/pvc-* >/dev/null 2>&1; }
wait_for 20 "the folder goes with the claim" no_folder
no_volume() { [ -z "$(skiffctl get pv -o name 2>/dev/null)" ]; }
wait_for 20 "and so does the volume" no_volume
check "delete" skiffctl delete pod writer all crash probed debugged --timeout 30s
check "down --purge" skiffctl down --purge --data-dir "$DATA"

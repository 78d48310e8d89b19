#!/usr/bin/env bash
# Goal: cpu and memory of running containers are changed in place: Docker has them, the status says so, nothing restarts unless the
# container's resizePolicy wants it; what the node can't give is refused or put off with a condition.
# Method: real containers and pods/resize; docker inspect is compared with the status.
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
metadata: {name: a}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: m
    image: skiff/guestbook:1
    command: [sh, -c, "head -c 20000000 /dev/zero > /dev/shm/x; sleep 100000"]
    volumeMounts: [{name: shm, mountPath: /dev/shm}]
    resources: {requests: {cpu: 100m, memory: 32Mi}, limits: {cpu: 200m, memory: 64Mi}}
  - name: picky
    image: skiff/guestbook:1
    command: [sleep, "100000"]
    resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]
    resources: {requests: {cpu: 100m, memory: 32Mi}, limits: {cpu: 200m, memory: 64Mi}}
  volumes: [{name: shm, emptyDir: {medium: Memory}}]
YAML
check "the pod runs" "$KUBECTL" wait --for=condition=Ready pod/a --timeout=30s
id_of() { field pod a "{.status.containerStatuses[?(@.name==\"$1\")].containerID}" | sed 's,docker://,,'; }
given() { field pod a "{.status.containerStatuses[?(@.name==\"$1\")].resources.limits.cpu} {.status.containerStatuses[?(@.name==\"$1\")].resources.limits.memory} {.status.containerStatuses[?(@.name==\"$1\")].allocatedResources.cpu}"; }
restarts() { field pod a "{.status.containerStatuses[?(@.name==\"$1\")].restartCount}"; }
docker_has() { [ "$(docker inspect -f '{{.HostConfig.CpuShares}} {{.HostConfig.CpuQuota}} {{.HostConfig.Memory}}' "$(id_of "$1")")" = "$2" ]; }
resize() { "$KUBECTL" patch pod a --subresource resize -p "{\"spec\":{\"containers\":[{\"name\":\"$1\",\"resources\":$2}]}}" >/dev/null; }
given_is() { [ "$(given "$1")" = "$2" ]; }
condition_is() { [ "$(field pod a "{.status.conditions[?(@.type==\"$1\")].reason}")" = "$2" ]; }
check_eq "the status says what it was given" "$(given m)" "200m 64Mi 100m"
ID=$(id_of m)

check "more of both" resize m '{"requests":{"cpu":"150m","memory":"48Mi"},"limits":{"cpu":"300m","memory":"96Mi"}}'
wait_for 10 "Docker has it" docker_has m "153 30000 100663296"
wait_for 10 "the status says so" given_is m "300m 96Mi 150m"
check_eq "without a restart" "$(restarts m) $(id_of m)" "0 $ID"
check "less cpu" resize m '{"requests":{"cpu":"50m"},"limits":{"cpu":"100m"}}'
wait_for 10 "Docker has that" docker_has m "51 10000 100663296"

check "less memory than is in use" resize m '{"requests":{"memory":"8Mi"},"limits":{"memory":"10Mi"}}'
wait_for 10 "is an error of the resize" condition_is PodResizeInProgress Error
check "and Docker keeps what it had" docker_has m "51 10000 100663296"
check "enough again" resize m '{"requests":{"memory":"32Mi"},"limits":{"memory":"64Mi"}}'
wait_for 10 "the condition goes" condition_is PodResizeInProgress ""
wait_for 10 "and it is done" docker_has m "51 10000 67108864"

check "more than the node has" resize m '{"requests":{"cpu":"900"},"limits":{"cpu":"900"}}'
wait_for 10 "can't be" condition_is PodResizePending Infeasible
check_eq "it keeps what it had" "$(given m)" "100m 64Mi 50m"
check "back" resize m '{"requests":{"cpu":"100m"},"limits":{"cpu":"200m"}}'
wait_for 10 "no condition is left" condition_is PodResizePending ""
wait_for 10 "it got it" given_is m "200m 64Mi 100m"
check_eq "all that without a restart" "$(restarts m) $(id_of m)" "0 $ID"

check "another's policy: cpu without a restart" resize picky '{"limits":{"cpu":"300m"}}'
wait_for 10 "is given" docker_has picky "102 30000 67108864"
check_eq "no restart" "$(restarts picky)" 0
check "memory with one" resize picky '{"limits":{"memory":"80Mi"}}'
restarted() { [ "$(restarts picky)" = 1 ] && docker_has picky "102 30000 83886080"; }
wait_for 15 "it was restarted with it" restarted
check_eq "the other was not" "$(restarts m) $(id_of m)" "0 $ID"
exit $((failures > 0))

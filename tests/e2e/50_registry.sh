#!/usr/bin/env bash
# Goal: images are pulled from a registry as their pull policy says, and a missing one is waited for.
# Method: Debian's docker-registry on loopback. What was pulled is read from the registry's side (the image's manifest is
# taken away and comes back) and from the pods' events.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/node.sh"
. "$(dirname "$0")/../lib/registry.sh"
own_network "$@"

start_docker --iptables=false --bridge=none
start_registry
demo_images 1 2
push() { # push VERSION TAG
    docker tag "skiff/guestbook:$1" "$REGISTRY/guestbook:$2" && docker push -q "$REGISTRY/guestbook:$2" &&
        docker rmi "$REGISTRY/guestbook:$2"
}
node_up
pod() { # pod NAME TAG POLICY
    skiffctl apply -f - <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $1, labels: {app: pulled}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: web, image: "$REGISTRY/guestbook:$2", imagePullPolicy: $3, command: [cat, /version, "-"], stdin: true}
YAML
}
waiting() { # waiting POD REASON...: the container waits for one of the reasons
    local got reason
    got=$(field pod "$1" '{.status.containerStatuses[0].state.waiting.reason}')
    echo "$got"
    shift
    for reason in "$@"; do [ "$got" != "$reason" ] || return 0; done
    return 1
}
running() { field_is pod "$1" '{.status.phase}' Running; }
events_of() { skiffctl get events --field-selector "involvedObject.name=$1" -o 'jsonpath={range .items[*]}{.reason}: {.message}{"\n"}{end}'; }

check "push the demo image" push 1 one
check "a pod with IfNotPresent" pod first one IfNotPresent
wait_for 30 "it runs" running first
check_has "its image was pulled" "$(events_of first)" "Pulling image \"$REGISTRY/guestbook:one\""
check_has "  and it says so" "$(events_of first)" "Pulled: Successfully pulled image \"$REGISTRY/guestbook:one\""
check_eq "its output" "$(skiffctl logs first)" 1
check_has "its status names the image by digest" "$(field pod first '{.status.containerStatuses[0].imageID}')" "@sha256:"

# Another image under the same tag: IfNotPresent keeps what is there, Always takes the new one.
check "push another one with the same tag" eval 'docker tag skiff/guestbook:2 $REGISTRY/guestbook:one && docker push -q $REGISTRY/guestbook:one && docker tag skiff/guestbook:1 $REGISTRY/guestbook:one'
check "a second pod with IfNotPresent" pod second one IfNotPresent
wait_for 30 "it runs" running second
check_has "nothing was pulled" "$(events_of second)" "already present on machine"
check_eq "it runs what was there" "$(skiffctl logs second)" 1
check "a pod with Always" pod third one Always
wait_for 60 "it runs" running third
check_eq "it runs the new one" "$(skiffctl logs third)" 2
check "a pod with Never and no image" pod fourth none Never
wait_for 60 "it waits with ErrImageNeverPull" waiting fourth ErrImageNeverPull

# A tag that is missing, and comes later.
check "a pod with a missing tag" pod late later IfNotPresent
wait_for 20 "it waits with ErrImagePull or ImagePullBackOff" waiting late ErrImagePull ImagePullBackOff
wait_for 30 "it backs off" waiting late ImagePullBackOff
check_has "the message names the image" "$(field pod late '{.status.containerStatuses[0].state.waiting.message}')" \
    "Back-off pulling image \"$REGISTRY/guestbook:later\""
check_has "events say why" "$(events_of late)" "Failed to pull image \"$REGISTRY/guestbook:later\""
check_has "get pods shows it" "$(skiffctl get pods)" "ImagePullBackOff"
check "push it" push 2 later
wait_for 60 "the pod recovers" running late
check_eq "its output" "$(skiffctl logs late)" 2

# A name that is no image, and a registry that is not there.
check "a pod with an invalid image name" pod wrong 'UPPER CASE' IfNotPresent
wait_for 20 "it waits with InvalidImageName" waiting wrong InvalidImageName
kill "$REGISTRY_PID"
wait "$REGISTRY_PID" 2>/dev/null
check "without a registry, what is present runs" pod offline one IfNotPresent
wait_for 20 "it runs" running offline
check "and Always does not" pod offline-always one Always
wait_for 20 "it waits with ErrImagePull or ImagePullBackOff" waiting offline-always ErrImagePull ImagePullBackOff
check "all are deleted" skiffctl delete pods -l app=pulled --timeout 60s
if [ "$failures" -gt 0 ]; then # what the daemons said goes with their folder
    skiffctl describe pod | tail -n 60
    tail -n 60 "$DATA/log/kubelet.log"
fi
check "down --purge" skiffctl down --purge --data-dir "$DATA"
check_eq "no container is left" "$(docker ps -aq)" ""

#!/usr/bin/env bash
# A deployment pipeline, small enough to read: builds an image, pushes it to a registry, tells the cluster to run it, waits for
# the rollout, and undoes it when it fails.
#
#   pipeline.sh CONTEXT IMAGE DEPLOYMENT CONTAINER [URL]
#
#   CONTEXT     folder with a Dockerfile
#   IMAGE       the image without a tag, as the cluster pulls it: 127.0.0.1:5000/hello
#   DEPLOYMENT  which one runs it, and CONTAINER is the container's name there
#   URL         fetched after the rollout; what doesn't answer is undone as well
#
# Needs docker and kubectl, and KUBECONFIG. TAG is the image's tag (default: the hash of the folder's files, so the same input
# has the same tag); TIMEOUT limits the rollout (default 120s). Ends with 0 when the new version runs, 1 when the old one
# runs again, 2 when nothing was changed.
set -euo pipefail
[ "$#" -ge 4 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2; exit 2; }
context=$1 deployment=deployment/$3 container=$4 url=${5:-}
tag=${TAG:-$(cd "$context" && find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c 1-12)}
image=$2:$tag

step() { printf '==> %s\n' "$*"; }

answers() { # the new version must serve; a few tries, since its last rule may be on its way
    local _
    [ -n "$url" ] || return 0
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        if curl -fsS --max-time 5 -o /dev/null "$url"; then return 0; fi
        sleep 0.5
    done
    return 1
}

step "Build $image"
docker build --force-rm -q -t "$image" "$context" >/dev/null || exit 2

step "Push $image"
docker push -q "$image" >/dev/null || exit 2

before=$(kubectl get "$deployment" -o "jsonpath={.spec.template.spec.containers[?(@.name==\"$container\")].image}") || exit 2
if [ "$before" = "$image" ]; then
    step "$deployment has this image already"
    exit 0
fi

step "Roll out"
kubectl set image "$deployment" "$container=$image" || exit 2
kubectl annotate "$deployment" --overwrite "kubernetes.io/change-cause=$image" >/dev/null || true
if kubectl rollout status "$deployment" --timeout "${TIMEOUT:-120s}" && answers; then
    step "$image runs"
    exit 0
fi

step "It failed; what its pods say"
kubectl get pods -o wide
kubectl get events --field-selector type=Warning | tail -n 10

step "Undo"
kubectl rollout undo "$deployment"
kubectl rollout status "$deployment" --timeout "${TIMEOUT:-120s}"
step "$before runs again"
exit 1

#!/usr/bin/env bash
# Goal: manifests/cicd/pipeline.sh deploys a good version and takes a bad one back.
# Method: the pipeline with kubectl, Docker and a registry on loopback: a good version, the same again, one that does not build,
# one that never gets ready, one whose image is broken; a client fetches the page all the time.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/node.sh"
. "$(dirname "$0")/../lib/registry.sh"
own_network "$@"

start_docker --iptables=false --bridge=none
start_registry
demo_images 1
find_kubectls
mkdir -p "$WORK/bin"
ln -s "$KUBECTL" "$WORK/bin/kubectl"
PATH=$WORK/bin:$PATH
node_up
URL=http://192.0.2.1:30081/
site() { # site TEXT: the example's folder with that page
    rm -rf "$WORK/site"
    cp -r "$ROOT/manifests/cicd/hello" "$WORK/site"
    printf '<html>%s, served by pod of the pipeline</html>\n' "$1" >"$WORK/site/site/index.html"
}
pipeline() { # pipeline STATUS TEXT
    local status
    TIMEOUT=${TIMEOUT:-60s} "$ROOT/manifests/cicd/pipeline.sh" "$WORK/site" "$REGISTRY/hello" hello web "$URL" >"$WORK/pipeline.out" 2>&1
    status=$?
    check_eq "$2" "$status" "$1"
    [ "$status" = "$1" ] || sed 's/^/    | /' "$WORK/pipeline.out"
}
revisions() { kubectl rollout history deployment/hello | awk '$1 ~ /^[0-9]+$/ {print $1}' | tr '\n' ' '; }

check "apply manifests/cicd/hello.yaml" kubectl apply -f "$ROOT/manifests/cicd/hello.yaml"
site "version 1"
pipeline 0 "the first version is deployed"
wait_for 10 "its page" page_has "$URL" "version 1"
client_start "$URL"

site "version 2"
pipeline 0 "a good version is deployed"
wait_for 10 "all pods serve it" eval 'for i in 1 2 3 4 5 6; do page_has "$URL" "version 2" || exit 1; done'
image=$(kubectl get deployment hello -o 'jsonpath={.spec.template.spec.containers[0].image}')
check_has "history says what was deployed" "$(kubectl rollout history deployment/hello)" "$image"
before=$(revisions)
pipeline 0 "the same input again"
check_has "  changes nothing" "$(cat "$WORK/pipeline.out")" "has this image already"
check_eq "  makes no revision" "$(revisions)" "$before"

site "version 3"
echo 'RUN ["/bin/false"]' >>"$WORK/site/Dockerfile"
pipeline 2 "a version that does not build"
check_eq "  changes nothing" "$(kubectl get deployment hello -o 'jsonpath={.spec.template.spec.containers[0].image}')" "$image"

site "version 4"
rm "$WORK/site/site/index.html"
TIMEOUT=8s pipeline 1 "a version that never gets ready is undone"
check_has "  it says so" "$(cat "$WORK/pipeline.out")" "$image runs again"
check_has "  and why" "$(cat "$WORK/pipeline.out")" "Readiness probe failed"
check_eq "  the old image is back" "$(kubectl get deployment hello -o 'jsonpath={.spec.template.spec.containers[0].image}')" "$image"

site "version 5"
echo 'CMD ["/bin/missing"]' >>"$WORK/site/Dockerfile"
TIMEOUT=8s pipeline 1 "a version whose program is missing is undone"
wait_for 10 "version 2 is served after all" eval 'for i in 1 2 3 4 5 6; do page_has "$URL" "version 2" || exit 1; done'
wait_for 30 "only its pods are left" pods_ready app=hello 2
check_client "no request failed in all this"
check "down --purge" skiffctl down --purge --data-dir "$DATA"
check_eq "no container is left" "$(docker ps -aq)" ""

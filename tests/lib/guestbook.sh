# The guestbook of manifests/guestbook as the scenario scripts use it. Source it after node.sh.
NODE_IP=192.0.2.1
NODE_URL=http://$NODE_IP:30080/
WEB=app=guestbook,tier=web

guestbook_apply() {
    check "apply manifests/guestbook" skiffctl apply -f "$ROOT/manifests/guestbook"
    check "rollout status of the backend" skiffctl rollout status statefulset/guestbook-backend --timeout 60s
    check "rollout status of the web tier" skiffctl rollout status deployment/guestbook --timeout 60s
}

check_pod_done() { # prints the log of the pod that fetches the page by name; fails unless it succeeded
    field_is pod guestbook-check '{.status.phase}' Succeeded && skiffctl logs guestbook-check
}

guestbook_pages() {
    local ip
    ip=$(field service guestbook '{.spec.clusterIP}')
    wait_for 10 "the page through the ClusterIP" page_has "http://$ip/" "served by pod guestbook-"
    wait_for 10 "the page through the NodePort" page_has "$NODE_URL" "served by pod guestbook-"
    check "a pod that fetches the page by its DNS name is made" skiffctl apply -f "$ROOT/manifests/guestbook/check/pod.yaml"
    if wait_for 30 "it ends well" check_pod_done; then
        check_has "the page by DNS name, in a pod" "$(skiffctl logs guestbook-check)" "served by pod guestbook-"
    else
        skiffctl get pod guestbook-check -o yaml | sed -n '/^status/,$p' | sed 's/^/    | /'
        skiffctl logs guestbook-check | sed 's/^/    | /'
    fi
    check "it is deleted" skiffctl delete pod guestbook-check
}

guestbook_entry() { # posts an entry and reads it back
    local text="entry $RANDOM"
    check_eq "an entry is posted" \
        "$(curl -sS --max-time 5 -o /dev/null -w '%{http_code}' -d "name=Ada&message=${text/ /+}" "${NODE_URL}cgi-bin/index.cgi")" 303
    check "it is on the page" page_has "$NODE_URL" "<li><b>Ada</b>: $text</li>"
}

guestbook_version() { # guestbook_version N: applies the web tier with image N
    sed "s|image: skiff/guestbook:.*|image: skiff/guestbook:$1|" "$ROOT/manifests/guestbook/30-web.yaml" >"$WORK/web-$1.yaml"
    check "apply the web tier with image :$1" skiffctl apply -f "$WORK/web-$1.yaml"
}
pages_are_version() { # N pages in a row are of that version
    local i
    for i in 1 2 3 4 5 6 7 8; do page_has "$NODE_URL" "<small>version $1, served by pod" || return 1; done
}

scale_to() {
    check "scale to $1" skiffctl scale deployment/guestbook --replicas "$1"
    check "rollout status" skiffctl rollout status deployment/guestbook --timeout 60s
    wait_for 30 "$1 pods are left, all ready" pods_ready "$WEB" "$1"
}

# pod names with their containers, to see that none was made again
pod_containers() {
    skiffctl get pods -o 'jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}{"\n"}{end}'
}

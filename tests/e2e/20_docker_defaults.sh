#!/usr/bin/env bash
# Goal: Skiff works beside Docker's own defaults: its firewall, its bridge, and a FORWARD chain that drops.
# Method: the first steps of the main job in a network namespace with a dockerd that got no options, beside an ordinary container
# on docker0; at the end Docker's rules must be as before.
. "$(dirname "$0")/../lib/lib.sh"
. "$(dirname "$0")/../lib/node.sh"
. "$(dirname "$0")/../lib/guestbook.sh"
own_network "$@"

start_docker
demo_images 1 2
# Docker sets DROP only where forwarding was off before; hosts differ, so make sure.
iptables -P FORWARD DROP
check_has "FORWARD drops" "$(iptables -S FORWARD)" "-P FORWARD DROP"
check "an ordinary container runs on docker0" docker run -d --name beside skiff/guestbook:1 /bin/serve /web
beside=$(docker inspect -f '{{.NetworkSettings.IPAddress}}' beside)
wait_for 10 "it serves" curl -fsS --max-time 2 "http://$beside:8080/health.html"
host_state >"$WORK/before"

node_up
check_eq "our rules are in DOCKER-USER" "$(iptables -S DOCKER-USER | grep -c skiff0)" 2
guestbook_apply
guestbook_pages
guestbook_entry
client_start "$NODE_URL"
scale_to 5
scale_to 2
guestbook_version 2
check "rollout status" skiffctl rollout status deployment/guestbook --timeout 90s
wait_for 15 "all pages are version 2" pages_are_version 2
check_client "no request failed in scaling and update"

# Pods reach the world outside through the host, and what Docker runs is left alone.
pod=$(skiffctl get pods -l "$WEB" -o 'jsonpath={.items[0].metadata.name}')
container=$(docker ps -q --filter "label=io.kubernetes.pod.name=$pod" --filter label=io.kubernetes.container.name=web)
check "a pod reaches the node" docker exec "$container" timeout 5 wget -q -O /dev/null "$NODE_URL"
check "a pod reaches a container on docker0" docker exec "$container" timeout 5 wget -q -O /dev/null "http://$beside:8080/health.html"
check "the other container still serves" curl -fsS --max-time 2 "http://$beside:8080/health.html"

check "down --purge" skiffctl down --purge --data-dir "$DATA"
check_eq "the host looks as before" "$(host_state | diff "$WORK/before" - | grep '^[<>]' | head -n 20)" ""
check "the other container serves after all" curl -fsS --max-time 2 "http://$beside:8080/health.html"
docker rm -f beside >/dev/null

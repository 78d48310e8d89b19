# A registry of the script's own, Debian's docker-registry, on loopback: start_registry; sets REGISTRY (host:port).
REGISTRY=127.0.0.1:5000

start_registry() {
    mkdir -p "$WORK/registry"
    cat >"$WORK/registry.yml" <<YAML
version: 0.1
log: {level: warn}
storage:
  filesystem: {rootdirectory: $WORK/registry}
  delete: {enabled: true}
http: {addr: "$REGISTRY"}
YAML
    docker-registry serve "$WORK/registry.yml" >"$WORK/registry.log" 2>&1 &
    REGISTRY_PID=$!
    on_exit "kill $REGISTRY_PID 2>/dev/null"
    wait_for 20 "a registry runs" curl -fsS --max-time 2 "http://$REGISTRY/v2/"
}

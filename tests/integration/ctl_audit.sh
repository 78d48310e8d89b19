#!/usr/bin/env bash
# Goal: `skiffctl audit-cluster` passes on a fresh cluster, and names what was made worse and how to mend it.
# Method: a control plane; then wrong modes, roles, bindings and pods one by one.
. "$(dirname "$0")/../lib/lib.sh"
control_plane audit
skiffctl() { "$BIN/skiffctl" "$@"; }
audit() { skiffctl audit-cluster --data-dir "$DATA" "$@" 2>&1; }

out=$(audit)
check_eq "a fresh cluster passes: status" "$?" 0
check_eq "  nothing fails" "$(grep -c '^FAIL' <<<"$out")" 0
[ "$(grep -c '^PASS' <<<"$out")" -ge 40 ] && ok "  at least 40 checks pass" || not_ok "few checks: $out"
check_eq "--quiet prints the sum alone" "$(audit --quiet | grep -vc 'passed, 0 failed')" 0

status_of() { awk -v n="$2:" '$1 == n {print $2}' "/proc/$1/status"; }
for name in apiserver controller-manager scheduler; do
    pid=$(pgrep -f "skiff-$name .*$DATA/" | head -n 1)
    check_eq "skiff-$name: no new privileges, system calls filtered" "$(status_of "$pid" NoNewPrivs) $(status_of "$pid" Seccomp)" "1 2"
    [ "$(id -u)" -ne 0 ] || check_eq "  it may bind low ports and nothing else" "$(status_of "$pid" CapEff)" 0000000000000400
done

worse() { # worse NUMBER TEXT: the check of that number fails now and says that
    local out
    out=$(audit --quiet)
    if grep -A 2 "^FAIL  $1 " <<<"$out" | grep -qF -- "$2"; then ok "$1: $2"; else not_ok "$1 does not say '$2': $out"; fi
}
chmod 0644 "$DATA/pki/ca.key"
audit >/dev/null
check_eq "a failure is status 1" "$?" 1
worse 1.1.21 "pki/ca.key has mode 0644"
chmod 0600 "$DATA/pki/ca.key"
chmod 0750 "$DATA"
worse 1.1.12 "has mode 0750"
chmod 0700 "$DATA"
chmod 0640 "$DATA/admin.kubeconfig"
worse 1.1.13 "admin.kubeconfig has mode 0640"
chmod 0600 "$DATA/admin.kubeconfig"

skiffctl apply -f - >/dev/null <<'YAML'
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: wild}
rules:
- {apiGroups: ["*"], resources: ["*"], verbs: ["*"]}
- {apiGroups: [""], resources: [secrets], verbs: [list]}
- {apiGroups: [""], resources: [pods, persistentvolumes, "serviceaccounts/token"], verbs: [create]}
- {apiGroups: [""], resources: ["nodes/proxy"], verbs: [get]}
- {apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [escalate]}
- {apiGroups: [certificates.k8s.io], resources: ["certificatesigningrequests/approval"], verbs: [update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: everybody}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects:
- {kind: User, name: eve, apiGroup: rbac.authorization.k8s.io}
- {kind: ServiceAccount, name: default, namespace: default}
---
apiVersion: v1
kind: Pod
metadata: {name: bad, namespace: default}
spec:
  hostNetwork: true
  containers:
  - name: c
    image: i
    securityContext: {privileged: true}
    env: [{name: P, valueFrom: {secretKeyRef: {name: s, key: k}}}]
YAML
worse 5.1.1 "User eve (binding everybody)"
worse 5.1.2 "ClusterRole wild"
worse 5.1.3 "ClusterRole wild"
worse 5.1.4 "ClusterRole wild"
worse 5.1.5 "default in namespace default (binding everybody)"
worse 5.1.8 "ClusterRole wild"
worse 5.1.9 "ClusterRole wild"
worse 5.1.10 "ClusterRole wild"
worse 5.1.11 "ClusterRole wild"
worse 5.1.13 "ClusterRole wild"
worse 5.2.2 "default/bad"
worse 5.2.3 "default/bad"
worse 5.3.2 "default"
worse 5.4.1 "default/bad (P)"

out=$(skiffctl audit-cluster --data-dir /nowhere-at-all 2>&1)
check_eq "a folder that is none: status" "$?" 1
check_has "  it says so" "$out" "/nowhere-at-all"
out=$(audit nonsense)
check_eq "an argument: status" "$?" 2

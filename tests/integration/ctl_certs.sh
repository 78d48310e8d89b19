#!/usr/bin/env bash
# Goal: certificates are watched and renewed while the cluster runs; nothing secret shows in logs, events or command lines.
# Method: a control plane of its own: check, renew, and look at what the ports show; then known secrets are searched for.
. "$(dirname "$0")/../lib/lib.sh"
S=$BIN/skiffctl
control_plane certs --hollow-nodes 1

serial() { echo | openssl s_client -connect "127.0.0.1:$1" 2>/dev/null | openssl x509 -noout -serial; }
pids() { for f in "$DATA"/run/*.pid; do cat "$f"; echo; done 2>/dev/null | sort; pgrep -f -- "$DATA/" | sort; }

# --- check ---
"$S" certs check --data-dir "$DATA" >"$WORK/table"
check_eq "all are good" "$?" 0
for name in ca apiserver admin scheduler controller-manager; do
    check_has "$name is listed" "$(awk '{print $1}' "$WORK/table")" "$name"
done
check_has "with its subject" "$(cat "$WORK/table")" "CN=kube-apiserver"
"$S" certs check --data-dir "$DATA" --warn 400 >/dev/null 2>"$WORK/err"
check_eq "what expires within --warn fails" "$?" 1
check_has "and says what to do" "$(cat "$WORK/err")" "certs renew"
check_eq "wrong usage" "$("$S" certs >/dev/null 2>&1; echo $?)" 2
check_eq "an unknown name" "$("$S" certs renew --data-dir "$DATA" nobody >/dev/null 2>&1; echo $?)" 2

# --- renew: new certificates on the ports, the same processes, connections stay ---
before=$(serial "$PORT") before_scheduler=$(serial $((PORT + 2))) processes=$(pids)
chmod 0640 "$DATA/pki/scheduler.key"
"$S" get configmaps -n kube-system -w >"$WORK/watch" 2>&1 &
watch=$!
on_exit "kill $watch 2>/dev/null"
wait_for 20 "a watch is open" grep -q kube-root-ca "$WORK/watch"
check "renew" "$S" certs renew --data-dir "$DATA"
is_new() { [ -n "$(serial "$1")" ] && [ "$(serial "$1")" != "$2" ]; }
wait_for 20 "the API server shows a new certificate" is_new "$PORT" "$before"
wait_for 20 "so does the scheduler" is_new $((PORT + 2)) "$before_scheduler"
check_eq "the processes are the same" "$(pids)" "$processes"
check_eq "a key keeps its mode" "$(stat -c %a "$DATA/pki/scheduler.key")" 640
check "the admin's kubeconfig works" "$S" get nodes
"$S" get configmaps -n default >/dev/null
kubectl_apply() { printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: after, namespace: kube-system}\n' | "$S" apply -f -; }
check "a write" kubectl_apply
wait_for 20 "the watch from before goes on" grep -q after "$WORK/watch"
for name in apiserver admin scheduler; do
    check "the key of $name belongs to its certificate" cmp <(openssl x509 -in "$DATA/pki/$name.crt" -noout -pubkey) \
        <(openssl pkey -in "$DATA/pki/$name.key" -pubout)
done
one=$(openssl x509 -in "$DATA/pki/admin.crt" -noout -serial) other=$(openssl x509 -in "$DATA/pki/dns.crt" -noout -serial 2>/dev/null)
check "renew one" "$S" certs renew --data-dir "$DATA" admin
check "it is another" test "$(openssl x509 -in "$DATA/pki/admin.crt" -noout -serial)" != "$one"
check_eq "others are not" "$(openssl x509 -in "$DATA/pki/dns.crt" -noout -serial 2>/dev/null)" "$other"
check "and works" "$S" get nodes
cp "$DATA/pki/apiserver.crt" "$WORK/good.crt"
shown=$(serial "$PORT")
echo broken >"$DATA/pki/apiserver.crt"
wait_for 20 "a broken certificate is logged" grep -q "can't be read again" "$DATA/log/apiserver.log"
check_eq "and the one before served" "$(serial "$PORT")" "$shown"
cp "$WORK/good.crt" "$DATA/pki/apiserver.crt"

# --- TLS versions ---
tls() { echo | openssl s_client -connect "127.0.0.1:$PORT" "$@" 2>&1; }
check "TLS 1.1 is refused" bash -c "! echo | openssl s_client -connect 127.0.0.1:$PORT -tls1_1 -cipher ALL:@SECLEVEL=0 2>/dev/null | grep -q 'Cipher is [A-Z]'"
check_has "TLS 1.2 is spoken" "$(tls -tls1_2)" "ECDHE-"
check "a suite without forward secrecy is refused" bash -c "! echo | openssl s_client -connect 127.0.0.1:$PORT -tls1_2 -cipher AES128-SHA 2>/dev/null | grep -q 'Cipher is AES'"
for flag in --tls-min-version=VersionTLS10 --tls-cipher-suites=TLS_RSA_WITH_RC4_128_SHA; do
    check_eq "$flag is refused" "$("$BIN/skiff-apiserver" $flag --data-dir "$WORK/none" >"$WORK/err" 2>&1; echo $?)" 2
    check_has "by name" "$(cat "$WORK/err")" "${flag%%=*}"
done

# --- nothing secret anywhere ---
text=$(head -c 12 /dev/urandom | od -An -tx1 | tr -d ' \n')
encoded=$(printf %s "$text" | base64)
printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: hidden, namespace: default}\nstringData: {password: %s}\n' "$text" | "$S" apply -f - >/dev/null
token=$("$S" token create --data-dir "$DATA" | grep -o '[a-z0-9]\{6\}\.[a-z0-9]\{16\}' | head -1)
curl -sk -H "Authorization: Bearer $token" "https://127.0.0.1:$PORT/api/v1/pods" >/dev/null
curl -sk -H "Authorization: Bearer wrong-$text" "https://127.0.0.1:$PORT/api/v1/pods" >/dev/null
printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: BAD_NAME, namespace: default}\nstringData: {password: %s}\n' "$text" | "$S" apply -f - >"$WORK/said" 2>&1
"$S" get secret hidden -o yaml >/dev/null
key=$(awk '/secret:/ {print $2}' "$DATA/pki/encryption.yaml")
private=$(sed -n 2p "$DATA/pki/ca.key")
daemons() { pgrep -f -- "^$BIN/skiff-.*$DATA/"; }
hidden_from_ps() {
    local pid
    for pid in $(daemons); do
        ! cat "/proc/$pid/cmdline" "/proc/$pid/environ" | tr '\0' '\n' | grep -qF -- "$1" || return 1
    done
}
check "there are daemons to look at" test "$(daemons | wc -l)" -ge 4
"$S" get events -A -o json >"$WORK/events"
for what in "$text" "$encoded" "${token#*.}" "$key" "$private"; do
    check "not in the logs" bash -c "! grep -rqF -- '$what' '$DATA/log'"
    check "not in events or errors" bash -c "! grep -qF -- '$what' '$WORK/events' '$WORK/said'"
    check "not in command lines or environments" hidden_from_ps "$what"
done
check "the Secret is not in the database" bash -c "! grep -rqF -- '$encoded' '$DATA/db'"
check_eq "the key file is the owner's" "$(stat -c %a "$DATA/pki/encryption.yaml")" 600
for pid in $(daemons); do
    check_eq "no core of $(cat "/proc/$pid/comm")" "$(awk '/Max core file size/ {print $5}' "/proc/$pid/limits")" 0
done

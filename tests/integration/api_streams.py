#!/usr/bin/env python3
"""
Goal: what the API server does with streams: who may open one, what a kubelet sees, how refusals and ends travel, which addresses are
      out of bounds; and watches and logs over WebSocket.
Method: a pretended kubelet on loopback (TLS, demands a client certificate) that echoes after an upgrade; clients write raw bytes.
"""
import base64, os, select, struct, subprocess, sys, threading
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import *

PODS = "/api/v1/namespaces/default/pods"
asked, ended = [], threading.Semaphore(0)


def make_pki(d):
    def run(*command):
        subprocess.run(command, check=True, capture_output=True)
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    run("openssl", "req", "-x509", *key, "-keyout", d + "/ca.key", "-out", d + "/ca.crt", "-days", "2", "-subj", "/CN=test-ca")
    run("openssl", "req", "-x509", *key, "-keyout", d + "/stranger.key", "-out", d + "/stranger.crt", "-days", "2", "-subj", "/CN=x",
        "-addext", "subjectAltName=IP:127.0.0.1")
    for name, extra in (("kubelet", "subjectAltName=IP:127.0.0.1"), ("client", "extendedKeyUsage=clientAuth")):
        run("openssl", "req", *key, "-keyout", "%s/%s.key" % (d, name), "-out", "%s/%s.csr" % (d, name), "-subj", "/CN=" + name)
        with open(d + "/ext", "w") as f:
            f.write(extra)
        run("openssl", "x509", "-req", "-in", "%s/%s.csr" % (d, name), "-CA", d + "/ca.crt", "-CAkey", d + "/ca.key", "-CAcreateserial",
            "-out", "%s/%s.crt" % (d, name), "-days", "2", "-extfile", d + "/ext")


def serve_one(c):
    try:
        head = b""
        while b"\r\n\r\n" not in head:
            got = c.recv(4096)
            if not got:
                return
            head += got
        text = head.decode()
        asked.append(text)
        path = text.split(" ")[1]
        if "/refused/" in path:
            c.sendall(b"HTTP/1.1 500 Internal Server Error\r\nX-From: kubelet\r\nContent-Length: 23\r\n\r\ncontainer not found (\"c\")"[:-1])
        elif "/redirect/" in path:
            c.sendall(b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
        elif "/nonsense/" in path:
            c.sendall(b"SSH-2.0-what\r\n\r\n")
        elif path.startswith("/containerLogs"):
            c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nline\xff\n\r\n0\r\n\r\n")
        else:
            c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\nearly")
            while True:
                got = c.recv(65536)
                if got == b"bye":
                    c.sendall(b"gone")
                    break
                if not got:
                    break
                c.sendall(got)
            c.unwrap() if "/close/" not in path else None
    except OSError:
        pass
    finally:
        c.close()
        ended.release()


def start_kubelet(d, name):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain("%s/%s.crt" % (d, name), "%s/%s.key" % (d, name))
    tls.load_verify_locations(d + "/ca.crt")
    tls.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            plain, _ = listener.accept()

            def one(plain=plain):
                try:
                    c = tls.wrap_socket(plain, server_side=True)
                except OSError:
                    return plain.close()
                serve_one(c)
            threading.Thread(target=one, daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def make_node(s, name, address, port):
    s.call("POST", "/api/v1/nodes", {"metadata": {"name": name}, "status": {
        "addresses": [{"type": "InternalIP", "address": address}], "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}})


def make_pod(s, name, node, ip=None):
    p = pod(name)
    if node:
        p["spec"]["nodeName"] = node
    check("pod %s is made" % name, s.call("POST", PODS, p)[0] == 201)
    if ip:
        s.patch(PODS + "/%s/status" % name, {"status": {"podIP": ip, "podIPs": [{"ip": ip}]}})


UPGRADE = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "v4.channel.k8s.io"}


def opened(s, path, method="POST", headers=None, token=ADMIN):
    """(head, connection) after a raw request"""
    c = s.raw()
    lines = ["%s %s HTTP/1.1" % (method, path), "Host: api", "Authorization: Bearer " + token]
    lines += ["%s: %s" % h for h in dict(UPGRADE, **(headers or {})).items()]
    c.sendall("\r\n".join(lines + ["", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        got = c.recv(1)
        if not got:
            break
        head += got
    return head.decode(), c


def exactly(c, n):
    data = b""
    while len(data) < n:
        got = c.recv(min(65536, n - len(data)))
        if not got:
            break
        data += got
    return data


def echoed(c, data):
    """Both directions at once, on one thread: two would break Python's TLS."""
    c.setblocking(False)
    got, sent = bytearray(), 0
    while len(got) < len(data):
        moved = False
        try:
            if sent < len(data):
                sent += c.send(data[sent:sent + 16384])
                moved = True
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        try:
            some = c.recv(65536)
            if not some:
                break
            got += some
            moved = True
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        if not moved and select.select([c], [c] if sent < len(data) else [], [], 20) == ([], [], []):
            break
    c.setblocking(True)
    return bytes(got)


def refusals(s):
    ex = PODS + "/p/exec?command=ls&stdout=true"

    def refused(text, path, wanted, method="POST", headers=UPGRADE, token=ADMIN, message=None):
        status, e = s.call(method, path, token=token, headers=headers)
        check(text, status == wanted and (message is None or message in e["message"]), (status, e))
    refused("no upgrade", ex, 400, headers={}, message="Upgrade request required")
    refused("no upgrade over GET", ex, 400, "GET", headers={}, message="Upgrade request required")
    refused("another method", ex, 405, "DELETE")
    refused("no command", PODS + "/p/exec?stdout=true", 400, message="you must specify a command")
    refused("no stream", PODS + "/p/exec?command=ls", 400, message="you must specify at least 1 of stdin, stdout, stderr")
    refused("no such container", ex + "&container=x", 400, message="container x is not valid for pod p")
    refused("no such pod", PODS + "/none/exec?command=ls&stdout=true", 404, message='pods "none" not found')
    refused("no node yet", PODS + "/waiting/attach?stdout=true", 400, message="pod waiting does not have a host assigned")
    refused("a page of another site", ex, 403, headers=dict(UPGRADE, Origin="https://evil.example"))
    refused("a page of another site, as the browser says", ex, 403, headers=dict(UPGRADE, **{"Sec-Fetch-Site": "cross-site"}))
    refused("a subresource that is not there", PODS + "/p/execute", 404)
    refused("a stranger", ex, 403, token=USER)
    for name, verbs, resource in (("getter", ["get", "list"], "pods/exec"), ("other", ["create"], "pods/attach")):
        s.call("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", {
            "metadata": {"name": name}, "rules": [{"apiGroups": [""], "resources": [resource], "verbs": verbs}]})
        s.call("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", {
            "metadata": {"name": name}, "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}})
    deadline = time.time() + 10
    while s.call("POST", PODS + "/p/attach?stdout=true", token=USER, headers={})[0] == 403 and time.time() < deadline:
        time.sleep(0.05)
    refused("get of exec is not enough, by GET", ex, 403, "GET", token=USER)
    refused("get of exec is not enough, by POST", ex, 403, token=USER)
    equal("no kubelet was asked", asked, [])


def streams(s):
    head, c = opened(s, PODS + "/p/exec?command=sh&command=-c&command=a%20b&stdin=true&stdout=1&stderr=false&container=c",
                     headers={"Origin": "https://api", "Cookie": "secret", "Impersonate-User": "admin", "Impersonate-Group": "system:masters"})
    check("101 comes through", head.startswith("HTTP/1.1 101 ") and "X-Stream-Protocol-Version: v4.channel.k8s.io" in head, head)
    check("with the protocol", "Upgrade: SPDY/3.1\r\n" in head and "Connection: Upgrade\r\n" in head, head)
    got = asked[-1]
    check("what is asked of the kubelet", got.startswith("POST /exec/default/p/c?input=1&output=1&command=sh&command=-c&command=a%20b HTTP/1.1\r\n"), got)
    check("credentials stay here", not any(x in got.lower() for x in ("bearer", "secret", "impersonate", "origin")), got)
    check("headers of the protocol go on", "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n" in got and "Upgrade: SPDY/3.1\r\n" in got, got)
    equal("bytes behind the kubelet's head", exactly(c, 5), b"early")
    data = os.urandom(5000000)
    check("5 MB there and back", echoed(c, data) == data)
    c.sendall(b"bye")
    equal("the kubelet's end arrives after its last bytes", (exactly(c, 4), c.recv(1)), (b"gone", b""))
    c.close()
    check("and both connections are closed", ended.acquire(timeout=10))
    head, c = opened(s, PODS + "/p/attach?stdout=true", "GET")
    check("attach by GET", head.startswith("HTTP/1.1 101 ") and asked[-1].startswith("GET /attach/default/p/c?output=1 "), (head, asked[-1]))
    c.close()
    check("a client that goes away ends the kubelet's side", ended.acquire(timeout=10))
    head, c = opened(s, PODS + "/p/portforward?ports=80&ports=443", headers={"Sec-WebSocket-Protocol": "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0"})
    check("ports are passed on", asked[-1].startswith("POST /portForward/default/p?port=80&port=443 "), asked[-1])
    check("a token among the protocols is not", "Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n" in asked[-1], asked[-1])
    c.close()
    ended.acquire(timeout=10)
    many = [opened(s, PODS + "/p/attach?stdout=true")[1] for _ in range(50)]
    equal("50 at once", sum(exactly(c, 5) == b"early" for c in many), 50)
    for c in many:
        c.close()
    check("all of them end", all(ended.acquire(timeout=10) for _ in many))
    deadline = time.time() + 10
    open_now = "unknown"
    while time.time() < deadline and open_now != "0":
        lines = s.request("GET", "/metrics")[2].decode().splitlines()
        open_now = next((l.split()[-1] for l in lines if l.startswith("apiserver_longrunning_requests") and 'subresource="attach"' in l), "0")
        time.sleep(0.05)
    equal("none is counted as open", open_now, "0")


def failures_of_kubelets(s):
    head, c = opened(s, PODS + "/refused/exec?command=ls&stdout=true")
    check("a kubelet's refusal keeps its status and headers", head.startswith("HTTP/1.1 500 ") and "X-From: kubelet" in head, head)
    check("and its text", b"container not found" in exactly(c, 30), head)
    c.close()
    check("its connection is closed", ended.acquire(timeout=10))
    for name, text in (("redirect", "invalid upgrade response: status code 302"), ("nonsense", "error dialing backend: malformed HTTP response"),
                       ("lost", "error dialing backend: dial tcp 127.0.0.1"), ("stranger", "error dialing backend: tls: ")):
        status, e = s.call("POST", PODS + "/%s/exec?command=ls&stdout=true" % name, headers=UPGRADE)
        check("a kubelet that is %s" % name, status == 500 and text in e["message"], (status, e))
    check("the redirect was not followed", not any("GET / " in a for a in asked))


def proxies(s):
    for i, ip in enumerate(("127.0.0.1", "127.8.8.8", "169.254.1.1", "0.0.0.0", "::1", "fe80::1", "::ffff:127.0.0.1", "224.0.0.1")):
        make_pod(s, "ip%d" % i, "n", ip)
        status, e = s.call("GET", PODS + "/ip%d:80/proxy/" % i)
        equal("no proxy to %s" % ip, (status, e["message"]), (400, "address not allowed"))
    status, e = s.call("GET", "/api/v1/nodes/n/proxy/metrics")
    equal("nor to a node there", (status, e["message"]), (400, "address not allowed"))
    for name in ("p:http", "ftp:p:80", "a:b:c:d", ":80", "p:99999"):
        status, e = s.call("GET", PODS + "/%s/proxy/" % name)
        check("bad name %s" % name, status == 400 and "invalid pod request" in e["message"], (status, e))
    status, e = s.call("GET", PODS + "/p/proxy/a/../../b")
    equal("dot segments", (status, e["message"]), (400, 'the path holds "." or ".."'))
    s.call("POST", "/api/v1/namespaces/default/services", {"metadata": {"name": "svc"}, "spec": {"ports": [{"name": "web", "port": 80, "targetPort": 8080}]}})
    status, e = s.call("GET", "/api/v1/namespaces/default/services/svc:web/proxy/")
    equal("a service without endpoints", (status, e["message"]), (503, 'no endpoints available for service "svc"'))
    status, e = s.call("GET", "/api/v1/namespaces/default/services/svc:81/proxy/")
    equal("a port it doesn't have", (status, e["message"]), (503, 'no service port 81 found for service "svc"'))
    for ref in (None, {"kind": "Pod", "name": "none"}, {"kind": "Pod", "name": "p"}):
        s.call("DELETE", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/svc-x")
        s.call("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", {
            "metadata": {"name": "svc-x", "labels": {"kubernetes.io/service-name": "svc"}}, "addressType": "IPv4",
            "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}], "endpoints": [{"addresses": ["192.0.2.9"], "targetRef": ref}]})
        status, e = s.call("GET", "/api/v1/namespaces/default/services/svc:web/proxy/")
        equal("an endpoint that is no pod's of the namespace (%s)" % ref, status, 503)
    equal("HEAD and OPTIONS are known to a proxy", s.request("HEAD", PODS + "/ip0:80/proxy/")[0], 400)
    status, e = s.call("POST", PODS + "/ip0:80/proxy/", headers={"Origin": "https://evil.example"})
    equal("a write from another site's page", status, 403)
    status, h, _ = s.request("GET", PODS + "/routed:80/proxy?a=b")
    equal("a proxied root needs its slash", (status, h["Location"]), (301, PODS + "/routed:80/proxy/?a=b"))


def frame(kind, payload):
    mask = b"\1\2\3\4"
    return bytes([0x80 | kind, 0x80 | len(payload)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def read_frame(c):
    head = exactly(c, 2)
    if len(head) < 2:
        return None, b""
    n = head[1]
    if n == 126:
        n = struct.unpack(">H", exactly(c, 2))[0]
    elif n == 127:
        n = struct.unpack(">Q", exactly(c, 8))[0]
    return head[0] & 15, exactly(c, n)


def websocket(s, path, protocol=None):
    headers = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": "https://api"}
    if protocol:
        headers["Sec-WebSocket-Protocol"] = protocol
    return opened(s, path, "GET", headers)


def sockets(s):
    head, c = websocket(s, "/api/v1/namespaces/default/configmaps?watch=true&resourceVersion=0&fieldSelector=metadata.name=ws")
    check("a watch by WebSocket", head.startswith("HTTP/1.1 101 ") and "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, head)
    for i in range(3):
        s.call("POST" if i == 0 else "PUT", "/api/v1/namespaces/default/configmaps" + ("" if i == 0 else "/ws"), config_map("ws", {"k": "x" * 50000 * i}))
    events = [read_frame(c) for _ in range(3)]
    equal("an event a message", [(k, json.loads(d)["type"], len(json.loads(d)["object"].get("data", {}).get("k", ""))) for k, d in events],
          [(1, "ADDED", 0), (1, "MODIFIED", 50000), (1, "MODIFIED", 100000)])
    c.sendall(frame(9, b"hello"))
    equal("a ping is answered", read_frame(c), (10, b"hello"))
    c.sendall(frame(8, b"\x03\xe8"))
    equal("goodbye is answered", (read_frame(c), c.recv(1)), ((8, b"\x03\xe8"), b""))
    c.close()
    head, c = websocket(s, "/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=1", "base64.binary.k8s.io")
    check("with the protocol that clients offer", "Sec-WebSocket-Protocol: base64.binary.k8s.io" in head, head)
    kind = None
    while kind not in (8, None):
        kind, _ = read_frame(c)
    c.close()
    head, c = websocket(s, "/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=1&resourceVersion=" + s.call("GET", "/api/v1/namespaces/default/configmaps")[1]["metadata"]["resourceVersion"])
    equal("its end is a close frame", read_frame(c), (8, b"\x03\xe8"))
    c.close()
    for protocol, wanted in ((None, (2, b"line\xff\n")), ("binary.k8s.io", (2, b"line\xff\n")), ("base64.binary.k8s.io", (1, base64.b64encode(b"line\xff\n")))):
        head, c = websocket(s, PODS + "/p/log", protocol)
        equal("a log by WebSocket, %s" % protocol, (read_frame(c), read_frame(c)), (wanted, (8, b"\x03\xe8")))
        c.close()
    head, c = websocket(s, "/api/v1/namespaces/default/configmaps?watch=true", "v9.nonsense")
    check("an unknown protocol is not accepted", head.startswith("HTTP/1.1 200 "), head)
    c.close()
    head, c = websocket(s, "/api/v1/namespaces/default/configmaps?watch=true")
    c.sendall(b"\x81\x02hi")
    kind = 1
    while kind == 1:
        kind, data = read_frame(c)
    equal("an unmasked frame ends it", (kind, data), (8, b"\x03\xea"))
    c.close()
    c = s.raw()
    c.sendall(b"GET /api/v1/namespaces/default/configmaps?watch=true HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\n"
              b"Upgrade: websocket\r\nOrigin: https://evil.example\r\n\r\n" % ADMIN.encode())
    check("another site's page does not watch", c.recv(100).startswith(b"HTTP/1.1 403 "))
    c.close()


directory = tempfile.mkdtemp(prefix="skiff-streams-")
make_pki(directory)
port, stranger = start_kubelet(directory, "kubelet"), start_kubelet(directory, "stranger")
with Server("--kubelet-client-certificate=%s/client.crt" % directory, "--kubelet-client-key=%s/client.key" % directory,
            "--kubelet-certificate-authority=%s/ca.crt" % directory) as s:
    service_account(s)
    make_node(s, "n", "127.0.0.1", port)
    make_node(s, "dead", "127.0.0.1", free_port())
    make_node(s, "stranger", "127.0.0.1", stranger)
    for name, node in (("p", "n"), ("waiting", None), ("refused", "n"), ("redirect", "n"), ("nonsense", "n"), ("lost", "dead"), ("stranger", "stranger")):
        make_pod(s, name, node)
    make_pod(s, "routed", "n", "192.0.2.1")
    refusals(s)
    streams(s)
    failures_of_kubelets(s)
    proxies(s)
    sockets(s)
    left = opened(s, PODS + "/p/attach?stdout=true")[1]  # ends with the server
shutil.rmtree(directory)
finish()

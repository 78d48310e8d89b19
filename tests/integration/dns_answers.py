#!/usr/bin/env python3
"""
Goal: skiff-dns answers as a cluster's DNS must, by UDP and TCP, follows changes, forwards the rest, and registers
itself.
Method: a real API server with Services and EndpointSlices, skiff-dns beside it at an address of a network namespace, dig and sockets of our own
as clients, and two small upstream servers, one of which can be made deaf.
"""
import os, shutil, socket, struct, subprocess, sys, threading, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import BIN, Server, check, equal, finish, free_port

# It registers the address it listens on, and an EndpointSlice may hold no loopback address: a network of the test's own.
ADDRESS = "192.0.2.1"
if not os.environ.get("SKIFF_TEST_NETWORK"):
    os.environ["SKIFF_TEST_NETWORK"] = "own"
    script = "ip link set lo up && ip addr add %s/32 dev lo && exec \"$@\"" % ADDRESS
    os.execvp("unshare", ["unshare", "--net", "sh", "-c", script, "sh", sys.executable, *sys.argv])

SLICES = "/apis/discovery.k8s.io/v1/namespaces/%s/endpointslices"


def encode(name):
    return b"".join(bytes([len(l)]) + l.encode() for l in name.rstrip(".").split(".")) + b"\0"


def query(name, kind=1, id=4711, edns=False):
    head = struct.pack(">HHHHHH", id, 0x100, 1, 0, 0, 1 if edns else 0)
    return head + encode(name) + struct.pack(">HH", kind, 1) + (b"\0\0\x29\x04\xd0\0\0\0\0\0\0" if edns else b"")


class Upstream:
    """Answers every A question with 192.0.2.N; "big..." with 60 records, cut by UDP; "none..." with NXDOMAIN."""

    def __init__(self, n):
        self.n, self.deaf, self.asked, self.ports = n, False, [], set()
        self.port = free_port()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.tcp = socket.socket()
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.tcp.bind(("127.0.0.1", self.port))
        self.tcp.listen(16)
        threading.Thread(target=self.serve_udp, daemon=True).start()
        threading.Thread(target=self.serve_tcp, daemon=True).start()

    def answer(self, q, cut):
        name, at = [], 12
        while q[at]:
            name.append(q[at + 1:at + 1 + q[at]].decode())
            at += 1 + q[at]
        question = q[12:at + 5]
        kind = struct.unpack(">H", q[at + 1:at + 3])[0]
        self.asked.append(".".join(name))
        if name[0].startswith("none"):
            soa = b"\xc0\x0c" + struct.pack(">HHIH", 6, 1, 60, 22) + b"\0\0" + struct.pack(">IIIII", 1, 2, 3, 4, 60)
            return q[:2] + struct.pack(">HHHHH", 0x8183, 1, 0, 1, 0) + question + soa
        records = 60 if name[0].startswith("big") else 1
        if kind != 1:
            records = 0
        body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 20, 4) + bytes([192, 0, 2, self.n + i])
                        for i in range(records))
        if cut and len(body) > 450:
            return q[:2] + struct.pack(">HHHHH", 0x8380, 1, 0, 0, 0) + question
        return q[:2] + struct.pack(">HHHHH", 0x8180, 1, records, 0, 0) + question + body

    def serve_udp(self):
        while True:
            q, peer = self.udp.recvfrom(4096)
            self.ports.add(peer[1])
            if self.deaf:
                continue
            a = self.answer(q, True)
            self.udp.sendto(bytes([a[0] ^ 1]) + a[1:], peer)                       # a wrong id
            self.udp.sendto(a[:12] + encode("evil.example")[:1] + a[13:], peer)    # another question
            self.udp.sendto(a, peer)

    def serve_tcp(self):
        while True:
            c, _ = self.tcp.accept()
            n = struct.unpack(">H", c.recv(2))[0]
            a = self.answer(c.recv(n), False)
            c.sendall(struct.pack(">H", len(a)) + a)
            c.close()


def slice_of(name, service, endpoints, ports):
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
            "endpoints": endpoints, "ports": ports}


class Dns:
    def __init__(self, server, upstreams):
        self.port, self.health = free_port(), free_port()
        self.log = open(server.dir + "/dns.log", "ab")
        self.process = subprocess.Popen(
            [BIN + "/skiff-dns", "--kubeconfig", server.kubeconfig(), "--listen-address", ADDRESS, "--dns-port",
             str(self.port), "--secure-port", str(self.health), "--node-name", "node-a",
             "--upstream", ",".join("127.0.0.1:%d" % u.port for u in upstreams)], stderr=self.log)

    def dig(self, *arguments):
        """(status, flags, answers sorted)"""
        out = subprocess.run(["dig", "@" + ADDRESS, "-p", str(self.port), "+tries=1", "+timeout=8", *arguments],
                             capture_output=True, text=True).stdout
        status = flags = None
        answers, section = [], ""
        for line in out.splitlines():
            if "status:" in line:
                status = line.split("status: ")[1].split(",")[0]
            elif line.startswith(";; flags:"):
                flags = line.split(":")[1].split(";")[0].split()
            elif line.startswith(";;"):
                section = line
            elif "ANSWER SECTION" in section and line and not line.startswith(";"):
                answers.append(" ".join(line.split()[3:]))
        return status, flags, sorted(answers)

    def answers(self, *arguments):
        return self.dig(*arguments)[2]

    def wait_for(self, wanted, *arguments):
        deadline = time.time() + 10
        while time.time() < deadline:
            got = self.answers(*arguments)
            if got == wanted:
                break
            time.sleep(0.02)
        return got

    def udp(self, message):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(8)
            s.sendto(message, (ADDRESS, self.port))
            return s.recv(4096)


def recv_message(c):
    head = b""
    while len(head) < 2:
        head += c.recv(2 - len(head))
    n, body = struct.unpack(">H", head)[0], b""
    while len(body) < n:
        body += c.recv(n - len(body))
    return body


def main(s):
    up = [Upstream(1), Upstream(101)]
    dns = Dns(s, up)
    try:
        scenarios(s, dns, up)
    finally:
        if dns.process.poll() is None:
            dns.process.terminate()
        equal("skiff-dns ends cleanly", dns.process.wait(10), 0)
        text = open(s.dir + "/dns.log").read()
        check("its log has no sanitizer's report", "ERROR:" not in text and "runtime error" not in text, text[-3000:])
    status, slice_ = s.call("GET", SLICES % "kube-system" + "/kube-dns-node-a")
    equal("its EndpointSlice is gone", status, 404)


def scenarios(s, dns, up):
    zone = ".default.svc.cluster.local"
    # the cluster's names
    status, web = s.call("POST", "/api/v1/namespaces/default/services",
                         {"metadata": {"name": "web"}, "spec": {"selector": {"a": "b"},
                          "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}})
    equal("a Service is created", status, 201)
    ip = web["spec"]["clusterIP"]
    equal("its name", dns.wait_for([f"A {ip}"], "web" + zone), [f"A {ip}"])
    equal("by TCP", dns.answers("+tcp", "web" + zone), [f"A {ip}"])
    equal("without EDNS", dns.answers("+noedns", "web" + zone), [f"A {ip}"])
    equal("its reverse name", dns.answers("-x", ip), [f"PTR web{zone}."])
    equal("its port", dns.answers(f"_http._tcp.web{zone}", "SRV"), [f"SRV 0 100 80 web{zone}."])
    equal("no IPv6 is no error", dns.dig("web" + zone, "AAAA")[0], "NOERROR")
    equal("no such name", dns.dig("none" + zone)[0], "NXDOMAIN")
    equal("authoritative, recursion available", dns.dig("web" + zone)[1], ["qr", "aa", "rd", "ra"])
    equal("EDNS version 1", dns.dig("+edns=1", "+noednsneg", "web" + zone)[0], "BADVERS")
    equal("zone transfer is refused", dns.udp(query("cluster.local", 252))[3] & 15, 5)
    # headless, changing
    s.call("POST", "/api/v1/namespaces/default/services",
           {"metadata": {"name": "db"}, "spec": {"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]}})
    endpoints = [{"addresses": [f"10.1.{i // 250}.{i % 250 + 1}"], "conditions": {"ready": True}} for i in range(3)]
    endpoints[0]["hostname"] = "db-0"
    ports = [{"name": "sql", "port": 5432, "protocol": "TCP"}]
    s.call("POST", SLICES % "default", slice_of("db-1", "db", endpoints, ports))
    three = ["A 10.1.0.1", "A 10.1.0.2", "A 10.1.0.3"]
    equal("a headless Service", dns.wait_for(three, "db" + zone), three)
    equal("a pod's hostname", dns.answers("db-0.db" + zone), ["A 10.1.0.1"])
    first = {dns.udp(query("db" + zone))[-4:] for _ in range(40)}
    check("the order of addresses turns", len(first) > 1, first)
    endpoints[0]["conditions"]["ready"] = False
    s.patch(SLICES % "default" + "/db-1", {"endpoints": endpoints})
    equal("an endpoint that is not ready leaves", dns.wait_for(three[1:], "db" + zone), three[1:])
    endpoints = [{"addresses": [f"10.1.{i // 250}.{i % 250 + 1}"], "conditions": {"ready": True}} for i in range(200)]
    s.patch(SLICES % "default" + "/db-1", {"endpoints": endpoints})
    every = sorted("A " + e["addresses"][0] for e in endpoints)
    equal("200 addresses come by TCP", dns.wait_for(every, "db" + zone), every)
    flags = dns.dig("+ignore", "db" + zone)[1]
    check("and are cut by UDP", "tc" in flags, flags)
    check("within 512 bytes without EDNS", len(dns.udp(query("db" + zone))) <= 512)
    # external names
    for name, target in (("ext", "www.example.org"), ("alias", "web" + zone)):
        s.call("POST", "/api/v1/namespaces/default/services",
               {"metadata": {"name": name}, "spec": {"type": "ExternalName", "externalName": target}})
    want = ["A 192.0.2.1", "CNAME www.example.org."]
    equal("an ExternalName is followed outside", dns.wait_for(want, "ext" + zone), want)
    equal("and inside", dns.answers("alias" + zone), sorted([f"A {ip}", f"CNAME web{zone}."]))
    s.patch("/api/v1/namespaces/default/services/alias",
            {"spec": {"type": "ClusterIP", "externalName": None, "ports": [{"port": 80}]}})
    now = s.call("GET", "/api/v1/namespaces/default/services/alias")[1]["spec"].get("clusterIP")
    equal("a change of type", dns.wait_for([f"A {now}"], "alias" + zone), [f"A {now}"])
    s.call("DELETE", "/api/v1/namespaces/default/services/web")
    equal("a deleted Service", dns.wait_for([], "web" + zone), [])
    # forwarding
    equal("another name", dns.answers("host.example.org"), ["A 192.0.2.1"])
    asked = len(up[0].asked)
    equal("from the cache", dns.answers("HOST.example.ORG"), ["A 192.0.2.1"])
    equal("without asking again", len(up[0].asked), asked)
    equal("no such name elsewhere", dns.dig("none.example.org")[0], "NXDOMAIN")
    equal("a large answer by TCP", len(dns.answers("big.example.org")), 60)
    for i in range(20):
        dns.udp(query(f"p{i}.example.org"))
    check("source ports differ", len(up[0].ports) > 10, up[0].ports)
    asked, got = len(up[0].asked), []
    threads = [threading.Thread(target=lambda i=i: got.append(dns.udp(query("same.example.org", id=i)))) for i in range(30)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    equal("30 clients that ask the same get their own ids", {struct.unpack(">H", g[:2])[0] for g in got}, set(range(30)))
    up[0].deaf = True
    start = time.time()
    equal("the second upstream helps when the first is silent", dns.answers("deaf.example.org"), ["A 192.0.2.101"])
    check("within 2.5 s", time.time() - start < 2.5, time.time() - start)
    start = time.time()
    equal("and is asked first from then on", dns.answers("deaf2.example.org"), ["A 192.0.2.101"])
    check("at once", time.time() - start < 0.5, time.time() - start)
    up[1].deaf = True
    equal("no upstream: SERVFAIL", dns.dig("gone.example.org")[0], "SERVFAIL")
    equal("the cluster's names go on", dns.answers("db-0.db" + zone, "db" + zone) != [], True)
    # streams
    c = socket.create_connection((ADDRESS, dns.port))
    c.settimeout(5)
    many = b"".join(struct.pack(">H", len(q)) + q for q in (query(f"n{i}" + zone, id=i) for i in range(100)))
    c.sendall(many)
    ids = {struct.unpack(">H", recv_message(c)[:2])[0] for _ in range(100)}
    equal("100 questions on one connection", ids, set(range(100)))
    c.sendall(struct.pack(">H", 60000) + b"x" * 100)
    equal("an absurd length ends the connection", c.recv(1), b"")
    before = dns.answers("db" + zone)
    for junk in (b"", b"\0", b"\xff" * 600, query("a")[:-1], query("a")[:14], os.urandom(300)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
            u.sendto(junk, (ADDRESS, dns.port))
    equal("junk changes nothing", dns.answers("db" + zone), before)
    # what its own identity may do (here it runs as admin)
    for verb, group, resource, namespace, wanted in (
            ("watch", "", "services", "", True), ("list", "discovery.k8s.io", "endpointslices", "", True),
            ("create", "discovery.k8s.io", "endpointslices", "kube-system", True),
            ("delete", "discovery.k8s.io", "endpointslices", "kube-system", True),
            ("create", "discovery.k8s.io", "endpointslices", "default", False), ("get", "", "nodes", "", True),
            ("create", "authorization.k8s.io", "subjectaccessreviews", "", True), ("list", "", "secrets", "", False)):
        review = s.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": {
            "user": "system:kube-dns", "groups": ["system:authenticated"], "resourceAttributes": {
                "verb": verb, "group": group, "resource": resource, "namespace": namespace}}})[1]
        equal(f"system:kube-dns and {verb} {resource} {namespace}", review["status"]["allowed"], wanted)
    # itself
    deadline = time.time() + 10
    while (answer := s.call("GET", SLICES % "kube-system" + "/kube-dns-node-a"))[0] != 200 and time.time() < deadline:
        time.sleep(0.05)
    status, mine = answer
    equal("it has an EndpointSlice", status, 200)
    if status == 200:
        equal("of kube-dns", mine["metadata"]["labels"],
              {"kubernetes.io/service-name": "kube-dns", "endpointslice.kubernetes.io/managed-by": "skiff-dns"})
        equal("with its port", {(p["name"], p["protocol"], p["port"]) for p in mine["ports"]},
              {("dns", "UDP", dns.port), ("dns-tcp", "TCP", dns.port)})
        s.call("DELETE", SLICES % "kube-system" + "/kube-dns-node-a")
        deadline = time.time() + 5
        while time.time() < deadline and s.call("GET", SLICES % "kube-system" + "/kube-dns-node-a")[0] != 200:
            time.sleep(0.02)
        equal("which it puts back", s.call("GET", SLICES % "kube-system" + "/kube-dns-node-a")[0], 200)


if not shutil.which("dig"):
    print("skip the DNS server: dig is not installed (package dnsutils)")
    sys.exit(0)
with Server() as server:
    main(server)
finish()

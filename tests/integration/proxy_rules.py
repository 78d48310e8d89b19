#!/usr/bin/env python3
"""
Goal: the proxy's rules do in a real kernel what a Service promises.
Method: network namespaces as one host with a bridge, three pods, and a client outside; tiny TCP and UDP servers
in the pods say who they are and whom they see. proxy-tool applies Services without an API server.

Root only. BIN is the folder of the binaries; proxy-tool lies beside it in tests/.
"""
import json, os, socket, subprocess, sys, threading, time, select, ctypes

BIN = os.environ.get("BIN") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../build/bin")
TOOL = os.path.join(BIN, "../tests/proxy-tool")
TAG = "skp%d" % (os.getpid() % 100000)
HOST, OUT = TAG + "h", TAG + "o"
PODS = {f"10.244.0.{i}": TAG + f"p{i}" for i in (11, 12, 13)}
CLUSTER_IP, NODE_IP, CLIENT_IP = "10.96.0.50", "192.168.77.1", "192.168.77.2"
libc = ctypes.CDLL(None, use_errno=True)
failures = 0

def sh(*command, check=True):
    return subprocess.run(command, check=check, capture_output=True, text=True)

def check(what, good):
    global failures
    failures += not good
    print("ok" if good else "not ok", what, flush=True)

def in_ns(ns, fn, *args):
    """Runs fn in a thread that has entered the namespace; sockets keep the namespace they were made in."""
    out = {}
    def body():
        with open(f"/run/netns/{ns}") as f:
            if libc.setns(f.fileno(), 0x40000000) != 0:
                out["error"] = OSError(ctypes.get_errno(), "setns")
                return
        try:
            out["value"] = fn(*args)
        except Exception as e:
            out["error"] = e
    t = threading.Thread(target=body)
    t.start()
    t.join()
    if "error" in out:
        raise out["error"]
    return out["value"]

def make_socket(kind, address):
    s = socket.socket(socket.AF_INET, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(address)
    if kind == socket.SOCK_STREAM:
        s.listen(512)
    return s

def serve(name, tcp, udp):
    """Answers "NAME PEER" to a connection or datagram."""
    def loop():
        while True:
            for s in select.select([tcp, udp], [], [])[0]:
                try:
                    if s is tcp:
                        c, peer = tcp.accept()
                        c.sendall(f"{name} {peer[0]}\n".encode())
                        c.close()
                    else:
                        _, peer = udp.recvfrom(2048)
                        udp.sendto(f"{name} {peer[0]}\n".encode(), peer)
                except OSError:
                    pass
    threading.Thread(target=loop, daemon=True).start()

def tcp_get(ns, address, timeout=2.0, source=None):
    def go():
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.settimeout(timeout)
        if source:
            s.bind((source, 0))
        try:
            s.connect(address)
            data = b""
            while not data.endswith(b"\n"):
                part = s.recv(100)
                if not part:
                    break
                data += part
            return data.decode().split()
        except ConnectionRefusedError:
            return "refused"
        except (TimeoutError, socket.timeout):
            return "timeout"
        except OSError as e:
            return e.strerror
        finally:
            s.close()
    return in_ns(ns, go)

def udp_socket(ns):
    s = in_ns(ns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    s.settimeout(1.0)
    return s

def udp_get(s, address):
    try:
        s.sendto(b"hello", address)
        return s.recv(100).decode().split()
    except ConnectionRefusedError:
        return "refused"
    except (TimeoutError, socket.timeout):
        return "timeout"

class Tool:
    def __init__(self, *arguments):
        self.p = subprocess.Popen(["ip", "netns", "exec", HOST, TOOL, "node-a", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    def send(self, what):
        self.p.stdin.write(json.dumps(what) + "\n")
        self.p.stdin.flush()
        answer = self.p.stdout.readline().split(None, 1)
        if not answer or answer[0] != "ok":
            raise RuntimeError("proxy-tool: " + " ".join(answer))
        changes, us = answer[1].split()
        return int(changes), int(us)
    def close(self):
        self.p.stdin.close()
        self.p.wait()

def service(**spec):
    spec = {"clusterIP": CLUSTER_IP, "clusterIPs": [CLUSTER_IP], "type": "ClusterIP", **spec}
    spec.setdefault("ports", [{"name": "web", "port": 80, "protocol": "TCP"},
                              {"name": "dns", "port": 53, "protocol": "UDP"}])
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": spec}

def node_ports(**spec):
    return service(type="NodePort", ports=[{"name": "web", "port": 80, "nodePort": 30080, "protocol": "TCP"},
        {"name": "dns", "port": 53, "nodePort": 30080, "protocol": "UDP"}], **spec)

def slices(addresses, node="node-a", **conditions):
    endpoints = [{"addresses": [a], "nodeName": node, "conditions": conditions or {"ready": True}}
                 for a in addresses]
    return [{"metadata": {"name": "web-x"}, "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 5353, "protocol": "UDP"},
                  {"name": "other", "port": 9999, "protocol": "TCP"}]}]

def change(spec, eps):
    return {"key": "default/web", "service": spec, "slices": eps}

def names(ns, address, n=30, **kw):
    got = [tcp_get(ns, address, **kw) for _ in range(n)]
    return {g[0] if isinstance(g, list) else g for g in got}

def setup():
    for ns in [HOST, OUT, *PODS.values()]:
        sh("ip", "netns", "add", ns)
        sh("ip", "-n", ns, "link", "set", "lo", "up")
    sh("ip", "-n", HOST, "link", "add", "br0", "type", "bridge")
    sh("ip", "-n", HOST, "addr", "add", "10.244.0.1/24", "dev", "br0")
    sh("ip", "-n", HOST, "link", "set", "br0", "up")
    sh("ip", "netns", "exec", HOST, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    for i, (ip, ns) in enumerate(PODS.items()):
        sh("ip", "-n", HOST, "link", "add", f"v{i}", "type", "veth", "peer", "name", "eth0", "netns", ns)
        sh("ip", "-n", HOST, "link", "set", f"v{i}", "master", "br0", "up")
        sh("bridge", "-n", HOST, "link", "set", "dev", f"v{i}", "hairpin", "on")
        sh("ip", "-n", ns, "addr", "add", ip + "/24", "dev", "eth0")
        sh("ip", "-n", ns, "link", "set", "eth0", "up")
        sh("ip", "-n", ns, "route", "add", "default", "via", "10.244.0.1")
    sh("ip", "-n", HOST, "link", "add", "out0", "type", "veth", "peer", "name", "eth0", "netns", OUT)
    for ns, dev, ip in ((HOST, "out0", NODE_IP), (OUT, "eth0", CLIENT_IP)):
        sh("ip", "-n", ns, "addr", "add", ip + "/24", "dev", dev)
        sh("ip", "-n", ns, "link", "set", dev, "up")
    sh("ip", "-n", HOST, "route", "add", "default", "via", CLIENT_IP)
    sh("ip", "-n", OUT, "route", "add", "default", "via", NODE_IP)
    for ip, ns in PODS.items():
        tcp = in_ns(ns, make_socket, socket.SOCK_STREAM, (ip, 8080))
        udp = in_ns(ns, make_socket, socket.SOCK_DGRAM, (ip, 5353))
        serve(ip, tcp, udp)

def teardown():
    for ns in [HOST, OUT, *PODS.values()]:
        sh("ip", "netns", "del", ns, check=False)

def main():
    ips = list(PODS)
    p1, p2, p3 = PODS.values()
    tool = Tool()
    vip, nodeport = (CLUSTER_IP, 80), (NODE_IP, 30080)

    # cluster IP
    tool.send(change(service(), slices(ips)))
    check("a pod reaches all endpoints", names(p1, vip) == set(ips))
    check("the host reaches all endpoints", names(HOST, vip) == set(ips))
    check("a client outside reaches all endpoints", names(OUT, vip) == set(ips))
    seen = tcp_get(OUT, vip)
    check("outsiders are masqueraded", seen[1] == "10.244.0.1")
    got = [tcp_get(p1, vip) for _ in range(40)]
    check("pods keep their address", {g[1] for g in got if g[0] != "10.244.0.11"} == {"10.244.0.11"})
    check("a pod reaches itself, masqueraded",
        {g[1] for g in got if g[0] == "10.244.0.11"} == {"10.244.0.1"})
    counts = [0, 0, 0]
    for _ in range(300):
        counts[ips.index(tcp_get(HOST, vip)[0])] += 1
    check(f"endpoints are chosen evenly {counts}", min(counts) > 60)
    check("another port of the cluster IP is refused", tcp_get(p1, (CLUSTER_IP, 81)) == "refused")
    check("also from the host", tcp_get(HOST, (CLUSTER_IP, 81)) == "refused")
    check("no change, no message", tool.send(change(service(), slices(list(reversed(ips)))))[0] == 0)

    # a proxy that starts again adopts the table
    tool.close()
    check("rules stay when the proxy stops", names(p1, vip, 5) <= set(ips))
    tool = Tool()
    check("a new proxy changes nothing", tool.send(change(service(), slices(ips)))[0] == 0)

    # endpoints
    tool.send(change(service(), slices([ips[1]])))
    check("one endpoint", names(p1, vip) == {ips[1]})
    tool.send(change(service(), slices([ips[1]], ready=False, serving=True, terminating=True)))
    check("a serving endpoint that terminates is used when there is no other", names(p1, vip, 5) == {ips[1]})
    tool.send(change(service(), slices([ips[1]], ready=False)))
    check("no endpoint: a pod is refused", tcp_get(p1, vip) == "refused")
    check("no endpoint: the host is refused", tcp_get(HOST, vip) == "refused")
    check("no endpoint: a client outside is refused", tcp_get(OUT, vip) == "refused")
    u = udp_socket(p1)
    u.connect((CLUSTER_IP, 53))
    u.send(b"x")
    try:
        u.recv(10)
        refused = False
    except ConnectionRefusedError:
        refused = True
    except OSError:
        refused = False
    check("no endpoint: UDP is refused", refused)

    # UDP flows follow the endpoints
    u = udp_socket(p1)
    check("UDP without an endpoint", udp_get(u, (CLUSTER_IP, 53)) in ("refused", "timeout"))
    tool.send(change(service(), slices([ips[1]])))
    u.close()
    u = udp_socket(p1)
    u.bind(("", 40001))
    check("UDP to the endpoint", udp_get(u, (CLUSTER_IP, 53))[0] == ips[1])
    tool.send(change(service(), slices([ips[2]])))
    check("the same UDP flow moves to the new endpoint", udp_get(u, (CLUSTER_IP, 53))[0] == ips[2])
    tool.send(change(service(), slices([ips[1], ips[2]])))
    check("a UDP flow to a live endpoint stays", udp_get(u, (CLUSTER_IP, 53))[0] == ips[2])

    # node ports
    tool.send(change(node_ports(), slices(ips)))
    check("node port from outside", names(OUT, nodeport) == set(ips))
    check("node port sources are masqueraded", tcp_get(OUT, nodeport)[1] == "10.244.0.1")
    check("node port from a pod", names(p1, nodeport) == set(ips))
    check("node port from the host itself", names(HOST, nodeport) == set(ips))
    check("node port on the bridge's address", names(OUT, ("10.244.0.1", 30080)) == set(ips))
    u = udp_socket(OUT)
    check("UDP node port", udp_get(u, nodeport)[0] in ips)
    tool.send(change(node_ports(externalTrafficPolicy="Local"), slices(ips)))
    check("Local keeps the source", tcp_get(OUT, nodeport)[1] == CLIENT_IP)
    tool.send(change(node_ports(externalTrafficPolicy="Local"), slices(ips, node="node-b")))
    check("Local without local endpoints drops", tcp_get(OUT, nodeport, timeout=0.5) == "timeout")
    check("its cluster IP still works", names(p1, vip, 5) <= set(ips))
    tool.send(change(node_ports(), []))
    check("node port without endpoints is refused", tcp_get(OUT, nodeport) == "refused")
    tool.send(change(node_ports(externalIPs=["192.168.99.9"]), slices(ips)))
    check("external IP", names(OUT, ("192.168.99.9", 80)) == set(ips))
    tool.send(change(service(internalTrafficPolicy="Local"), slices(ips[:1]) + [
        {**slices(ips[1:], node="node-b")[0], "metadata": {"name": "web-y"}}]))
    check("internalTrafficPolicy Local", names(p2, vip) == {ips[0]})
    check("the node port is gone", tcp_get(OUT, nodeport) == "refused")

    # session affinity
    tool.send(change(service(sessionAffinity="ClientIP"), slices(ips)))
    first = names(p1, vip, 20)
    check(f"affinity keeps one endpoint {first}", len(first) == 1)
    rest = [i for i in ips if i not in first]
    tool.send(change(service(sessionAffinity="ClientIP"), slices(rest)))
    second = names(p1, vip, 20)
    check(f"affinity forgets a dead endpoint {second}", len(second) == 1 and second <= set(rest))
    tool.send(change(node_ports(sessionAffinity="ClientIP",
        sessionAffinityConfig={"clientIP": {"timeoutSeconds": 1}}), slices(ips)))
    check("affinity on the node port", len(names(OUT, nodeport, 10)) == 1)
    spread = set()
    for _ in range(12):
        spread |= names(OUT, nodeport, 1)
        time.sleep(1.1)
    check(f"affinity times out {spread}", len(spread) > 1)
    tool.send(change(service(), slices(ips)))
    check("affinity off frees clients", names(p1, vip) == set(ips))

    # no request to a live endpoint fails while others come and go
    stop, bad, done = threading.Event(), [], [0]
    def hammer(ns):
        while not stop.is_set():
            got = tcp_get(ns, vip, timeout=3)
            done[0] += 1
            if not isinstance(got, list) or len(got) != 2:
                bad.append(got)
    hammers = [threading.Thread(target=hammer, args=(ns,)) for ns in (p1, HOST, OUT)]
    for t in hammers:
        t.start()
    updates, took, until = 0, [], time.monotonic() + 5
    while time.monotonic() < until:
        for some in (ips[:1], ips[:2], ips, [ips[0], ips[2]]):
            _, us = tool.send(change(service(), slices(some)))
            took.append(us)
            updates += 1
    stop.set()
    for t in hammers:
        t.join()
    took.sort()
    print(f"{updates} updates (median {took[len(took) // 2]} us, worst {took[-1]} us) during {done[0]} requests, "
          f"{len(bad)} failed {bad[:3]}")
    check("no request fails while endpoints come and go", not bad and done[0] > 200)

    # flushed by somebody, and gone in the end
    sh("ip", "netns", "exec", HOST, "nft", "flush", "ruleset")
    tool.close()
    tool = Tool()
    tool.send(change(service(), slices(ips)))
    check("a flushed table is made anew", names(p1, vip) == set(ips))
    check("nft can list the table", sh("ip", "netns", "exec", HOST, "nft", "list", "table", "ip", "skiff",
        check=False).returncode == 0)
    tool.send({"key": "default/web", "service": None})
    check("a deleted Service is not translated", tcp_get(HOST, vip, timeout=0.5) != "refused")
    tool.send({"remove": True})
    check("remove leaves no table", "skiff" not in sh("ip", "netns", "exec", HOST, "nft", "list", "tables").stdout)

    # many services
    many = [{"key": f"default/s{i}", "service": service(clusterIP=f"10.97.{i // 250}.{i % 250 + 1}",
        clusterIPs=[f"10.97.{i // 250}.{i % 250 + 1}"], ports=[{"name": "web", "port": 80}]),
        "slices": slices([f"10.244.{i % 200}.{k}" for k in (2, 3, 4)])} for i in range(10000)]
    tool.close()
    tool = Tool()
    for half in (many[:5000], many[5000:]):
        n, us = tool.send(half)
        print(f"5000 services, {n} elements: {us / 1000:.1f} ms")
    many[77]["slices"] = slices(ips)
    n, us = tool.send(many[77])
    print(f"one of them changes, {n} elements: {us} us")
    check("one service among many", names(HOST, ("10.97.0.78", 80)) == set(ips))
    tool.close()

if os.geteuid() != 0:
    print("skip the proxy's rules: needs root for network namespaces")
    sys.exit(0)
try:
    setup()
    main()
finally:
    teardown()
sys.exit(bool(failures))

#!/usr/bin/env python3
"""
Addresses of Services: IPv4, IPv6, both; upgrades and downgrades; health check ports; transitions of type; and that each is held
once, whatever dies.

Method: real API servers. In the second half two of them share one etcd, eight threads make, change and delete Services while the
servers are killed; then every address and port in use must be held exactly once, and nothing else may be held.
"""
import base64, os, random, shutil, signal, subprocess, sys, threading, urllib.request
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import *

SERVICES, IPS = "/api/v1/namespaces/default/services", "/apis/networking.k8s.io/v1/ipaddresses"
BOTH = "--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112"


def service(name, kind="ClusterIP", ports=(80,), **spec):
    return {"metadata": {"name": name}, "spec": dict({"type": kind, "ports": [{"name": "p%d" % p, "port": p} for p in ports],
                                                      "selector": {"app": name}}, **spec)}


def held(s):
    return {i["metadata"]["name"] for i in s.call("GET", IPS)[1]["items"]}


def families(body):
    return body["spec"].get("ipFamilies"), body["spec"].get("ipFamilyPolicy"), [(":" in a) and "6" or "4" for a in body["spec"].get("clusterIPs", [])]


def refused(text, got, *parts):
    message = got[1].get("message", "") if isinstance(got[1], dict) else str(got[1])
    check(text, got[0] == 422 and all(p in message for p in parts), "%s %s" % (got[0], message))


def made(text, got, *wanted):
    if check(text, got[0] in (200, 201), got):
        equal(text + ": families, policy, addresses", families(got[1]), wanted)
    return got[1]


def dual(s):
    v4, v6, two = (["IPv4"], "SingleStack", ["4"]), (["IPv6"], "SingleStack", ["6"]), ["IPv4", "IPv6"]
    made("nothing said", s.call("POST", SERVICES, service("d1")), *v4)
    made("IPv6 asked for", s.call("POST", SERVICES, service("d2", ipFamilies=["IPv6"])), *v6)
    made("an IPv6 address asked for", s.call("POST", SERVICES, service("d3", clusterIP="fd00:10:96::77")), *v6)
    made("both preferred", s.call("POST", SERVICES, service("d4", ipFamilyPolicy="PreferDualStack")), two, "PreferDualStack", ["4", "6"])
    made("both required, IPv6 first", s.call("POST", SERVICES, service("d5", ipFamilyPolicy="RequireDualStack", ipFamilies=["IPv6"])),
         ["IPv6", "IPv4"], "RequireDualStack", ["6", "4"])
    made("both chosen", s.call("POST", SERVICES, service("d6", ipFamilyPolicy="PreferDualStack", clusterIP="10.96.0.66", clusterIPs=["10.96.0.66", "fd00:10:96::66"])),
         two, "PreferDualStack", ["4", "6"])
    made("headless", s.call("POST", SERVICES, service("d7", clusterIP="None", ipFamilyPolicy="PreferDualStack"))[0:2], two, "PreferDualStack", ["4"])
    made("headless without pods", s.call("POST", SERVICES, service("d8", clusterIP="None", selector=None)), two, "RequireDualStack", ["4"])
    check("all are held", {"10.96.0.66", "fd00:10:96::66", "fd00:10:96::77"} <= held(s))
    label = s.call("GET", IPS + "/fd00:10:96::77")[1]["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"]
    equal("with their family", label, "IPv6")
    refused("two addresses of one family", s.call("POST", SERVICES, service("x", ipFamilyPolicy="PreferDualStack", clusterIP="10.96.0.5", clusterIPs=["10.96.0.5", "10.96.0.6"])),
            "spec.clusterIPs: Invalid value", "may specify no more than one IP for each IP family")
    refused("two with one stack", s.call("POST", SERVICES, service("x", clusterIP="10.96.0.5", clusterIPs=["10.96.0.5", "fd00:10:96::5"])),
            "must be RequireDualStack or PreferDualStack when multiple cluster IPs are specified")
    refused("two families with one stack", s.call("POST", SERVICES, service("x", ipFamilies=two)),
            "must be RequireDualStack or PreferDualStack when multiple IP families are specified")
    refused("an address of another family", s.call("POST", SERVICES, service("x", ipFamilies=["IPv6"], clusterIP="10.96.0.5", clusterIPs=["10.96.0.5"])),
            "spec.clusterIPs[0]", "expected an IPv6 value as indicated by `ipFamilies[0]`")
    refused("None and more", s.call("POST", SERVICES, service("x", clusterIP="None", clusterIPs=["None", "10.96.0.5"])), "'None' must be the first and only value")
    refused("three", s.call("POST", SERVICES, service("x", clusterIP="10.96.0.5", clusterIPs=["10.96.0.5", "fd00:10:96::5", "10.96.0.7"])), "may only hold up to 2 values")
    refused("a family that is none", s.call("POST", SERVICES, service("x", ipFamilies=["IPv7"])), 'spec.ipFamilies[0]: Unsupported value: "IPv7": supported values: "IPv4", "IPv6"')
    refused("a family twice", s.call("POST", SERVICES, service("x", ipFamilyPolicy="PreferDualStack", ipFamilies=["IPv4", "IPv4"])), "spec.ipFamilies[1]: Duplicate value")
    refused("out of the range", s.call("POST", SERVICES, service("x", clusterIP="fd00:10:97::5")), "is not in the valid range. The range of valid IPs is fd00:10:96::/112")
    refused("the network itself", s.call("POST", SERVICES, service("x", clusterIP="fd00:10:96::")), "is not in the valid range")
    one = s.call("GET", SERVICES + "/d1")[1]
    up = made("upgraded", s.patch(SERVICES + "/d1", {"spec": {"ipFamilyPolicy": "RequireDualStack"}}), two, "RequireDualStack", ["4", "6"])
    equal("the first stays", up["spec"]["clusterIP"], one["spec"]["clusterIP"])
    check("the second is held", up["spec"]["clusterIPs"][1] in held(s))
    refused("a first that changes", s.patch(SERVICES + "/d1", {"spec": {"ipFamilies": ["IPv6", "IPv4"]}}), "spec.ipFamilies[0]", "may not change once set")
    refused("a second let go without the policy", s.patch(SERVICES + "/d1", {"spec": {"clusterIPs": [one["spec"]["clusterIP"]], "ipFamilies": ["IPv4"]}}),
            "must be set to 'SingleStack' when releasing the secondary clusterIP")
    down = made("downgraded", s.patch(SERVICES + "/d1", {"spec": {"ipFamilyPolicy": "SingleStack"}}), *v4)
    check("the second is given back", up["spec"]["clusterIPs"][1] not in held(s) and down["spec"]["clusterIP"] in held(s))
    old = dict(service("d4"), metadata={"name": "d4"})
    made("an old client's PUT keeps both", s.call("PUT", SERVICES + "/d4", old), two, "PreferDualStack", ["4", "6"])
    for i in range(1, 9):
        s.call("DELETE", SERVICES + "/d%d" % i)
    equal("all are given back", held(s), {"10.96.0.1"})


def types(s):
    lb = s.call("POST", SERVICES, service("lb", "LoadBalancer", externalTrafficPolicy="Local"))[1]
    health, port = lb["spec"].get("healthCheckNodePort"), lb["spec"]["ports"][0].get("nodePort")
    check("a health check port", health and health != port and 30000 <= health <= 32767, lb["spec"])
    refused("it is taken", s.call("POST", SERVICES, {"metadata": {"name": "x"}, "spec": {"type": "NodePort", "ports": [{"port": 1, "nodePort": health}]}}), "provided port is already allocated")
    lb = s.patch(SERVICES + "/lb", {"spec": {"externalTrafficPolicy": "Cluster"}})[1]
    check("gone with the policy", "healthCheckNodePort" not in lb["spec"], lb["spec"])
    again = {"metadata": {"name": "again"}, "spec": {"type": "NodePort", "ports": [{"port": 1, "nodePort": health}]}}
    equal("and free again", s.call("POST", SERVICES, again)[0], 201)
    lb = s.patch(SERVICES + "/lb", {"spec": {"type": "ClusterIP"}})[1]
    check("node ports go with the type", "nodePort" not in lb["spec"]["ports"][0] and "externalTrafficPolicy" not in lb["spec"], lb["spec"])
    ip = lb["spec"]["clusterIP"]
    ext = s.patch(SERVICES + "/lb", {"spec": {"type": "ExternalName", "externalName": "example.org"}})
    check("ExternalName has no address", ext[0] == 200 and not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"} & set(ext[1]["spec"]), ext)
    check("it is given back", ip not in held(s))
    back = s.patch(SERVICES + "/lb", {"spec": {"type": "ClusterIP", "externalName": None}})
    check("and back: a new one", back[0] == 200 and back[1]["spec"]["clusterIP"] in held(s), back)
    refused("ExternalName with an address", s.call("POST", SERVICES, {"metadata": {"name": "x"}, "spec": {"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]}}),
            "spec.clusterIPs: Forbidden: may not be set for ExternalName services")
    no = s.call("POST", SERVICES, service("noports", "LoadBalancer", allocateLoadBalancerNodePorts=False))[1]
    check("a balancer without node ports", "nodePort" not in no["spec"]["ports"][0], no["spec"])
    many = s.call("POST", SERVICES, service("many", "NodePort", ports=range(1, 31)))
    check("thirty node ports", many[0] == 201 and len({p["nodePort"] for p in many[1]["spec"]["ports"]}) == 30, many)
    dry = held(s)
    equal("a dry run", s.call("POST", SERVICES + "?dryRun=All", service("dry", "NodePort"))[0], 201)
    equal("holds nothing", held(s), dry)
    for name in ("lb", "again", "noports", "many"):
        s.call("DELETE", SERVICES + "/" + name)
    equal("all is given back", held(s), {"10.96.0.1"})


def single(s):
    refused("no second range: required", s.call("POST", SERVICES, service("x", ipFamilyPolicy="RequireDualStack")), "this cluster is not configured for dual-stack services")
    refused("no IPv6", s.call("POST", SERVICES, service("x", ipFamilies=["IPv6"])), 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster')
    refused("no IPv6 address", s.call("POST", SERVICES, service("x", clusterIP="fd00::1")), "IPv6 is not configured on this cluster")
    made("preferred is what there is", s.call("POST", SERVICES, service("p", ipFamilyPolicy="PreferDualStack")), ["IPv4"], "PreferDualStack", ["4"])


def start_etcd(directory):
    client, peer = free_port(), free_port()
    url, peer_url = "http://127.0.0.1:%d" % client, "http://127.0.0.1:%d" % peer
    p = subprocess.Popen(["etcd", "--data-dir", directory + "/etcd", "--listen-client-urls", url, "--advertise-client-urls", url,
                          "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url,
                          "--initial-cluster", "default=" + peer_url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", client)).close()
            return p, url
        except OSError:
            time.sleep(0.05)
    raise SystemExit("etcd does not start")


def keys(url, prefix):
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    body = json.dumps({"key": base64.b64encode(prefix.encode()).decode(), "range_end": base64.b64encode(end.encode()).decode(), "keys_only": True})
    got = json.load(urllib.request.urlopen(url + "/v3/kv/range", body.encode()))
    return {base64.b64decode(k["key"]).decode().rsplit("/", 1)[1] for k in got.get("kvs", [])}


def storm(a, b, until):
    def work(number):
        r = random.Random(number)
        while time.time() < until:
            s, name = r.choice((a, b)), "s%d-%d" % (number, r.randrange(6))
            try:
                what = r.randrange(4)
                if what == 0:
                    s.call("POST", SERVICES, service(name, r.choice(("ClusterIP", "NodePort", "LoadBalancer")), ipFamilyPolicy=r.choice(("SingleStack", "PreferDualStack")),
                                                     **r.choice(({}, {"clusterIP": "10.96.0.%d" % r.randrange(2, 30)}))))
                elif what == 1:
                    s.call("DELETE", SERVICES + "/" + name)
                elif what == 2:
                    s.patch(SERVICES + "/" + name, {"spec": {"type": r.choice(("ClusterIP", "NodePort", "LoadBalancer"))}})
                else:
                    s.patch(SERVICES + "/" + name, {"spec": {"ipFamilyPolicy": r.choice(("SingleStack", "PreferDualStack"))}})
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    return threads


def crashes(url):
    flags = [BOTH, "--service-node-port-range=30000-30060", "--storage-backend=etcd", "--etcd-servers=" + url, "--etcd-prefix=/addresses"]
    with Server(*flags) as a, Server(*flags) as b:
        threads = storm(a, b, time.time() + 12)
        kills, r = 0, random.Random(1)
        while any(t.is_alive() for t in threads):
            time.sleep(r.uniform(0.6, 1.6))
            victim = r.choice((a, b))
            victim.stop(signal.SIGKILL)
            victim.start()
            kills += 1
        for t in threads:
            t.join()
        services = a.call("GET", SERVICES)[1]["items"]
        used = [ip for i in services for ip in i["spec"].get("clusterIPs", []) if ip != "None"]
        ports = [p["nodePort"] for i in services for p in i["spec"].get("ports", []) if "nodePort" in p]
        print("   %d kills, %d Services, %d addresses, %d node ports" % (kills, len(services), len(used), len(ports)))
        equal("no address is used twice", len(used), len(set(used)))
        equal("no port is used twice", len(ports), len(set(ports)))
        equal("what is used is held, and nothing else (seen by both)", (held(a), held(b)), (set(used), set(used)))
        equal("so for ports", keys(url, "/addresses/nodeportclaims/"), {str(p) for p in ports})
        victim = sorted(set(used) - {"10.96.0.1"})[0]
        a.call("DELETE", IPS + "/" + victim)
        a.call("POST", IPS, {"metadata": {"name": "10.96.200.200", "labels": {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}},
                             "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "nobody"}}})
        a.call("POST", IPS, {"metadata": {"name": "10.96.200.201"}, "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "nobody"}}})
        b.stop()
        b.start()
        equal("a start gives back what leaked and holds what is used; what others hold stays", held(b), set(used) | {"10.96.200.201"})


def more_ranges():
    """A range of 14 addresses fills up; a ServiceCIDR object adds another."""
    cidrs = "/apis/networking.k8s.io/v1/servicecidrs"
    with Server("--service-cluster-ip-range=10.96.0.5/28") as s:
        status, own = s.call("GET", cidrs + "/kubernetes")
        check("the flag's range is shown", status == 200 and own["spec"]["cidrs"] == ["10.96.0.0/28"], own)
        equal("and ready", own["status"]["conditions"][0]["status"] if status == 200 else own, "True")
        refused("an address of no range", s.call("POST", SERVICES, service("far", clusterIP="10.97.0.5")), "not in the valid range")
        for i in range(13 - len(held(s)) + 1):
            equal("the range fills", s.call("POST", SERVICES, service("f%d" % i))[0], 201)
        status, body = s.call("POST", SERVICES, service("one-more"))
        check("until it is full", status == 500 and "range is full" in body["message"], body)
        equal("another range", s.call("POST", cidrs, {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/24"]}})[0], 201)
        body = s.call("POST", SERVICES, service("one-more"))[1]
        check("is used then", body["spec"]["clusterIP"].startswith("10.97.0.") if "spec" in body else False, body)
        equal("and may be chosen from", s.call("POST", SERVICES, service("far", clusterIP="10.97.0.200"))[0], 201)
        refused("each address once", s.call("POST", SERVICES, service("far2", clusterIP="10.97.0.200")), "already allocated")
        s.call("DELETE", cidrs + "/more")
        refused("a removed range is used no more", s.call("POST", SERVICES, service("x", clusterIP="10.97.0.201")), "not in the valid range")
        equal("what is held stays", s.call("GET", SERVICES + "/far")[1]["spec"]["clusterIP"], "10.97.0.200")


def main():
    with Server(BOTH) as s:
        dual(s)
        types(s)
    with Server() as s:
        single(s)
    more_ranges()
    for wrong in ("nonsense", "10.0.0.0/8,10.1.0.0/16", "10.96.0.0/31", "10.96.0.0/16,fd00::/112,fd01::/112", "fd00::"):
        r = subprocess.run([BIN + "/skiff-apiserver", "--service-cluster-ip-range=" + wrong, "--data-dir=/nonexistent"], capture_output=True, text=True)
        check("--service-cluster-ip-range=%s is refused" % wrong, r.returncode == 2 and "--service-cluster-ip-range" in r.stderr, r.stderr)
    if not shutil.which("etcd"):
        print("skip addresses after crashes: etcd is not installed")
        return
    with tempfile.TemporaryDirectory() as directory:
        process, url = start_etcd(directory)
        try:
            crashes(url)
        finally:
            process.terminate()
            process.wait()


main()
finish()

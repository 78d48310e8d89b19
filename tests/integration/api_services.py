#!/usr/bin/env python3
"""
Services, pods, Secrets, ConfigMaps and namespaces: what the server gives, keeps, refuses and takes back.

Method: a real skiff-apiserver; many clients at once where uniqueness counts; a kill and a restart in between. Bodies that
are odd but well-formed must be refused, never end the server.
"""
import base64, concurrent.futures, os, signal, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
from apiserver import *

SERVICES, PODS, NS = "/api/v1/namespaces/default/services", "/api/v1/namespaces/default/pods", "/api/v1/namespaces"


def service(name, kind="ClusterIP", ports=(80,), **spec):
    body = {"metadata": {"name": name}, "spec": dict({"type": kind}, **spec)}
    if ports:
        body["spec"]["ports"] = [{"name": "p%d" % p, "port": p} for p in ports]
    return body


def refused(text, got, status, *parts):
    message = got[1].get("message", "") if isinstance(got[1], dict) else str(got[1])
    check(text, got[0] == status and all(p in message for p in parts), "%s %s" % (got[0], message))


def odd_bodies(s):
    """Strings that would break out of JSON, missing and wrong members."""
    quote = 'a"],["b\\'
    bodies = [
        (SERVICES, service("odd", clusterIP=quote)), (SERVICES, service("odd", clusterIPs=[quote])),
        (SERVICES, service("odd", clusterIPs=[])), (SERVICES, {"metadata": {"name": "odd"}}),
        (SERVICES, {"metadata": {"name": "odd"}, "spec": None}), (SERVICES, {"metadata": None, "spec": {}}), (SERVICES, {}),
        (SERVICES, service(quote)), (SERVICES, {"metadata": {"name": 7}, "spec": {}}), (SERVICES, {"spec": []}),
        (SERVICES, service("odd", ports=None, selector=quote)), (SERVICES, {"metadata": [], "spec": {"ports": [None]}}),
        (SERVICES, service("odd", "ExternalName", externalName=quote)), (SERVICES, service("odd", quote)),
        ("/api/v1/nodes", {"metadata": {"name": "odd"}, "spec": {"podCIDR": quote}}),
        ("/api/v1/nodes", {"metadata": {"name": "odd"}, "spec": {"taints": [None]}}),
        (PODS, {"metadata": {"name": "odd"}}), (PODS, {"metadata": {"name": "odd"}, "spec": {}}),
        (PODS, {"metadata": {"name": "odd"}, "spec": {"containers": None, "serviceAccountName": quote}}),
        (PODS, {"metadata": {"name": "odd"}, "spec": {"containers": [None], "tolerations": [None]}}),
        (PODS, {"metadata": {"name": "odd"}, "spec": {"priorityClassName": quote, "containers": []}}),
        (PODS + "/none/binding", {"target": None}), (PODS + "/none/binding", {"target": {"name": quote}}),
        ("/api/v1/namespaces/default/bindings", {"metadata": {"name": "none"}, "target": {"name": "n"}}),
        ("/api/v1/namespaces/default/bindings", {}), ("/api/v1/namespaces/default/secrets", {"stringData": None}),
        ("/api/v1/namespaces/default/secrets", {"metadata": {"name": "odd"}, "type": quote, "data": {quote: "!"}}),
        ("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "odd"}, "data": {quote: "1"}}),
        ("/api/v1/namespaces/default/serviceaccounts/default/token", {}),
        ("/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": None}),
        ("/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {"boundObjectRef": {}}}),
        ("/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {"boundObjectRef": {"kind": "Pod"}}}),
        ("/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {"boundObjectRef": {"kind": "Pod", "name": quote}}}),
        ("/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {"expirationSeconds": 2 ** 62}}),
        ("/apis/batch/v1/namespaces/default/jobs", {"metadata": {"name": "odd"}}),
        ("/apis/batch/v1/namespaces/default/jobs", {"metadata": {"generateName": "odd-"}, "spec": {}}),
        ("/apis/authentication.k8s.io/v1/tokenreviews", {}), ("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": None}),
        ("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "..", "audiences": [""]}}),
        ("/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": {"user": quote, "resourceAttributes": {}}}),
        ("/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": {"groups": [None], "nonResourceAttributes": {}}}),
        ("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": None}),
        ("/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews", {}),
        ("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {}),
        ("/apis/certificates.k8s.io/v1/certificatesigningrequests", {"metadata": {"name": "odd"}}),
        ("/apis/certificates.k8s.io/v1/certificatesigningrequests",
         {"metadata": {"name": "odd"}, "spec": {"request": "", "signerName": quote, "usages": ["client auth"]}}),
        ("/apis/certificates.k8s.io/v1/certificatesigningrequests",
         {"metadata": {"name": "odd"}, "spec": {"request": "AAAA", "signerName": "kubernetes.io/kube-apiserver-client",
                                                "usages": ["client auth"]}}),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", {"metadata": {"name": "odd"}, "rules": [None]}),
        ("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {"metadata": {"name": "odd"}}),
        ("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
         {"metadata": {"name": "odd"}, "roleRef": {"kind": "Role", "name": "cluster-admin"}, "subjects": [None]}),
        (NS, {"metadata": {"name": quote}}), (NS, {"metadata": {"name": "odd"}, "spec": {"finalizers": [None]}}),
        ("/api/v1/persistentvolumes", {"metadata": {"name": "odd"}}),
        ("/api/v1/namespaces/default/persistentvolumeclaims", {"metadata": {"name": "odd"}, "spec": {}}),
        ("/api/v1/namespaces/ending/services", service(quote)), ("/api/v1/namespaces/ending/configmaps", config_map(quote)),
    ]
    s.call("POST", NS, {"metadata": {"name": "ending"}})
    s.call("DELETE", NS + "/ending")
    good, known = True, (200, 201, 400, 403, 404, 409, 422)
    for path, body in bodies:
        try:
            status, answer = s.call("POST", path, body)
        except OSError as e:
            status, answer = 0, e
        if status not in known:
            good = check("odd body to %s" % path, False, "%s for %r: %s" % (status, body, answer))
        if s.process.poll() is not None:
            s.start()
        if status == 201 and "reviews" not in path and "/token" not in path:
            name = answer.get("metadata", {}).get("name")
            if name:
                s.call("DELETE", path + "/" + name)
    check("odd bodies are refused and the server lives", good)


def allocation(s):
    _, body = s.call("POST", SERVICES, service("a", "NodePort"))
    ip, port = body["spec"]["clusterIP"], body["spec"]["ports"][0].get("nodePort")
    check("a NodePort Service gets an address and a port", ip.startswith("10.96.") and 30000 <= port <= 32767, body)
    equal("clusterIPs mirrors clusterIP", body["spec"]["clusterIPs"], [ip])
    refused("a taken address", s.call("POST", SERVICES, service("b", clusterIP=ip)), 422,
            "failed to allocate IP %s: provided IP is already allocated" % ip)
    refused("an address out of the range", s.call("POST", SERVICES, service("b", clusterIP="10.1.2.3")), 422,
            "failed to allocate IP 10.1.2.3: the provided IP (10.1.2.3) is not in the valid range. "
            "The range of valid IPs is 10.96.0.0/16")
    taken = service("b", "NodePort")
    taken["spec"]["ports"][0]["nodePort"] = port
    refused("a taken port", s.call("POST", SERVICES, taken), 422, "provided port is already allocated")
    taken["spec"]["ports"][0]["nodePort"] = 80
    refused("a port out of the range", s.call("POST", SERVICES, taken), 422,
            "provided port is not in the valid range. The range of valid ports is 30000-32767")
    refused("first address and list that differ", s.call("POST", SERVICES, service("b", clusterIP="10.96.9.9", clusterIPs=["10.96.9.8"])),
            422, "clusterIPs")
    refused("no address at all", s.call("POST", SERVICES, service("b", clusterIP="nonsense")), 422, "must be a valid IP address")
    refused("a headless NodePort", s.call("POST", SERVICES, service("b", "NodePort", clusterIP="None")), 422,
            "may not be set to 'None' for NodePort services")
    _, fixed = s.call("POST", SERVICES, service("fixed", clusterIP="10.96.0.77"))
    equal("an address asked for", fixed["spec"]["clusterIP"], "10.96.0.77")
    refused("a dry run takes nothing: first", s.call("POST", SERVICES + "?dryRun=All", service("dry", clusterIP="10.96.0.78")), 201)
    refused("a dry run takes nothing: then", s.call("POST", SERVICES, service("dry", clusterIP="10.96.0.78")), 201)
    refused("the address may not change", s.patch(SERVICES + "/fixed", {"spec": {"clusterIP": "10.96.0.79", "clusterIPs": ["10.96.0.79"]}}),
            422, "may not change once set")
    status, body = s.patch(SERVICES + "/fixed", {"spec": {"clusterIPs": ["10.96.0.79"]}})
    check("the list alone may not change either", status == 422, body)
    equal("the address is free after the delete", s.call("DELETE", SERVICES + "/fixed")[0], 200)
    equal("and can be had again", s.call("POST", SERVICES, service("again", clusterIP="10.96.0.77"))[0], 201)
    held = service("held", "NodePort", clusterIP="10.96.0.80")
    held["metadata"]["finalizers"] = ["example.com/wait"]
    _, body = s.call("POST", SERVICES, held)
    held_port = body["spec"]["ports"][0]["nodePort"]
    s.call("DELETE", SERVICES + "/held")
    refused("a finalizer keeps the address", s.call("POST", SERVICES, service("b", clusterIP="10.96.0.80")), 422, "already allocated")
    equal("the last finalizer", s.patch(SERVICES + "/held", {"metadata": {"finalizers": None}})[0], 200)
    taken["spec"]["ports"][0]["nodePort"], taken["spec"]["clusterIP"] = held_port, "10.96.0.80"
    refused("gives address and port back", s.call("POST", SERVICES, taken), 201)
    both = service("dns", "NodePort", ports=None)
    both["spec"]["ports"] = [{"name": "t", "port": 53, "protocol": "TCP", "nodePort": 30053},
                             {"name": "u", "port": 53, "protocol": "UDP", "nodePort": 30053}]
    refused("TCP and UDP share a number", s.call("POST", SERVICES, both), 201)
    s.call("DELETE", SERVICES + "/dns")
    refused("which is free afterwards", s.call("POST", SERVICES, both), 201)


def types(s):
    s.call("POST", SERVICES, service("t"))
    _, one = s.call("GET", SERVICES + "/t")
    ip = one["spec"]["clusterIP"]
    _, two = s.patch(SERVICES + "/t", {"spec": {"type": "NodePort"}})
    port = two["spec"]["ports"][0].get("nodePort")
    check("to NodePort: a port, the same address", port and two["spec"]["clusterIP"] == ip, two["spec"])
    two["spec"]["ports"][0].pop("nodePort")
    _, again = s.call("PUT", SERVICES + "/t", two)
    equal("a PUT without the port keeps it", again["spec"]["ports"][0].get("nodePort"), port)
    again["spec"]["type"] = "ClusterIP"
    status, three = s.call("PUT", SERVICES + "/t", again)
    check("back to ClusterIP: no port", status == 200 and "nodePort" not in three["spec"]["ports"][0], three)
    taken = service("port-thief", "NodePort")
    taken["spec"]["ports"][0]["nodePort"] = port
    refused("the port is free again", s.call("POST", SERVICES, taken), 201)
    _, four = s.patch(SERVICES + "/t", {"spec": {"type": "ExternalName", "externalName": "example.com"}})
    check("to ExternalName: no address", "clusterIP" not in four["spec"] and "clusterIPs" not in four["spec"], four["spec"])
    refused("the address is free again", s.call("POST", SERVICES, service("thief", clusterIP=ip)), 201)
    _, five = s.patch(SERVICES + "/t", {"spec": {"type": "ClusterIP", "externalName": None}})
    check("back to ClusterIP: a new address", five["spec"].get("clusterIP", ip) != ip, five["spec"])
    _, none = s.call("POST", SERVICES, service("headless", clusterIP="None", ports=None))
    equal("headless", (none["spec"]["clusterIP"], none["spec"]["clusterIPs"]), ("None", ["None"]))
    status, body = s.patch(SERVICES + "/headless", {"spec": {"type": "NodePort", "ports": [{"port": 80}]}})
    check("a headless one can't become NodePort", status == 422, body)
    refused("ExternalName without a name", s.call("POST", SERVICES, service("ext", "ExternalName", ports=None)), 422, "spec.externalName: Required value")
    refused("no ports", s.call("POST", SERVICES, service("noports", ports=None)), 422, "spec.ports: Required value")


def uniqueness(s, where):
    def make(i):
        return s.call("POST", SERVICES, service("%s-%d" % (where, i), "NodePort", ports=(80, 81)))
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(make, range(150)))
    check("150 creates at once succeed (%s)" % where, all(a[0] == 201 for a in answers), [a for a in answers if a[0] != 201][:2])
    unique(s, where)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        same = list(pool.map(lambda i: s.call("POST", SERVICES, service("%s-same-%d" % (where, i), clusterIP="10.96.200.1"))[0], range(16)))
    equal("of 16 that want one address one gets it", sorted(set(same)) + [same.count(201)], [201, 422, 1])
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        done = list(pool.map(lambda i: s.call("DELETE", SERVICES + "/%s-%d" % (where, i))[0], range(0, 150, 2)))
    check("deletes at once", set(done) == {200}, done)
    for i in range(16):
        s.call("DELETE", SERVICES + "/%s-same-%d" % (where, i))


def unique(s, where):
    _, everything = s.call("GET", "/api/v1/services")
    ips = [i["spec"]["clusterIP"] for i in everything["items"] if i["spec"].get("clusterIP", "None") != "None"]
    ports = [{p["nodePort"] for p in i["spec"].get("ports", []) if "nodePort" in p} for i in everything["items"]]
    count = sum(len(p) for p in ports)
    check("addresses and ports are unique (%s)" % where, len(set(ips)) == len(ips) and len(set().union(*ports)) == count)
    _, held = s.call("GET", "/apis/networking.k8s.io/v1/ipaddresses")
    equal("each address is one IPAddress (%s)" % where, sorted(i["metadata"]["name"] for i in held["items"]), sorted(ips))


def pods(s):
    service_account(s)
    _, body = s.call("POST", PODS, pod("p"))
    spec = body["spec"]
    volume = [v for v in spec.get("volumes", []) if v["name"].startswith("kube-api-access-")]
    mounts = spec["containers"][0].get("volumeMounts", [])
    check("the account's token is mounted", len(volume) == 1 and mounts and mounts[0]["name"] == volume[0]["name"] and
          mounts[0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount", spec)
    equal("account, priority, qos", (spec["serviceAccountName"], spec["priority"], body["status"]["qosClass"]), ("default", 0, "BestEffort"))
    equal("tolerations", sorted((t["key"], t["tolerationSeconds"]) for t in spec["tolerations"]),
          [("node.kubernetes.io/not-ready", 300), ("node.kubernetes.io/unreachable", 300)])
    for name, resources, wanted in [("g", {"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
                                    ("b", {"requests": {"cpu": "1"}}, "Burstable"),
                                    ("b2", {"limits": {"cpu": "1"}}, "Burstable"),
                                    ("z", {"requests": {"cpu": "0"}}, "BestEffort")]:
        one = pod("qos-" + name)
        one["spec"]["containers"][0]["resources"] = resources
        equal("qos " + wanted, s.call("POST", PODS, one)[1].get("status", {}).get("qosClass"), wanted)
    one = pod("no-mount")
    one["spec"]["automountServiceAccountToken"] = False
    equal("no token when not wanted", s.call("POST", PODS, one)[1]["spec"].get("volumes"), None)
    one = pod("stranger")
    one["spec"]["serviceAccountName"] = "nobody"
    refused("an account that is not there", s.call("POST", PODS, one), 403,
            'pods "stranger" is forbidden: error looking up service account default/nobody: serviceaccount "nobody" not found')
    service_account(s, name="old")
    one = pod("old-name")
    one["spec"]["serviceAccount"] = "old"
    equal("the old member for the account", s.call("POST", PODS, one)[1]["spec"]["serviceAccountName"], "old")
    one = pod("classy")
    one["spec"]["priorityClassName"] = "none"
    refused("a class that is not there", s.call("POST", PODS, one), 403, "no PriorityClass with name none was found")
    one["spec"]["priorityClassName"] = "system-node-critical"
    equal("a class", s.call("POST", PODS, one)[1]["spec"]["priority"], 2000001000)
    one = pod("number")
    one["spec"]["priority"] = 5
    refused("a number of one's own", s.call("POST", PODS, one), 403, "the integer value of priority (5) must not be provided in pod spec")
    refused("another node selector", s.patch(PODS + "/p", {"spec": {"nodeSelector": {"a": "b"}}}), 422,
            "pod updates may not change fields other than `spec.containers[*].image`")
    equal("another image", s.patch(PODS + "/p", {"spec": {"containers": [{"name": "c", "image": "other"}]}}, "strategic")[0], 200)
    refused("a toleration less", s.patch(PODS + "/p", {"spec": {"tolerations": []}}), 422, "pod updates may not change")
    refused("a deadline", s.patch(PODS + "/p", {"spec": {"activeDeadlineSeconds": 50}}), 200)
    refused("a longer deadline", s.patch(PODS + "/p", {"spec": {"activeDeadlineSeconds": 60}}), 422, "must be less than or equal to previous value")
    bind = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        got = list(pool.map(lambda i: s.call("POST", PODS + "/p/binding", dict(bind, target={"kind": "Node", "name": "n%d" % i}))[0], range(12)))
    equal("of 12 bindings one wins", (got.count(201), got.count(409)), (1, 11))
    refused("bound already", s.call("POST", PODS + "/p/binding", bind), 409, 'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node')
    refused("another uid", s.call("POST", PODS + "/no-mount/binding", {"metadata": {"name": "no-mount", "uid": "x"}, "target": {"name": "n"}}), 409, "the UID in")
    refused("a pod that is not there", s.call("POST", PODS + "/none/binding", {"target": {"name": "n"}}), 404, 'pods "none" not found')
    refused("no node", s.call("POST", PODS + "/no-mount/binding", {"target": {}}), 422, "target.name: Required value")
    one = pod("gated")
    one["spec"]["schedulingGates"] = [{"name": "example.com/g"}]
    s.call("POST", PODS, one)
    refused("a gated pod", s.call("POST", PODS + "/gated/binding", {"target": {"name": "n"}}), 409, "has non-empty .spec.schedulingGates")
    status, body = s.call("DELETE", PODS + "/p")
    equal("a bound pod is marked", (status, body["metadata"].get("deletionGracePeriodSeconds")), (200, 30))
    equal("no grace ends it", s.call("DELETE", PODS + "/p?gracePeriodSeconds=0")[0], 200)
    equal("gone", s.call("GET", PODS + "/p")[0], 404)
    equal("an unbound pod goes at once", (s.call("DELETE", PODS + "/gated")[0], s.call("GET", PODS + "/gated")[0]), (200, 404))


def secrets(s):
    path, maps = "/api/v1/namespaces/default/secrets", "/api/v1/namespaces/default/configmaps"
    _, body = s.call("POST", path, {"metadata": {"name": "s"}, "data": {"a": "MQ=="}, "stringData": {"a": "2", "b": "ü"}})
    equal("stringData wins and becomes data", (body.get("data"), body.get("type"), "stringData" in body),
          ({"a": base64.b64encode(b"2").decode(), "b": base64.b64encode("ü".encode()).decode()}, "Opaque", False))
    refused("another type", s.patch(path + "/s", {"type": "kubernetes.io/tls"}), 422, "field is immutable")
    refused("no key", s.call("POST", path, {"metadata": {"name": "t"}, "type": "kubernetes.io/tls", "data": {"tls.crt": ""}}), 422,
            "data[tls.key]: Required value")
    refused("no account named", s.call("POST", path, {"metadata": {"name": "t"}, "type": "kubernetes.io/service-account-token"}), 422,
            "metadata.annotations[kubernetes.io/service-account.name]: Required value")
    refused("a bad key", s.call("POST", path, {"metadata": {"name": "t"}, "data": {"a b": ""}}), 422, "a valid config key must consist of")
    refused("no base64", s.call("POST", path, {"metadata": {"name": "t"}, "data": {"a": "!!!"}}), 400)
    for kind, where, member in [("Secret", path + "/s", "data"), ("ConfigMap", maps + "/m", "data")]:
        if kind == "ConfigMap":
            s.call("POST", maps, config_map("m", {"a": "1"}))
        equal(kind + " made immutable", s.patch(where, {"immutable": True})[0], 200)
        refused(kind + " content", s.patch(where, {member: {"a": "MTI="}}), 422, "data: Forbidden: field is immutable when `immutable` is set")
        refused(kind + " back", s.patch(where, {"immutable": None}), 422, "immutable: Forbidden")
        equal(kind + " labels", s.patch(where, {"metadata": {"labels": {"x": "y"}}})[0], 200)
        equal(kind + " delete", s.call("DELETE", where)[0], 200)
    refused("a key twice", s.call("POST", maps, dict(config_map("d", {"a": "1"}), binaryData={"a": "MQ=="})), 422, "duplicate of key present in binaryData")
    refused("too large", s.call("POST", maps, config_map("d", {"a": "x" * (1 << 20) + "y"})), 422, "")


def namespaces(s):
    for name in ("default", "kube-system", "kube-public"):
        refused("%s stays" % name, s.call("DELETE", NS + "/" + name), 403, 'namespaces "%s" is forbidden: this namespace may not be deleted' % name)
    refused("no such namespace", s.call("POST", NS + "/none/configmaps", config_map("x")), 404, 'namespaces "none" not found')
    _, body = s.call("POST", NS, {"metadata": {"name": "n"}})
    equal("a namespace", (body["spec"]["finalizers"], body["status"]["phase"], body["metadata"]["labels"]),
          (["kubernetes"], "Active", {"kubernetes.io/metadata.name": "n"}))
    s.call("POST", NS + "/n/configmaps", config_map("x"))
    _, body = s.call("DELETE", NS + "/n")
    equal("is marked", body["status"]["phase"], "Terminating")
    got = s.call("POST", NS + "/n/configmaps", config_map("y"))
    refused("takes nothing new", got, 403, 'configmaps "y" is forbidden: unable to create new content in namespace n because it is being terminated')
    equal("and says why", got[1]["details"]["causes"][0]["reason"], "NamespaceTerminating")
    equal("what is there can change", s.patch(NS + "/n/configmaps/x", {"data": {"a": "b"}})[0], 200)
    status, body = s.patch(NS + "/n", {"spec": {"finalizers": []}})
    equal("finalizers don't go by update", (status, body["spec"].get("finalizers")), (200, ["kubernetes"]))
    _, body = s.call("GET", NS + "/n")
    body["spec"]["finalizers"] = []
    equal("finalize", s.call("PUT", NS + "/n/finalize", body)[0], 200)
    equal("gone", s.call("GET", NS + "/n")[0], 404)


with Server() as s:
    odd_bodies(s)
    allocation(s)
    types(s)
    uniqueness(s, "first")
    pods(s)
    secrets(s)
    namespaces(s)
    if not os.environ.get("SKIFF_TEST_ETCD"):
        s.stop(signal.SIGKILL)
        s.start()
    unique(s, "after a kill")
    uniqueness(s, "second")
finish()

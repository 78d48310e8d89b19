#!/usr/bin/env python3
"""
Goal: the built-in admission plugins fill in and refuse what they do on Kubernetes, and can be switched and configured.
Method: one server with the plugins that are off by default switched on and a configuration file; then bad flags and files.
"""
import os, subprocess, sys, tempfile, threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)) + "/lib")
from apiserver import *

NS = "/api/v1/namespaces/"
ANNOTATION = "scheduler.alpha.kubernetes.io/"
EVERY = ("AlwaysPullImages,PodNodeSelector,PodTolerationRestriction,ExtendedResourceToleration,OwnerReferencesPermissionEnforcement,"
         "LimitPodHardAntiAffinityTopology,DenyServiceExternalIPs,EventRateLimit")
CONFIG = """
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {warn: baseline}
    exemptions: {usernames: [jane], namespaces: [exempt], runtimeClasses: [sandboxed]}
- name: PodNodeSelector
  configuration: {podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: "", limited: "disk=ssd,zone=a"}}
- name: EventRateLimit
  path: limits.yaml
"""
LIMITS = """
apiVersion: eventratelimit.admission.k8s.io/v1alpha1
kind: Configuration
limits:
- {type: Namespace, qps: 1, burst: 5, cacheSize: 100}
"""


def namespace(s, name, labels=None, annotations=None):
    s.call("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels or {}, "annotations": annotations or {}}})
    service_account(s, name)


def made(s, ns, body, kind="pods", **options):
    return s.call("POST", "%s%s/%s" % (NS, ns, kind), body, **options)


def refused(text, answer, message, status=403):
    check(text, answer[0] == status and message in answer[1].get("message", ""), answer)


def a_pod(name, spec=None, container=None, **metadata):
    p = pod(name, **metadata)
    p["spec"].update(spec or {})
    p["spec"]["containers"][0].update(container or {})
    return p


def limits(s):
    namespace(s, "limited-ns")
    s.call("POST", NS + "limited-ns/limitranges", {"metadata": {"name": "l"}, "spec": {"limits": [
        {"type": "Container", "default": {"cpu": "500m", "memory": "64Mi"}, "defaultRequest": {"cpu": "100m"}, "min": {"cpu": "50m"},
         "max": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "10"}},
        {"type": "Pod", "max": {"memory": "100Mi"}},
        {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "5Gi"}}]}})
    _, p = made(s, "limited-ns", a_pod("d"))
    equal("LimitRanger: defaults", p["spec"]["containers"][0]["resources"],
          {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}})
    equal("  the annotation says which", p["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
          "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c")
    ask = lambda cpu, limit, memory="1Mi": {"resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": limit, "memory": memory}}}
    refused("LimitRanger: too much", made(s, "limited-ns", a_pod("x", container=ask("1", "2"))),
            'pods "x" is forbidden: maximum cpu usage per Container is 1, but limit is 2')
    refused("LimitRanger: too little", made(s, "limited-ns", a_pod("x", container=ask("10m", "60m"))),
            "minimum cpu usage per Container is 50m, but request is 10m")
    refused("LimitRanger: the ratio", made(s, "limited-ns", a_pod("x", container=ask("60m", "900m"))),
            "cpu max limit to request ratio per Container is 10, but provided ratio is 15.000000")
    refused("LimitRanger: the whole pod, and all at once", made(s, "limited-ns", a_pod("x", container=ask("1", "2", "200Mi"))),
            "forbidden: [maximum cpu usage per Container is 1, but limit is 2, maximum memory usage per Pod is 100Mi, but limit is 200Mi]")
    claim = lambda size: {"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}}
    refused("LimitRanger: a claim", made(s, "limited-ns", claim("9Gi"), "persistentvolumeclaims"),
            "maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 9Gi")
    equal("  one that fits", made(s, "limited-ns", claim("2Gi"), "persistentvolumeclaims")[0], 201)
    equal("StorageObjectInUseProtection", s.call("GET", NS + "limited-ns/persistentvolumeclaims/c")[1]["metadata"]["finalizers"], ["kubernetes.io/pvc-protection"])
    small = s.patch(NS + "limited-ns/persistentvolumeclaims/c", {"spec": {"resources": {"requests": {"storage": "3Gi"}}}})
    check("PersistentVolumeClaimResize: no class lets it grow", small[0] in (403, 422), small)


def security(s):
    namespace(s, "strict", {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted",
                            "pod-security.kubernetes.io/warn-version": "v1.30"})
    refused("PodSecurity: enforced", made(s, "strict", a_pod("x", {"hostNetwork": True}, {"securityContext": {"privileged": True}})),
            'pods "x" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true), '
            'privileged (container "c" must not set securityContext.privileged=true)')
    status, headers, _ = s.request("POST", NS + "strict/pods", a_pod("w"))
    check("  warned about", status == 201 and 'would violate PodSecurity \\"restricted:v1.30\\": allowPrivilegeEscalation' in (headers.get("Warning") or ""),
          (status, headers.get("Warning")))
    status, headers, _ = s.request("POST", "/apis/apps/v1/namespaces/strict/deployments", dict(deployment("d")))
    check("  templates are warned about, not refused", status == 201 and "would violate" in (headers.get("Warning") or ""), headers.get("Warning"))
    refused("  a long list is not cut", made(s, "strict", dict(a_pod("x"), spec={"containers": [
        {"name": "container-%d" % i, "image": "i", "securityContext": {"privileged": True}} for i in range(90)]})), '"container-89" must not set')
    refused("  labels are checked", s.call("POST", "/api/v1/namespaces", {"metadata": {"name": "b", "labels": {"pod-security.kubernetes.io/enforce": "x"}}}),
            'metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "x": must be one of privileged, baseline, restricted', 422)
    refused("  so are versions", s.call("POST", "/api/v1/namespaces", {"metadata": {"name": "b", "labels": {"pod-security.kubernetes.io/warn-version": "1.2"}}}),
            'must be "latest" or "v1.x"', 422)
    namespace(s, "rising")
    made(s, "rising", a_pod("one", {"hostPID": True}))
    made(s, "rising", a_pod("two", {"hostPID": True}))
    status, headers, _ = s.request("PATCH", "/api/v1/namespaces/rising", {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}},
                                   content_type="application/merge-patch+json")
    text = ", ".join(headers.get_all("Warning") or [])
    check("  a rising level names the pods", "existing pods in namespace" in text and "one (and 1 other pod): host namespaces" in text, text)
    namespace(s, "exempt", {"pod-security.kubernetes.io/enforce": "restricted"})
    equal("  an exempt namespace", made(s, "exempt", a_pod("x", {"hostPID": True}))[0], 201)
    namespace(s, "plain")
    status, headers, _ = s.request("POST", NS + "plain/pods", a_pod("p", {"hostPID": True}))
    check("  the configured default warns", status == 201 and 'would violate PodSecurity \\"baseline:latest\\"' in (headers.get("Warning") or ""), headers.get("Warning"))
    status, _ = s.call("PUT", NS + "strict/pods/w/ephemeralcontainers", {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "w"}, "spec": {"ephemeralContainers": [
        {"name": "e", "image": "i", "securityContext": {"privileged": True}}]}})
    check("  ephemeral containers too", status in (403, 501), status)


def pods(s):
    _, p = made(s, "plain", a_pod("pull", container={"imagePullPolicy": "IfNotPresent", "resources": {"requests": {"x.example/gpu": "1"},
                                                                                               "limits": {"x.example/gpu": "1"}}}))
    equal("AlwaysPullImages", p["spec"]["containers"][0]["imagePullPolicy"], "Always")
    check("ExtendedResourceToleration", {"key": "x.example/gpu", "operator": "Exists"} in p["spec"]["tolerations"], p["spec"]["tolerations"])
    term = {"labelSelector": {}, "topologyKey": "zone"}
    refused("LimitPodHardAntiAffinityTopology", made(s, "plain", a_pod("x", {"affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [term]}}})), "has TopologyKey zone but only key kubernetes.io/hostname is allowed")
    namespace(s, "limited", annotations={ANNOTATION + "node-selector": "disk=ssd"})
    _, p = made(s, "limited", a_pod("n"))
    equal("PodNodeSelector: added", p["spec"].get("nodeSelector"), {"disk": "ssd"})
    refused("  in conflict", made(s, "limited", a_pod("x", {"nodeSelector": {"disk": "hdd"}})), "pod node label selector conflicts with its namespace node label selector")
    refused("  not allowed", made(s, "limited", a_pod("x", {"nodeSelector": {"gpu": "1"}})), "conflict with its namespace whitelist")
    namespace(s, "tolerant", annotations={ANNOTATION + "defaultTolerations": '[{"key":"a","operator":"Exists"}]',
                                          ANNOTATION + "tolerationsWhitelist": '[{"key":"a","operator":"Exists"},{"operator":"Exists","effect":"NoExecute"}]'})
    _, p = made(s, "tolerant", a_pod("t"))
    check("PodTolerationRestriction: added", {"key": "a", "operator": "Exists"} in p["spec"].get("tolerations", []), p)
    refused("  not allowed", made(s, "tolerant", a_pod("x", {"tolerations": [{"key": "b", "operator": "Exists"}]})), "conflict with its namespace whitelist")
    s.call("POST", "/apis/node.k8s.io/v1/runtimeclasses", {"metadata": {"name": "sandboxed"}, "handler": "h", "overhead": {"podFixed": {"cpu": "10m"}},
                                                           "scheduling": {"nodeSelector": {"sandbox": "yes"}, "tolerations": [{"key": "s", "operator": "Exists"}]}})
    _, p = made(s, "plain", a_pod("rc", {"runtimeClassName": "sandboxed"}))
    check("RuntimeClass", p["spec"].get("overhead") == {"cpu": "10m"} and p["spec"].get("nodeSelector") == {"sandbox": "yes"} and
          {"key": "s", "operator": "Exists"} in p["spec"]["tolerations"], p)
    refused("  one that is not there", made(s, "plain", a_pod("x", {"runtimeClassName": "nowhere"})), 'pod rejected: RuntimeClass "nowhere" not found')
    refused("  an overhead of one's own", made(s, "plain", a_pod("x", {"overhead": {"cpu": "1"}})), "Pod Overhead set without corresponding RuntimeClass")


def others(s):
    ip = lambda name, ips: {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "externalIPs": ips}}
    refused("DenyServiceExternalIPs", made(s, "plain", ip("e", ["192.0.2.9"]), "services"), "Use of external IPs is denied by admission control.")
    s.call("POST", "/apis/networking.k8s.io/v1/ingressclasses", {"metadata": {"name": "first", "annotations": {
        "ingressclass.kubernetes.io/is-default-class": "true"}}, "spec": {"controller": "x.example/c"}})
    _, i = s.call("POST", "/apis/networking.k8s.io/v1/namespaces/plain/ingresses", {"metadata": {"name": "i"}, "spec": {
        "defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}})
    equal("DefaultIngressClass", i["spec"].get("ingressClassName"), "first")
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "get", "update"]}]
    s.call("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/plain/roles", {"metadata": {"name": "r"}, "rules": rules})
    s.call("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/plain/rolebindings", {"metadata": {"name": "r"}, "roleRef": {
        "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}]})
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "11111111-1111-1111-1111-111111111111"}
    until = time.time() + 5
    while made(s, "plain", config_map("o"), "configmaps", token=USER)[0] != 201 and time.time() < until:
        time.sleep(0.05)  # (the binding takes effect a moment later)
    answer = made(s, "plain", config_map("o1", ownerReferences=[owner]), "configmaps", token=USER)
    refused("OwnerReferencesPermissionEnforcement: who can't delete sets no owner", answer, "cannot set an ownerRef on a resource you can't delete")
    s.call("PUT", "/apis/rbac.authorization.k8s.io/v1/namespaces/plain/roles/r", {"metadata": {"name": "r"}, "rules": [
        dict(rules[0], verbs=["create", "delete"])]})
    until = time.time() + 5
    while made(s, "plain", config_map("o2", ownerReferences=[owner]), "configmaps", token=USER)[0] != 201 and time.time() < until:
        time.sleep(0.05)
    answer = made(s, "plain", config_map("o3", ownerReferences=[dict(owner, blockOwnerDeletion=True)]), "configmaps", token=USER)
    refused("  who can't change the owner's finalizers doesn't block it", answer, "cannot set blockOwnerDeletion")
    event = lambda i: {"metadata": {"name": "e%d" % i}, "involvedObject": {"kind": "Pod", "namespace": "plain", "name": "p"}, "reason": "r", "type": "Normal"}
    answers = [made(s, "plain", event(i), "events") for i in range(12)]
    check("EventRateLimit", [a[0] for a in answers[:5]] == [201] * 5 and answers[-1][0] == 429 and
          "limit reached on type Namespace for key plain" in answers[-1][1]["message"], answers[-1])


def quota(s):
    """(the figures in status are the quota controller's; here they are set by hand)"""
    namespace(s, "quota")
    path = NS + "quota/resourcequotas"
    hard = {"pods": "2", "requests.cpu": "1", "count/configmaps": "3", "services.nodeports": "1", "requests.storage": "5Gi",
            "count/deployments.apps": "1"}
    s.call("POST", path, {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    sized = lambda name, cpu, **more: a_pod(name, more, {"resources": {"requests": {"cpu": cpu}}})
    refused("ResourceQuota: before the first count", made(s, "quota", sized("a", "100m")), "status unknown for quota: q, resources: pods,requests.cpu")
    s.call("PUT", path + "/q/status", {"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": {k: "0" for k in hard}}})
    refused("  containers that name nothing", made(s, "quota", a_pod("a")), "failed quota: q: must specify requests.cpu for: c")
    equal("  what fits", made(s, "quota", sized("a", "100m"))[0], 201)
    used = lambda: s.call("GET", path + "/q")[1]["status"]["used"]
    check("  is charged", used()["pods"] == "1" and used()["requests.cpu"] == "100m", used())
    refused("  what does not fit", made(s, "quota", sized("b", "950m")),
            'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=950m, used: requests.cpu=100m, limited: requests.cpu=1')
    equal("  a dry run", made(s, "quota", sized("b", "100m"), "pods?dryRun=All")[0], 201)
    equal("  charges nothing", used()["pods"], "1")
    made(s, "quota", sized("b", "100m"))
    refused("  several at once", made(s, "quota", sized("d", "900m")),
            "exceeded quota: q, requested: pods=1,requests.cpu=900m, used: pods=2,requests.cpu=200m, limited: pods=2,requests.cpu=1")
    port = lambda name, n: {"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [{"name": "p%d" % i, "port": 80 + i} for i in range(n)]}}
    refused("  node ports", made(s, "quota", port("s", 2), "services"), "requested: services.nodeports=2, used: services.nodeports=0")
    equal("  a Service with its address, port and charge", made(s, "quota", port("s", 1), "services")[0], 201)
    equal("  a count of another group", s.call("POST", "/apis/apps/v1/namespaces/quota/deployments", deployment("d"))[0], 201)
    refused("  and one more", s.call("POST", "/apis/apps/v1/namespaces/quota/deployments", deployment("e")), "exceeded quota: q, requested: count/deployments.apps=1")
    # Many at once: never over, whoever wins.
    namespace(s, "race")
    s.call("POST", NS + "race/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"count/configmaps": "50", "pods": "20"}}})
    s.call("PUT", NS + "race/resourcequotas/q/status", {"metadata": {"name": "q"}, "status": {"hard": {"count/configmaps": "50", "pods": "20"},
                                                                                              "used": {"count/configmaps": "0", "pods": "0"}}})
    answers = []

    def run(n):
        c = s.connect()
        for i in range(20):
            answers.append(s.call("POST", NS + "race/configmaps", config_map("c-%d-%d" % (n, i)), connection=c)[0])
            answers.append(s.call("POST", NS + "race/pods", pod("p-%d-%d" % (n, i)), connection=c)[0])
        c.close()
    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    left = [len(s.call("GET", NS + "race/" + kind)[1]["items"]) for kind in ("configmaps", "pods")]
    used = s.call("GET", NS + "race/resourcequotas/q")[1]["status"]["used"]
    check("  320 writes of 8 clients at once fill it exactly", left == [50, 20] and used == {"count/configmaps": "50", "pods": "20"} and
          sorted(set(answers)) == [201, 403], (left, used, sorted(set(answers))))


def flags(directory):
    def run(*more):
        p = subprocess.run([BIN + "/skiff-apiserver", "--secure-port=%d" % free_port(), "--bind-address=127.0.0.1", "--data-dir=" + directory + "/db", *more],
                           capture_output=True, text=True, timeout=20)
        return p.returncode, p.stderr.replace('\\"', '"')

    def config(text):
        fd, path = tempfile.mkstemp(dir=directory)
        with os.fdopen(fd, "w") as f:
            f.write("kind: AdmissionConfiguration\nplugins:\n" + text)
        return "--admission-control-config-file=" + path
    for text, flag, message in (
            ("an unknown plugin", "--enable-admission-plugins=Nonsense", '--enable-admission-plugins: there is no plugin "Nonsense"'),
            ("an unknown plugin in the file", config("- {name: Nonsense, configuration: {}}\n"), 'plugins[0].name: there is no plugin "Nonsense"'),
            ("a plugin without settings", config("- {name: AlwaysPullImages, configuration: {a: 1}}\n"), "AlwaysPullImages takes no configuration"),
            ("a bad level", config("- {name: PodSecurity, configuration: {defaults: {enforce: high}}}\n"), 'defaults.enforce: Invalid value: "high"'),
            ("a bad limit", config("- {name: EventRateLimit, configuration: {limits: [{type: Server, qps: 0, burst: 1}]}}\n"), "limits[0].qps"),
            ("no such file", "--admission-control-config-file=/nowhere", "--admission-control-config-file: /nowhere")):
        code, out = run(flag)
        check("refused at start: " + text, code != 0 and message in out, "%d %s" % (code, out[-400:]))


directory = tempfile.mkdtemp(prefix="skiff-admission-")
with open(directory + "/limits.yaml", "w") as f:
    f.write(LIMITS)
with open(directory + "/admission.yaml", "w") as f:
    f.write(CONFIG.replace("limits.yaml", directory + "/limits.yaml"))
with Server("--enable-admission-plugins=" + EVERY, "--admission-control-config-file=" + directory + "/admission.yaml") as s:
    limits(s)
    security(s)
    pods(s)
    others(s)
    quota(s)
flags(directory)
with Server("--disable-admission-plugins=PodSecurity,LimitRanger") as s:
    namespace(s, "off", {"pod-security.kubernetes.io/enforce": "restricted"})
    equal("a plugin that is switched off", made(s, "off", a_pod("x", {"hostPID": True}))[0], 201)
shutil.rmtree(directory)
finish()

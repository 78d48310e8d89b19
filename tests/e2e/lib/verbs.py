"""
Every verb of one kubectl against the cluster of KUBECONFIG: verbs.py KUBECTL

Each group of verbs is a function; a group that breaks off (an exception) is one failure and the others go on. Old
kubectls lack some verbs, and speak beta groups that Kubernetes has removed: `since` says from which version on a check holds.
"""
import base64, json, os, re, shutil, signal, subprocess, sys, tempfile, time

KUBECTL = sys.argv[1]
WORK = tempfile.mkdtemp(prefix="skiff-verbs-")
VERSION = json.loads(subprocess.run([KUBECTL, "version", "--client", "-o", "json"], capture_output=True, text=True).stdout)["clientVersion"]
MINOR = int(re.match(r"\d+", VERSION["minor"]).group())
NAME = "kubectl 1.%d" % MINOR
NS = "verbs-%d" % MINOR
IMAGE = "skiff/guestbook:1"
ENV = dict(os.environ, HOME=WORK, KUBECONFIG=WORK + "/config", KUBECTL_EXTERNAL_DIFF="", EDITOR="", KUBE_EDITOR="")
failures = checks = 0


def report(text, good, shown=""):
    global failures, checks
    checks += 1
    if good:
        print("ok %s: %s" % (NAME, text), flush=True)
    else:
        failures += 1
        print("not ok %s: %s -- got: %s" % (NAME, text, str(shown)[-1500:]), flush=True)
    return good


def k(*args, stdin=None, timeout=60, env=None):
    """(status, stdout and stderr together)"""
    p = subprocess.run([KUBECTL, *args], input=stdin, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       timeout=timeout, env=dict(ENV, **(env or {})))
    return p.returncode, p.stdout


def has(text, pattern, *args, **options):
    status, out = k(*args, **options)
    return report(text, status == 0 and re.search(pattern, out, re.S | re.M) is not None, "%d %s" % (status, out))


def lacks(text, pattern, *args, **options):
    status, out = k(*args, **options)
    return report(text, status == 0 and re.search(pattern, out, re.S | re.M) is None, "%d %s" % (status, out))


def equal(text, wanted, *args, **options):
    status, out = k(*args, **options)
    return report(text, status == 0 and out.strip() == wanted, "%d %s" % (status, out))


def refused(text, pattern, *args, **options):
    status, out = k(*args, **options)
    return report(text, status != 0 and re.search(pattern, out, re.S | re.M) is not None, "%d %s" % (status, out))


def value(kind, name, path):
    return k("get", kind, name, "-o", "jsonpath=" + path)[1]


def is_value(text, wanted, kind, name, path):
    got = value(kind, name, path)
    return report(text, got == wanted, got)


def until(text, wanted, probe, seconds=60):
    deadline = time.time() + seconds
    while True:
        got = probe()
        if (wanted(got) if callable(wanted) else got == wanted):
            return report(text, True)
        if time.time() > deadline:
            return report(text, False, got)
        time.sleep(0.1)


def file(name, text):
    path = "%s/%s" % (WORK, name)
    with open(path, "w") as f:
        f.write(text)
    return path


def start(*args, **options):
    return subprocess.Popen([KUBECTL, *args], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENV, **options)


def end(process):
    """Stops a kubectl that runs on; its output."""
    process.send_signal(signal.SIGINT)
    try:
        return process.communicate(timeout=20)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0]


def deployment(name, replicas=1, image=IMAGE, **labels):
    return """
apiVersion: apps/v1
kind: Deployment
metadata: {name: %s, labels: {app: %s}}
spec:
  replicas: %d
  selector: {matchLabels: {app: %s}}
  template:
    metadata: {labels: {app: %s}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: "%s", command: [sleep, "100000"], ports: [{containerPort: 80}]}
""" % (name, name, replicas, name, name, image)


def pod(name, command='[sleep, "100000"]', extra=""):
    return """
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: %s}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: "%s", command: %s%s}
""" % (name, name, IMAGE, command, extra)


def pod_phase(name):
    return lambda: value("pod", name, "{.status.phase}")


# --- the groups -----------------------------------------------------------------------------------------------------


def basics():
    has("version", r"v1\.34\.0\+skiff", "version")
    has("cluster-info", r"control plane.* is running at.*https://|master.* is running at", "cluster-info")
    has("api-versions", r"^apps/v1$.*^v1$", "api-versions")
    has("api-resources", r"^deployments +deploy +apps/v1 +true +Deployment", "api-resources")
    has("api-resources of a group", r"^cronjobs +cj +batch/v1 ", "api-resources", "--api-group=batch")
    lacks("api-resources that are not namespaced", r"^pods ", "api-resources", "--namespaced=false")
    has("api-resources -o wide", r"^pods .*create.*watch", "api-resources", "-o", "wide", "--sort-by=name")
    has("api-resources by verb", r"^bindings$", "api-resources", "--verbs=create", "-o", "name")
    has("create namespace", "namespace/%s created" % NS, "create", "namespace", NS)
    k("config", "set-context", "--current", "--namespace=" + NS)
    until("the namespace gets its ServiceAccount", 0, lambda: k("get", "serviceaccount", "default")[0])
    has("config view", NS, "config", "view", "--minify")
    has("explain", r"KIND: +Deployment.*VERSION: +(apps/)?v1", "explain", "deployment")
    has("explain of a field", r"replicas.*<integer>", "explain", "deployment.spec.replicas")
    has("explain --recursive", r"containers.*livenessProbe.*httpGet.*path\s+<string>", "explain", "pods", "--recursive")
    has("explain of another version", r"VERSION: +(autoscaling/)?v1\b", "explain", "hpa", "--api-version=autoscaling/v1")
    refused("explain of what is not there", r'field "nonsense" does not exist', "explain", "pods.spec.nonsense")
    status, out = k("options")
    report("options", status == 0 and "--kubeconfig" in out, out)


def generators():
    """create of every generator, looked at through the object it makes"""
    has("create configmap from a literal, a file and a directory", "configmap/gen created", "create", "configmap", "gen",
        "--from-literal=a=1", "--from-file=f=" + file("one.txt", "file text\n"))
    equal("  its values", "1 file text", "get", "cm", "gen", "-o", "jsonpath={.data.a} {.data.f}")
    has("create configmap from an env file", "created", "create", "cm", "env", "--from-env-file=" + file("x.env", "A=b\nC=d\n"))
    equal("  its values", "b d", "get", "cm", "env", "-o", "jsonpath={.data.A} {.data.C}")
    has("create secret generic", "secret/gen created", "create", "secret", "generic", "gen", "--from-literal=p=q")
    equal("  its value", "cQ==", "get", "secret", "gen", "-o", "jsonpath={.data.p}")
    has("create secret docker-registry", "secret/reg created", "create", "secret", "docker-registry", "reg",
        "--docker-server=r.example", "--docker-username=u", "--docker-password=p")
    status, out = k("get", "secret", "reg", "-o", r"jsonpath={.type} {.data.\.dockerconfigjson}")
    kind, _, text = out.partition(" ")
    report("  its login", kind == "kubernetes.io/dockerconfigjson" and "r.example" in base64.b64decode(text).decode(), out)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
                    "-keyout", WORK + "/k.pem", "-out", WORK + "/c.pem", "-days", "2"], capture_output=True, check=True)
    has("create secret tls", "secret/tls created", "create", "secret", "tls", "tls", "--cert=" + WORK + "/c.pem", "--key=" + WORK + "/k.pem")
    is_value("  its type", "kubernetes.io/tls", "secret", "tls", "{.type}")
    has("create serviceaccount", "serviceaccount/sa created", "create", "serviceaccount", "sa")
    has("create role", "role.rbac.authorization.k8s.io/r created", "create", "role", "r", "--verb=get,list", "--resource=pods,pods/log")
    is_value("  its rule", '["get","list"] ["pods","pods/log"]', "role", "r", "{.rules[0].verbs} {.rules[0].resources}")
    has("create rolebinding", "rolebinding.rbac.authorization.k8s.io/rb created", "create", "rolebinding", "rb", "--role=r",
        "--serviceaccount=%s:sa" % NS)
    has("create clusterrole", "clusterrole.rbac.authorization.k8s.io/%s created" % NS, "create", "clusterrole", NS, "--verb=get",
        "--resource=nodes", "--resource-name=x")
    has("create clusterrole, aggregated", "created", "create", "clusterrole", NS + "-a", "--aggregation-rule=x/y=z")
    has("create clusterrolebinding", "clusterrolebinding.rbac.authorization.k8s.io/%s created" % NS, "create", "clusterrolebinding", NS,
        "--clusterrole=" + NS, "--user=ann", "--group=devs")
    is_value("  its subjects", "ann devs", "clusterrolebinding", NS, "{.subjects[*].name}")
    has("create deployment", "deployment.apps/gen created", "create", "deployment", "gen", "--image=" + IMAGE, "--replicas=0", "--port=80")
    is_value("  its label and port", "gen 80", "deployment", "gen", "{.spec.selector.matchLabels.app} {.spec.template.spec.containers[0].ports[0].containerPort}")
    has("create job", "job.batch/gen created", "create", "job", "gen", "--image=" + IMAGE, "--", "sh", "-c", "echo done")
    until("  it runs to its end", "1", lambda: value("job", "gen", "{.status.succeeded}"))
    has("create service clusterip", "service/ip created", "create", "service", "clusterip", "ip", "--tcp=80:8080")
    is_value("  its ports", "80 8080", "service", "ip", "{.spec.ports[0].port} {.spec.ports[0].targetPort}")
    has("create service nodeport", "service/np created", "create", "service", "nodeport", "np", "--tcp=80")
    report("  its port", re.fullmatch(r"3\d{4}", value("service", "np", "{.spec.ports[0].nodePort}")))
    has("create service loadbalancer", "service/lb created", "create", "service", "loadbalancer", "lb", "--tcp=80")
    has("create service externalname", "service/ext created", "create", "service", "externalname", "ext", "--external-name=x.example")
    has("create quota", "resourcequota/q created", "create", "quota", "q", "--hard=pods=100,configmaps=50")
    has("create priorityclass", "priorityclass.scheduling.k8s.io/%s created" % NS, "create", "priorityclass", NS, "--value=7", "--description=d")
    has("create ingress", "ingress.networking.k8s.io/i created", "create", "ingress", "i", "--rule=x.example/a*=ip:80,tls=tls")
    is_value("  its path", "/a Prefix ip", "ingress", "i", "{.spec.rules[0].http.paths[0]['path','pathType']} {.spec.rules[0].http.paths[0].backend.service.name}")
    if MINOR >= 21:
        has("create cronjob", "cronjob.batch/cj created", "create", "cronjob", "cj", "--image=" + IMAGE, "--schedule=0 0 1 1 *", "--", "true")
        has("create job from a cronjob", "job.batch/from-cj created", "create", "job", "from-cj", "--from=cronjob/cj")
        until("  it runs to its end", "1", lambda: value("job", "from-cj", "{.status.succeeded}"))
        has("create poddisruptionbudget", "poddisruptionbudget.policy/pdb created", "create", "pdb", "pdb", "--selector=app=none", "--min-available=1")
    if MINOR >= 24:
        status, out = k("create", "token", "sa", "--duration=10m", "--audience=x")
        body = json.loads(base64.urlsafe_b64decode(out.split(".")[1] + "==")) if out.count(".") == 2 else {}
        report("create token", body.get("aud") == ["x"] and body.get("sub") == "system:serviceaccount:%s:sa" % NS, out)
    refused("create what is there", "already exists", "create", "configmap", "gen")
    refused("create with a bad name", "(is invalid|a lowercase RFC 1123)", "create", "configmap", "Bad_Name")
    has("create --dry-run=server keeps nothing", r"created \(server dry run\)", "create", "configmap", "dry", "--dry-run=server")
    refused("  nothing is there", "not found", "get", "configmap", "dry")
    has("create --dry-run=client -o yaml", r"kind: Deployment", "create", "deployment", "dry", "--image=x", "--dry-run=client", "-o", "yaml")
    has("create -f with several documents", "configmap/m1 created.*configmap/m2 created", "create", "-f",
        file("two.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m1}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: m2}\n"))
    has("create of a List", "configmap/l1 created", "create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "l1"}}]}))
    has("create with generateName", "configmap/g-[a-z0-9]{5} created", "create", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: g-}\n")
    if MINOR >= 25:
        refused("create with an unknown field is refused", 'unknown field "dataa"', "create", "-f", "-",
                stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: u}\ndataa: {}\n")
        has("  --validate=warn only warns", 'unknown field "dataa".*configmap/u created', "create", "--validate=warn", "-f", "-",
            stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: u}\ndataa: {}\n")
    else:
        refused("create with an unknown field is refused", 'unknown field "dataa"', "create", "-f", "-",
                stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: u}\ndataa: {}\n")


def workload():
    """what the groups below look at: a Deployment behind a Service, and a plain pod"""
    has("apply creates", "deployment.apps/web created.*service/web created", "apply", "-f", file("web.yaml", deployment("web", 2) + """
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
"""))
    has("rollout status waits until it is there", "successfully rolled out", "rollout", "status", "deployment/web", "--timeout=60s")
    has("create of a pod", "pod/plain created", "create", "-f", file("plain.yaml", pod("plain")))
    has("wait for a condition", "pod/plain condition met", "wait", "--for=condition=Ready", "pod/plain", "--timeout=60s")


def getting():
    has("get", r"^NAME +READY +UP-TO-DATE +AVAILABLE +AGE\nweb +2/2 +2 +2 +\d+s", "get", "deployment", "web")
    has("get -o wide", r"NODE +NOMINATED NODE +READINESS GATES\nplain +1/1 +Running +0 +\d+s +10\.", "get", "pod", "plain", "-o", "wide")
    for short in ("po", "deploy", "rs", "svc", "ep", "cm", "no", "ns", "sa", "ev"):
        has("get " + short, "", "get", short)
    has("get all", r"pod/plain.*service/web.*deployment.apps/web.*replicaset.apps/web-", "get", "all")
    has("get of several kinds", r"deployment.apps/web.*service/web", "get", "deploy,svc")
    has("get TYPE/NAME", "service/web.*pod/plain", "get", "service/web", "pod/plain")
    has("get -o name", r"\Adeployment.apps/web\n\Z", "get", "deploy", "-l", "app=web", "-o", "name")
    status, out = k("get", "deploy", "web", "-o", "json")
    tree = json.loads(out)
    report("get -o json", tree["kind"] == "Deployment" and tree["spec"]["replicas"] == 2 and tree["status"]["readyReplicas"] == 2, out)
    status, out = k("get", "pods", "-o", "json")
    report("get a list -o json", json.loads(out)["kind"] == "List" and len(json.loads(out)["items"]) >= 3, out)
    has("get -o yaml", r"^kind: Deployment$.*^  replicas: 2$", "get", "deploy", "web", "-o", "yaml")
    has("get -o jsonpath", r"\A2\Z", "get", "deploy", "web", "-o", "jsonpath={.spec.replicas}")
    has("get -o jsonpath-as-json", r"\[\s*2\s*\]", "get", "deploy", "web", "-o", "jsonpath-as-json={.spec.replicas}")
    has("get -o jsonpath-file", r"\A2\Z", "get", "deploy", "web", "-o", "jsonpath-file=" + file("p", "{.spec.replicas}"))
    has("get -o custom-columns", r"N +R\nweb +2", "get", "deploy", "web", "-o", "custom-columns=N:.metadata.name,R:.spec.replicas")
    has("get -o custom-columns-file", r"N +R\nweb +2", "get", "deploy", "web", "-o",
        "custom-columns-file=" + file("c", "N R\n.metadata.name .spec.replicas\n"))
    has("get -o go-template", r"\Aweb 2\Z", "get", "deploy", "web", "-o", "go-template={{.metadata.name}} {{.spec.replicas}}")
    has("get -o go-template-file", r"\Aweb\Z", "get", "deploy", "web", "-o", "go-template-file=" + file("t", "{{.metadata.name}}"))
    has("get --show-labels", r"LABELS\nplain .*app=plain", "get", "pod", "plain", "--show-labels")
    has("get -L", r"APP\nplain .* plain$", "get", "pod", "plain", "-L", "app")
    lacks("get --no-headers", "NAME", "get", "pods", "--no-headers")
    has("get --sort-by", r"plain.*web-", "get", "pods", "--sort-by=.metadata.name")
    has("get -l with a set", r"plain", "get", "pods", "-l", "app in (plain,x),app!=web", "--no-headers")
    has("get --field-selector", r"\Apod/plain\n\Z", "get", "pods", "--field-selector=metadata.name=plain,status.phase=Running", "-o", "name")
    has("get -A", r"NAMESPACE +NAME.*\n%s +plain" % NS, "get", "pods", "-A")
    has("get --chunk-size", r"plain.*web-", "get", "pods", "--chunk-size=1", "--sort-by=.metadata.name")
    has("get --raw", r'"kind":"NamespaceList"', "get", "--raw", "/api/v1/namespaces?limit=1")
    has("get --show-kind", r"pod/plain ", "get", "pods", "--show-kind")
    equal("get --ignore-not-found", "", "get", "pod", "nowhere", "--ignore-not-found")
    refused("get what is not there", r'Error from server \(NotFound\): pods "nowhere" not found', "get", "pod", "nowhere")
    refused("get an unknown kind", r"""the server doesn't have a resource type "nonsense\"""", "get", "nonsense")
    refused("get with a bad selector", "(unable to parse requirement|Invalid value|found ')", "get", "pods", "-l", "a in b")
    refused("get with a bad field selector", 'field label not supported: spec.x', "get", "pods", "--field-selector=spec.x=y")
    has("get -f", "web", "get", "-f", WORK + "/web.yaml")
    has("get --server-print=false", "plain", "get", "pod", "plain", "--server-print=false")
    if MINOR >= 24:
        has("get --subresource=status", "readyReplicas: 2", "get", "deploy", "web", "--subresource=status", "-o", "yaml")
        has("get --subresource=scale", r"kind: Scale", "get", "deploy", "web", "--subresource=scale", "-o", "yaml")
    if MINOR >= 21:
        lacks("get -o yaml hides managedFields", "managedFields", "get", "deploy", "web", "-o", "yaml")
        has("get --show-managed-fields", r"managedFields:.*manager: kubectl-client-side-apply.*operation: Update", "get", "deploy", "web",
            "-o", "yaml", "--show-managed-fields")
    w = start("get", "configmaps", "-w", "--output-watch-events")
    time.sleep(1)
    k("create", "configmap", "watched")
    k("label", "configmap", "watched", "x=y")
    k("delete", "configmap", "watched")
    time.sleep(0.5)
    out = end(w)
    report("get -w shows what happens", re.search(r"ADDED +watched.*MODIFIED +watched.*DELETED +watched", out, re.S), out)
    for kind in ("nodes", "namespaces", "events", "pv", "sc", "leases -A", "ingressclasses", "crd", "apiservices", "csidrivers", "hpa", "pdb",
                 "networkpolicies", "endpointslices", "controllerrevisions", "mutatingwebhookconfigurations", "flowschemas",
                 "prioritylevelconfigurations", "validatingadmissionpolicies", "csr", "priorityclasses", "volumeattachments", "limitranges",
                 "podtemplates", "rc", "runtimeclasses", "csinodes"):
        if kind in ("hpa", "pdb", "flowschemas", "prioritylevelconfigurations", "endpointslices") and MINOR < 21:
            continue
        status, out = k("get", *kind.split())
        report("get " + kind, status == 0, out)


EVERY_KIND = """
apiVersion: v1
kind: LimitRange
metadata: {name: d}
spec: {limits: [{type: Container, default: {cpu: 3}, defaultRequest: {cpu: 1m}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: d}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: d}
spec: {replicas: 0, serviceName: d, selector: {matchLabels: {a: d}}, template: {metadata: {labels: {a: d}}, spec: {containers: [{name: c, image: x}]}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: d}
spec: {selector: {matchLabels: {a: e}}, template: {metadata: {labels: {a: e}}, spec: {nodeSelector: {no: where}, containers: [{name: c, image: x}]}}}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: d}
spec: {replicas: 0, selector: {a: f}, template: {metadata: {labels: {a: f}}, spec: {containers: [{name: c, image: x}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: d}
spec: {schedule: "0 0 1 1 *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: d}
spec: {storageClassName: nowhere, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: d}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: d}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: d}, minReplicas: 1, maxReplicas: 2, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]}
"""


def describing():
    has("describe pod", r"^Name: +plain.*^Node: .*^Containers:.*Image: +%s.*^Conditions:.*Ready +True.*^Events:.*Started" % IMAGE, "describe", "pod", "plain")
    has("describe deployment", r"^Replicas: +2 desired \| 2 updated \| 2 total \| 2 available.*^NewReplicaSet: +web-.*ScalingReplicaSet", "describe", "deploy", "web")
    has("describe replicaset", r"^Controlled By: +Deployment/web.*SuccessfulCreate", "describe", "rs", "-l", "app=web")
    has("describe service", r"^IP: +10\.96\..*^TargetPort: +80/TCP.*^Endpoints: +10\.", "describe", "svc", "web")
    has("describe node", r"^Conditions:.*Ready +True.*^Capacity:.*cpu:.*^System Info:.*^Non-terminated Pods:.*plain.*^Allocated resources:", "describe", "node")
    has("describe namespace", r"^Status: +Active", "describe", "ns", NS)
    has("describe configmap", r"^a:\n----\n1", "describe", "cm", "gen")
    has("describe secret hides the value", r"^p: +1 bytes", "describe", "secret", "gen")
    has("describe serviceaccount", r"^Name: +sa", "describe", "sa", "sa")
    has("describe role", r"pods/log +\[\] +\[\] +\[get list\]", "describe", "role", "r")
    has("describe rolebinding", r"ServiceAccount +sa +%s" % NS, "describe", "rolebinding", "rb")
    has("describe clusterrole", r"nodes +\[\] +\[x\] +\[get\]", "describe", "clusterrole", NS)
    has("describe clusterrolebinding", r"User +ann", "describe", "clusterrolebinding", NS)
    has("describe job", r"^Completions: +1.*1 Succeeded", "describe", "job", "gen")
    has("describe quota", r"configmaps +\d+ +50", "describe", "quota", "q")
    has("describe priorityclass", r"^Value: +7", "describe", "pc", NS)
    k("apply", "-f", file("every.yaml", EVERY_KIND))
    has("describe limitrange", r"Container +cpu +- +- +1m +3", "describe", "limitrange", "d")
    has("describe networkpolicy", r"PodSelector: +app=web.*To Port: 80/TCP", "describe", "netpol", "d")
    has("describe statefulset", r"^Replicas: +0 desired", "describe", "sts", "d")
    has("describe daemonset", r"^Desired Number of Nodes Scheduled: 0", "describe", "ds", "d")
    has("describe replicationcontroller", r"^Replicas: +0 current / 0 desired", "describe", "rc", "d")
    has("describe persistentvolumeclaim", r"^Status: +Pending", "describe", "pvc", "d")
    has("describe endpoints", r"Addresses: +10\.", "describe", "endpoints", "web")
    has("describe lease", r"Holder Identity", "describe", "lease", "-n", "kube-node-lease")
    if MINOR >= 21:
        has("describe ingress", r"x\.example.*\n.*/a +ip:80", "describe", "ingress", "i")
        has("describe endpointslice", r"Addresses: +10\.", "describe", "endpointslice", "-l", "kubernetes.io/service-name=web")
        has("describe cronjob", r"^Schedule: +0 0 1 1 \*", "describe", "cronjob", "d")
        has("describe poddisruptionbudget", r"Min available: +1", "describe", "pdb", "d")
    if MINOR >= 26:
        has("describe hpa", r"resource cpu on pods", "describe", "hpa", "d")
    refused("describe what is not there", "not found", "describe", "pod", "nowhere")


def changing():
    manifest = WORK + "/web.yaml"
    has("apply again changes nothing", "deployment.apps/web unchanged.*service/web unchanged", "apply", "-f", manifest)
    text = open(manifest).read()
    has("apply changes", "deployment.apps/web configured", "apply", "-f", file("web3.yaml", text.replace("replicas: 2", "replicas: 3")))
    has("apply view-last-applied", "replicas: 3", "apply", "view-last-applied", "deployment/web")
    has("apply set-last-applied", "configured", "apply", "set-last-applied", "-f", manifest)
    k("apply", "-f", manifest)
    has("apply --dry-run=server", r"configured \(server dry run\)", "apply", "--dry-run=server", "-f", WORK + "/web3.yaml")
    is_value("  nothing has changed", "2", "deploy", "web", "{.spec.replicas}")
    status, out = k("diff", "-f", WORK + "/web3.yaml")
    report("diff", status == 1 and "-  replicas: 2" in out and "+  replicas: 3" in out, "%d %s" % (status, out))
    status, out = k("diff", "-f", manifest)
    report("diff without a difference", status == 0 and out.strip() == "", "%d %s" % (status, out))
    both = file("prune.yaml", "".join("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: prune%d, labels: {prune: me}}\n" % i for i in (1, 2)))
    k("apply", "-f", both)
    has("apply --prune", "configmap/prune2 pruned", "apply", "--prune", "-l", "prune=me", "-f",
        file("prune1.yaml", open(both).read().split("---\n")[1]), *(["--prune-whitelist=core/v1/ConfigMap"] if MINOR < 26 else ["--prune-allowlist=core/v1/ConfigMap"]))
    # server-side
    ssa = lambda data, *more: k("apply", "--server-side", "-f", "-", *more, stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ssa}\ndata: %s\n" % data)
    status, out = ssa("{a: '1', b: '1'}", "--field-manager=one")
    report("apply --server-side", status == 0 and "configmap/ssa serverside-applied" in out, out)
    status, out = ssa("{a: '2'}", "--field-manager=two")
    report("  a conflict names field and manager", status != 0 and re.search(r'conflict with "one".*\.data\.a', out, re.S), out)
    status, out = ssa("{a: '2'}", "--field-manager=two", "--force-conflicts")
    report("  --force-conflicts takes it", status == 0 and value("cm", "ssa", "{.data}") == '{"a":"2","b":"1"}', out)
    status, out = ssa("{}", "--field-manager=one")
    report("  what a manager no longer sends goes", status == 0 and value("cm", "ssa", "{.data}") == '{"a":"2"}', value("cm", "ssa", "{.data}"))
    # edit, patch
    script = file("editor", "#!/bin/sh\nsed -i 's/^  a: .*/  a: edited/' \"$1\"\n")
    os.chmod(script, 0o755)
    has("edit", "configmap/gen edited", "edit", "cm", "gen", env={"KUBE_EDITOR": script})
    is_value("  its value", "edited", "cm", "gen", "{.data.a}")
    script = file("editor", "#!/bin/sh\ntrue\n")
    has("edit without a change", "no changes made|Edit cancelled", "edit", "cm", "gen", env={"KUBE_EDITOR": script})
    has("patch, strategic", "deployment.apps/web patched", "patch", "deploy", "web", "-p",
        '{"spec":{"template":{"spec":{"containers":[{"name":"main","env":[{"name":"P","value":"1"}]}]}}}}')
    is_value("  the container kept its image", IMAGE, "deploy", "web", "{.spec.template.spec.containers[0].image}")
    has("patch, merge", "patched", "patch", "cm", "gen", "--type=merge", "-p", '{"data":{"m":"2","f":null}}')
    is_value("  its values", "2", "cm", "gen", "{.data.m}{.data.f}")
    has("patch, json", "patched", "patch", "cm", "gen", "--type=json", "-p", '[{"op":"test","path":"/data/m","value":"2"},{"op":"move","from":"/data/m","path":"/data/n"}]')
    is_value("  its values", "2", "cm", "gen", "{.data.n}{.data.m}")
    refused("patch, json, with a failing test", "(testing path|test failed|the server rejected our request)", "patch", "cm", "gen", "--type=json", "-p",
            '[{"op":"test","path":"/data/n","value":"3"}]')
    has("patch that changes nothing", r"patched \(no change\)", "patch", "cm", "gen", "--type=merge", "-p", '{"data":{"n":"2"}}')
    if MINOR >= 24:
        has("patch --subresource=status", "patched", "patch", "deploy", "gen", "--subresource=status", "--type=merge", "-p", '{"status":{"collisionCount":7}}')
    has("label", "configmap/gen labeled", "label", "cm", "gen", "l=1")
    refused("label that is there", "--overwrite is false", "label", "cm", "gen", "l=2")
    has("label --overwrite", "labeled", "label", "--overwrite", "cm", "gen", "l=2")
    has("label --list", "l=2", "label", "cm", "gen", "--list")
    has("label, removed", r"(unlabeled|labeled)", "label", "cm", "gen", "l-")
    is_value("  it is gone", "", "cm", "gen", "{.metadata.labels.l}")
    has("annotate", "configmap/gen annotated", "annotate", "cm", "gen", "n=1")
    has("annotate --resource-version of another time", "", "annotate", "cm", "gen", "n=2", "--overwrite")
    is_value("  its value", "2", "cm", "gen", "{.metadata.annotations.n}")
    has("replace", "configmap/l1 replaced", "replace", "-f", file("r.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: l1}\ndata: {r: '1'}\n"))
    uid = value("cm", "l1", "{.metadata.uid}")
    has("replace --force", "configmap/l1 replaced", "replace", "--force", "-f", WORK + "/r.yaml")
    report("  it is another object", value("cm", "l1", "{.metadata.uid}") not in ("", uid))
    refused("replace of an old version", "the object has been modified", "replace", "-f",
            file("old.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: l1, resourceVersion: '1'}\n"))
    # set
    has("set env", "env updated", "set", "env", "deploy/gen", "B=b")
    has("set env --list", "B=b", "set", "env", "deploy/gen", "--list")
    has("set env from a ConfigMap", "env updated", "set", "env", "deploy/gen", "--from=configmap/env")
    has("set image", "image updated", "set", "image", "deploy/gen", "*=skiff/guestbook:2")
    has("set resources", "resource requirements updated", "set", "resources", "deploy/gen", "--limits=cpu=200m,memory=32Mi")
    has("set serviceaccount", "serviceaccount updated", "set", "serviceaccount", "deploy/gen", "sa")
    has("set selector", "selector updated", "set", "selector", "svc/ip", "app=gen")
    has("set subject", "subjects updated", "set", "subject", "rolebinding", "rb", "--user=bob")
    equal("  all of it is there", "skiff/guestbook:2 200m sa b", "get", "deploy", "gen", "-o",
          "jsonpath={.spec.template.spec.containers[0].image} {.spec.template.spec.containers[0].resources.limits.cpu} {.spec.template.spec.serviceAccountName} {.spec.template.spec.containers[0].env[?(@.name=='B')].value}")
    os.makedirs(WORK + "/kust", exist_ok=True)
    file("kust/kustomization.yaml", "resources: [cm.yaml]\nnamePrefix: kz-\n")
    file("kust/cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n")
    has("kustomize", "name: kz-m", "kustomize", WORK + "/kust")
    has("apply -k", "configmap/kz-m created", "apply", "-k", WORK + "/kust")


def rollouts():
    has("set image starts a rollout", "image updated", "set", "image", "deploy/web", "main=skiff/guestbook:2")
    has("rollout status", "successfully rolled out", "rollout", "status", "deploy/web", "--timeout=60s")
    has("rollout history", r"REVISION +CHANGE-CAUSE\n\d+ ", "rollout", "history", "deploy/web")
    revision = value("deploy", "web", r"{.metadata.annotations.deployment\.kubernetes\.io/revision}")
    has("rollout history of one", "skiff/guestbook:2", "rollout", "history", "deploy/web", "--revision=" + revision)
    has("rollout undo", "rolled back", "rollout", "undo", "deploy/web")
    has("  it is done", "successfully rolled out", "rollout", "status", "deploy/web", "--timeout=60s")
    is_value("  its image", IMAGE, "deploy", "web", "{.spec.template.spec.containers[0].image}")
    has("rollout pause", "paused", "rollout", "pause", "deploy/web")
    refused("  a paused one can't be undone", "paused", "rollout", "undo", "deploy/web")
    has("rollout resume", "resumed", "rollout", "resume", "deploy/web")
    has("rollout restart", "restarted", "rollout", "restart", "deploy/web")
    has("  it is done", "successfully rolled out", "rollout", "status", "deploy/web", "--timeout=60s")
    has("scale", "deployment.apps/web scaled", "scale", "deploy/web", "--replicas=3")
    refused("scale with another count than expected", "[Ee]xpected replicas to be 7", "scale", "deploy/web", "--replicas=1", "--current-replicas=7")
    if MINOR >= 23:
        has("wait for a value", "condition met", "wait", "--for=jsonpath={.status.readyReplicas}=3", "deploy/web", "--timeout=60s")
    k("scale", "deploy/web", "--replicas=2")
    has("autoscale", "autoscaled", "autoscale", "deploy", "gen", "--min=1", "--max=3", "--cpu-percent=50")
    is_value("  its limits", "1 3", "hpa", "gen", "{.spec.minReplicas} {.spec.maxReplicas}")
    has("expose a deployment", "service/exposed exposed", "expose", "deploy", "web", "--port=8080", "--target-port=80", "--name=exposed")
    is_value("  its selector", "web", "svc", "exposed", "{.spec.selector.app}")
    has("expose a pod", "exposed", "expose", "pod", "plain", "--port=80", "--name=plain")
    has("delete hpa", "deleted", "delete", "hpa", "gen", "d")


def running():
    has("run", "pod/ran created", "run", "ran", "--image=" + IMAGE, "--restart=Never", "--labels=a=b", "--env=X=y", "--", "sh", "-c", "echo out $X; sleep 1; echo end")
    until("  it ends", "Succeeded", pod_phase("ran"))
    equal("logs", "out y\nend", "logs", "ran")
    equal("logs --tail", "end", "logs", "ran", "--tail=1")
    has("logs --timestamps", r"^\d{4}-\d\d-\d\dT.*Z out y", "logs", "ran", "--timestamps")
    equal("logs --limit-bytes", "out", "logs", "ran", "--limit-bytes=3")
    equal("logs --since of nothing", "", "logs", "ran", "--since-time=2100-01-01T00:00:00Z")
    k("run", "talk", "--image=" + IMAGE, "--restart=Never", "--", "sh", "-c", "for i in 1 2 3 4 5 6; do echo line $i; sleep 0.5; done")
    until("a pod that talks runs", lambda p: p in ("Running", "Succeeded"), pod_phase("talk"))
    status, out = k("logs", "-f", "talk")
    report("logs -f follows to the end", status == 0 and out.split("\n")[:6] == ["line %d" % i for i in range(1, 7)], out)
    has("logs of a deployment", "", "logs", "deploy/web", "--all-containers")
    has("logs -l --prefix", "", "logs", "-l", "app=web", "--prefix")
    refused("logs of what is not there", "not found", "logs", "nowhere")
    refused("logs of an unknown container", "container nonsense is not valid for pod ran", "logs", "ran", "-c", "nonsense")
    refused("logs --previous without one", "previous terminated container", "logs", "plain", "--previous")
    has("wait for deletion", "", "delete", "pod", "talk", "--wait=false")
    if MINOR >= 26:
        has("  it waits", "(condition met|^$)", "wait", "--for=delete", "pod/talk", "--timeout=30s")
        has("events", r"LAST SEEN +TYPE +REASON.*Started", "events", "--for=pod/ran")
        has("events --types", r"(No events found|LAST SEEN)", "events", "--types=Warning")
    has("get events", r"Normal +Started +pod/ran", "get", "events", "--field-selector=involvedObject.name=ran")


def streams():
    equal("exec", "hello", "exec", "plain", "--", "echo", "hello")
    equal("exec with input", "from outside", "exec", "-i", "plain", "--", "cat", stdin="from outside")
    status, out = k("exec", "plain", "--", "sh", "-c", "echo err >&2; exit 7")
    report("exec passes the exit code on", status == 7 and "err" in out, "%d %s" % (status, out))
    equal("exec into a deployment", "ok", "exec", "deploy/web", "--", "echo", "ok")
    refused("exec of a missing program", "(no such file|not found|executable file)", "exec", "plain", "--", "nonsense")
    p = subprocess.run(["script", "-qec", "%s exec -it plain -- sh -c 'test -t 0 && stty size && echo a-tty'" % KUBECTL, "/dev/null"],
                       text=True, capture_output=True, env=ENV, stdin=subprocess.DEVNULL, timeout=60)
    report("exec -it has a terminal", "a-tty" in p.stdout, p.stdout)
    file("up.txt", "copied text\n")
    has("cp to a pod", "", "cp", WORK + "/up.txt", "plain:/tmp/up.txt")
    equal("  it is there", "copied text", "exec", "plain", "--", "cat", "/tmp/up.txt")
    has("cp from a pod", "", "cp", "plain:/tmp/up.txt", WORK + "/down.txt")
    report("  it is the same", os.path.exists(WORK + "/down.txt") and open(WORK + "/down.txt").read() == "copied text\n")
    os.makedirs(WORK + "/tree/a/b", exist_ok=True)
    file("tree/a/b/c", "deep")
    has("cp of a folder", "", "cp", WORK + "/tree", "plain:/tmp/tree")
    equal("  it is there", "deep", "exec", "plain", "--", "cat", "/tmp/tree/a/b/c")
    k("create", "-f", file("att.yaml", pod("att", '[sh, -c, "while read l; do echo got $l; done"]', ", stdin: true, stdinOnce: true")))
    k("wait", "--for=condition=Ready", "pod/att", "--timeout=60s")
    a = start("attach", "-i", "att", stdin=subprocess.PIPE)
    try:
        out = a.communicate("ping\n", timeout=30)[0]
    except subprocess.TimeoutExpired:
        a.kill()
        out = a.communicate()[0]
    report("attach -i", "got ping" in out, out)
    k("create", "-f", file("http.yaml", pod("http", '[sh, -c, "mkdir /w; echo served >/w/index.html; exec httpd -f -p 8080 -h /w"]', ", ports: [{containerPort: 8080}]")))
    k("wait", "--for=condition=Ready", "pod/http", "--timeout=60s")
    p = start("port-forward", "pod/http", ":8080", "--address=127.0.0.1")
    line = p.stdout.readline()
    port = re.search(r"127\.0\.0\.1:(\d+) -> 8080", line)
    report("port-forward", port, line)
    if port:
        out = subprocess.run(["curl", "-sS", "--max-time", "10", "http://127.0.0.1:%s/" % port.group(1)], capture_output=True, text=True)
        report("  the page through it", out.stdout.strip() == "served", out)
    end(p)
    p = start("proxy", "--port=0")
    line = p.stdout.readline()
    port = re.search(r"127\.0\.0\.1:(\d+)", line)
    report("proxy", port, line)
    if port:
        for text, path, wanted in (("the API", "/api/v1/namespaces/" + NS, '"kind":"Namespace"'),
                                   ("a pod", "/api/v1/namespaces/%s/pods/http:8080/proxy/" % NS, "served")):
            out = subprocess.run(["curl", "-sS", "--max-time", "10", "http://127.0.0.1:%s%s" % (port.group(1), path)], capture_output=True, text=True)
            report("  %s through it" % text, wanted in out.stdout.replace('": "', '":"'), out)
    end(p)
    p = subprocess.run(["script", "-qec", "%s run once --rm -it --restart=Never --image=%s -- echo from-run" % (KUBECTL, IMAGE), "/dev/null"],
                       text=True, capture_output=True, env=ENV, stdin=subprocess.DEVNULL, timeout=90)
    report("run --rm -it", "from-run" in p.stdout and 'pod "once" deleted' in p.stdout, p.stdout)
    if MINOR >= 25:
        has("debug adds a container", "", "debug", "plain", "--image=" + IMAGE, "--container=dbg", "--", "sh", "-c", "echo debugging")
        until("  it has run", lambda out: out.strip() == "debugging", lambda: k("logs", "plain", "-c", "dbg")[1])
        has("debug copies a pod", "", "debug", "plain", "--image=" + IMAGE, "--copy-to=plain-copy", "--container=dbg", "--", "sleep", "1000")
        has("  the copy has both containers", r"\A(main dbg|dbg main)\Z", "get", "pod", "plain-copy", "-o", "jsonpath={.spec.containers[*].name}")


def access():
    equal("auth can-i", "yes", "auth", "can-i", "create", "pods")
    status, out = k("auth", "can-i", "list", "pods", "--as=system:serviceaccount:%s:sa" % NS)
    report("auth can-i as another", status == 0 and out.strip() == "yes", out)
    status, out = k("auth", "can-i", "delete", "pods", "--as=system:serviceaccount:%s:sa" % NS)
    report("auth can-i says no", status == 1 and out.strip().endswith("no"), out)
    has("auth can-i --list", r"pods/log +\[\] +\[\] +\[get list\]", "auth", "can-i", "--list", "--as=system:serviceaccount:%s:sa" % NS)
    refused("a request without the right", r'pods "plain" is forbidden: User "system:serviceaccount:%s:sa" cannot delete resource "pods" in API group "" in the namespace "%s"' % (NS, NS),
            "delete", "pod", "plain", "--as=system:serviceaccount:%s:sa" % NS)
    has("auth reconcile", "reconciled", "auth", "reconcile", "-f", file("role.yaml",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: rec, namespace: %s}\nrules: [{apiGroups: [''], resources: [pods], verbs: [get]}]\n" % NS))
    if MINOR >= 27:
        has("auth whoami", r"Username +skiff:admin", "auth", "whoami")
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=ann/O=devs", "-keyout", WORK + "/u.key",
                    "-out", WORK + "/u.csr"], capture_output=True, check=True)
    request = base64.b64encode(open(WORK + "/u.csr", "rb").read()).decode()
    csr = "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {name: %s}\nspec: {request: %s, signerName: kubernetes.io/kube-apiserver-client, usages: [client auth]}\n"
    k("create", "-f", "-", stdin=csr % (NS, request))
    k("create", "-f", "-", stdin=csr % (NS + "-no", request))
    has("certificate approve", "approved", "certificate", "approve", NS)
    until("  it is issued", lambda text: text != "", lambda: value("csr", NS, "{.status.certificate}"))
    has("certificate deny", "denied", "certificate", "deny", NS + "-no")
    has("get csr", r"Approved,Issued", "get", "csr", NS)


def nodes():
    node = k("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")[1]
    has("cordon", "cordoned", "cordon", node)
    has("  it shows", "Ready,SchedulingDisabled", "get", "node", node)
    has("uncordon", "uncordoned", "uncordon", node)
    has("taint", "tainted", "taint", "node", node, "t=v:PreferNoSchedule")
    has("taint, removed", "untainted", "taint", "node", node, "t-")
    refused("drain refuses pods of nobody", "(cannot delete Pods (declare|not managed)|--force)", "drain", node, "--ignore-daemonsets", "--delete-emptydir-data",
            "--pod-selector=app=plain", "--timeout=20s")
    has("drain evicts", r"(evicted|drained)", "drain", node, "--ignore-daemonsets", "--force", "--pod-selector=app=plain", "--timeout=60s")
    refused("  the pod is gone", "not found", "get", "pod", "plain")
    has("  the node takes none", "SchedulingDisabled", "get", "node", node)
    k("uncordon", node)
    has("label of a node", "labeled", "label", "node", node, "a/b=c")
    k("label", "node", node, "a/b-")


def deleting():
    has("delete --dry-run=server", r"deleted \(server dry run\)", "delete", "cm", "gen", "--dry-run=server")
    has("delete several", "deleted", "delete", "cm", "m1", "m2")
    has("delete --cascade=orphan", "deleted", "delete", "deploy", "web", "--cascade=orphan")
    has("  its ReplicaSets stay", "web-", "get", "rs", "-l", "app=web")
    has("delete -l", "deleted", "delete", "rs", "-l", "app=web")
    until("  its pods go", "", lambda: k("get", "pods", "-l", "app=web", "-o", "name")[1].strip())
    has("delete -f", "deleted", "delete", "-f", WORK + "/every.yaml", "--ignore-not-found")
    has("delete --now", "deleted", "delete", "pod", "http", "--now")
    has("delete --force", "force deleted|deleted", "delete", "pod", "att", "--force", "--grace-period=0")
    refused("delete what is not there", "not found", "delete", "pod", "nowhere")
    has("delete --all", "deleted", "delete", "cm", "--all")
    has("delete --cascade=foreground", "deleted", "delete", "deploy", "gen", "--cascade=foreground")
    for kind in ("clusterrole", "clusterrolebinding", "priorityclass", "csr"):
        k("delete", kind, NS, NS + "-a", NS + "-no", "--ignore-not-found")
    has("delete namespace", "deleted", "delete", "namespace", NS, timeout=120)
    refused("  it is gone with everything in it", "not found", "get", "namespace", NS)


def main():
    shutil.copy(os.environ["KUBECONFIG"], WORK + "/config")
    for group in (basics, generators, workload, getting, describing, changing, rollouts, running, streams, access, nodes, deleting):
        started = time.time()
        try:
            group()
        except Exception as e:  # the group's other checks are lost: that is a failure, and the rest goes on
            report("%s: broke off" % group.__name__, False, repr(e))
        print("  %s: %s took %.1f s" % (NAME, group.__name__, time.time() - started), flush=True)
    shutil.rmtree(WORK, ignore_errors=True)
    print("  %s: %d checks, %d failed" % (NAME, checks, failures))
    sys.exit(1 if failures else 0)


main()

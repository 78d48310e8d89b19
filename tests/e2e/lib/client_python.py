"""What programs do with python3-kubernetes, against the cluster of KUBECONFIG."""
import base64, sys, threading, time
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream

failures = 0
NS = "python-client"
IMAGE = "skiff/guestbook:1"


def check(text, good, shown=""):
    global failures
    if not good:
        failures += 1
    print("%s python: %s%s" % ("ok" if good else "not ok", text, "" if good else " -- got: %s" % (shown,)), flush=True)
    return good


def raises(text, status, fn, *args, **named):
    try:
        got = fn(*args, **named)
    except ApiException as e:
        return check(text, e.status == status, "%s %s" % (e.status, e.body))
    check(text, False, got)


def until(text, probe, seconds=60):
    deadline = time.time() + seconds
    while time.time() < deadline:
        got = probe()
        if got:
            return check(text, True)
        time.sleep(0.1)
    check(text, False, got)


config.load_kube_config()
core, apps, batch, policy = client.CoreV1Api(), client.AppsV1Api(), client.BatchV1Api(), client.PolicyV1Api()


def pod(name, command, **more):
    return client.V1Pod(metadata=client.V1ObjectMeta(name=name, labels={"app": name}), spec=client.V1PodSpec(
        termination_grace_period_seconds=1, containers=[client.V1Container(name="main", image=IMAGE, command=command, **more)]))


def objects():
    check("version", client.VersionApi().get_code().git_version.startswith("v1.34"))
    check("API groups", "apps" in [g.name for g in client.ApisApi().get_api_versions().groups])
    ns = core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NS)))
    check("create a namespace", ns.metadata.uid and ns.status.phase == "Active", ns)
    until("its ServiceAccount", lambda: any(a.metadata.name == "default" for a in core.list_namespaced_service_account(NS).items))
    cm = core.create_namespaced_config_map(NS, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="c"), data={"a": "1"}))
    raises("create it again", 409, core.create_namespaced_config_map, NS, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="c")))
    raises("get what is not there", 404, core.read_namespaced_config_map, "nowhere", NS)
    cm.data["b"] = "2"
    newer = core.replace_namespaced_config_map("c", NS, cm)
    check("replace", newer.data == {"a": "1", "b": "2"} and newer.metadata.resource_version != cm.metadata.resource_version, newer)
    raises("replace of the old version", 409, core.replace_namespaced_config_map, "c", NS, cm)
    check("patch with a dict is a strategic or merge patch", core.patch_namespaced_config_map("c", NS, {"data": {"a": None, "c": "3"}}).data == {"b": "2", "c": "3"})
    check("patch with a list is a JSON patch", core.patch_namespaced_config_map(
        "c", NS, [{"op": "replace", "path": "/data/b", "value": "x"}]).data == {"b": "x", "c": "3"})
    check("dry run", core.create_namespaced_config_map(NS, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="dry")), dry_run="All").metadata.uid)
    raises("  keeps nothing", 404, core.read_namespaced_config_map, "dry", NS)
    raises("a bad object", 422, core.create_namespaced_service, NS, {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 70000}]}})
    secret = core.create_namespaced_secret(NS, client.V1Secret(metadata=client.V1ObjectMeta(name="s"), string_data={"p": "q"}))
    check("a secret", base64.b64decode(secret.data["p"]) == b"q", secret)
    for i in range(25):
        core.create_namespaced_config_map(NS, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="p%02d" % i, labels={"page": "y"})))
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(NS, label_selector="page=y", limit=10, _continue=token)
        names += [i.metadata.name for i in page.items]
        token = page.metadata._continue
        if not token:
            break
    check("a list in pages", names == ["p%02d" % i for i in range(25)], names)
    core.delete_collection_namespaced_config_map(NS, label_selector="page=y")
    check("delete a collection", core.list_namespaced_config_map(NS, label_selector="page=y").items == [])
    check("selectors", [p.metadata.name for p in core.list_namespaced_config_map(NS, field_selector="metadata.name=c").items] == ["c"])


def watching():
    seen, w = [], watch.Watch()
    version = core.list_namespaced_config_map(NS).metadata.resource_version

    def run():
        for event in w.stream(core.list_namespaced_config_map, NS, resource_version=version, timeout_seconds=30):
            if event["object"].metadata.name == "w":
                seen.append((event["type"], event["object"].data))
            if event["type"] == "DELETED":
                w.stop()
    thread = threading.Thread(target=run)
    thread.start()
    core.create_namespaced_config_map(NS, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="w"), data={"k": "1"}))
    core.patch_namespaced_config_map("w", NS, {"data": {"k": "2"}})
    core.delete_namespaced_config_map("w", NS)
    thread.join(35)
    check("watch", seen == [("ADDED", {"k": "1"}), ("MODIFIED", {"k": "2"}), ("DELETED", {"k": "2"})], seen)
    events = [e["object"].metadata.name for e in watch.Watch().stream(core.list_namespaced_config_map, NS, timeout_seconds=1)]
    check("watch from the start", "c" in events, events)
    try:
        for _ in watch.Watch().stream(core.list_namespaced_config_map, NS, resource_version="1", timeout_seconds=5):
            pass
        check("a watch of an old version ends with 410 or goes on", True)
    except ApiException as e:
        check("a watch of an old version ends with 410 or goes on", e.status == 410, e)


def workloads():
    utils.create_from_dict(client.ApiClient(), {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": NS},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
            "terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": IMAGE, "command": ["sleep", "1000"]}]}}}})
    until("a deployment is ready", lambda: apps.read_namespaced_deployment("web", NS).status.ready_replicas == 2)
    check("scale", apps.patch_namespaced_deployment_scale("web", NS, {"spec": {"replicas": 1}}).spec.replicas == 1)
    check("read the scale", apps.read_namespaced_deployment_scale("web", NS).spec.replicas == 1)
    until("it is scaled", lambda: apps.read_namespaced_deployment_status("web", NS).status.replicas == 1)
    batch.create_namespaced_job(NS, client.V1Job(metadata=client.V1ObjectMeta(name="j"), spec=client.V1JobSpec(template=client.V1PodTemplateSpec(
        spec=client.V1PodSpec(restart_policy="Never", containers=[client.V1Container(name="c", image=IMAGE, command=["echo", "from the job"])])))))
    until("a job succeeds", lambda: batch.read_namespaced_job("j", NS).status.succeeded == 1)
    name = core.list_namespaced_pod(NS, label_selector="job-name=j").items[0].metadata.name
    check("logs", core.read_namespaced_pod_log(name, NS) == "from the job\n")
    batch.delete_namespaced_job("j", NS, propagation_policy="Foreground")
    until("a job and its pods are deleted in the foreground", lambda: core.list_namespaced_pod(NS, label_selector="job-name=j").items == [])
    core.create_namespaced_pod(NS, pod("talk", ["sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.3; done"]))
    until("a pod that talks", lambda: core.read_namespaced_pod("talk", NS).status.phase in ("Running", "Succeeded"))
    lines = list(watch.Watch().stream(core.read_namespaced_pod_log, "talk", NS))
    check("logs, followed", lines == ["line 1", "line 2", "line 3"], lines)
    evicted = client.V1Eviction(metadata=client.V1ObjectMeta(name="talk", namespace=NS))
    core.create_namespaced_pod_eviction("talk", NS, evicted)
    until("an eviction", lambda: "talk" not in [p.metadata.name for p in core.list_namespaced_pod(NS).items])


def streams():
    core.create_namespaced_pod(NS, pod("box", ["sh", "-c", "mkdir /w; echo served >/w/index.html; exec httpd -f -p 8080 -h /w"]))
    until("a pod runs", lambda: core.read_namespaced_pod("box", NS).status.phase == "Running")
    out = stream(core.connect_get_namespaced_pod_exec, "box", NS, command=["echo", "hello"], stdout=True, stderr=True, stdin=False, tty=False)
    check("exec", out == "hello\n", out)
    s = stream(core.connect_get_namespaced_pod_exec, "box", NS, command=["sh"], stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False)
    s.write_stdin("echo in; echo err >&2; exit 3\n")
    s.run_forever(timeout=20)
    check("exec with input, both outputs and the exit code", (s.read_stdout(), s.read_stderr(), s.returncode) == ("in\n", "err\n", 3))
    pf = portforward(core.connect_get_namespaced_pod_portforward, "box", NS, ports="8080")
    sock = pf.socket(8080)
    sock.setblocking(True)
    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
    data = b""
    while True:
        part = sock.recv(4096)
        if not part:
            break
        data += part
    check("port-forward", b"served" in data and pf.error(8080) is None, data)
    page = core.connect_get_namespaced_pod_proxy("box:8080", NS)
    check("proxy", page.strip() == "served", page)


def dynamics():
    d = dynamic.DynamicClient(client.ApiClient())
    api = d.resources.get(api_version="v1", kind="ConfigMap")
    check("dynamic create", api.create(body={"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dyn"}, "data": {"x": "1"}}, namespace=NS).data.x == "1")
    # (its own server_side_apply can't send a dict as YAML)
    text = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dyn"}, "data": {"y": "2"}}'
    got = client.ApiClient().call_api("/api/v1/namespaces/%s/configmaps/dyn" % NS, "PATCH", query_params=[("fieldManager", "py")], body=text,
                                      header_params={"Content-Type": "application/apply-patch+yaml", "Accept": "application/json"},
                                      response_type="V1ConfigMap", auth_settings=["BearerToken"])[0]
    check("server-side apply", got.data == {"x": "1", "y": "2"} and "py" in [m.manager for m in got.metadata.managed_fields], got)
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "toys.py.example"}, "spec": {
        "group": "py.example", "scope": "Namespaced", "names": {"plural": "toys", "kind": "Toy"}, "versions": [{"name": "v1", "served": True, "storage": True,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}}}}}}}]}}
    ext = client.ApiextensionsV1Api()
    ext.create_custom_resource_definition(crd)
    until("a CRD is established", lambda: any(c.type == "Established" and c.status == "True"
                                              for c in ext.read_custom_resource_definition("toys.py.example").status.conditions or []))
    custom = client.CustomObjectsApi()
    toy = {"apiVersion": "py.example/v1", "kind": "Toy", "metadata": {"name": "t"}, "spec": {"size": 2}}
    check("a custom object", custom.create_namespaced_custom_object("py.example", "v1", NS, "toys", toy)["spec"] == {"size": 2})
    toy["spec"]["size"] = 0
    toy["metadata"]["name"] = "u"
    raises("a bad custom object", 422, custom.create_namespaced_custom_object, "py.example", "v1", NS, "toys", toy)
    check("patch it", custom.patch_namespaced_custom_object("py.example", "v1", NS, "toys", "t", {"spec": {"size": 5}})["spec"]["size"] == 5)
    check("list them", len(custom.list_namespaced_custom_object("py.example", "v1", NS, "toys")["items"]) == 1)
    ext.delete_custom_resource_definition("toys.py.example")
    until("the CRD goes", lambda: "toys.py.example" not in [c.metadata.name for c in ext.list_custom_resource_definition().items])


for group in (objects, watching, workloads, streams, dynamics):
    try:
        group()
    except Exception as e:  # the rest of the group is lost: that is one failure
        check("%s broke off" % group.__name__, False, "%r %s" % (e, str(getattr(e, "body", e))[-600:]))
core.delete_namespace(NS)
until("the namespace is deleted", lambda: NS not in [n.metadata.name for n in core.list_namespace().items])
sys.exit(1 if failures else 0)

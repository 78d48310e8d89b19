"""
Starts skiff-controller-manager, skiff-scheduler and hollow nodes beside the API server of lib/apiserver.py.

    with Cluster(nodes=3) as c:
        c.create("/apis/apps/v1/namespaces/default/deployments", deployment("web", 3))
        c.wait("available", lambda: c.get(...)["status"].get("availableReplicas") == 3)
"""
import shutil, signal, subprocess, tempfile, time

from apiserver import BIN, Server, check, free_port


def run_quiet(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Cluster:
    def __init__(self, nodes=2, flags=()):
        self.nodes, self.flags, self.daemons = nodes, list(flags), {}
        self.dir = tempfile.mkdtemp(prefix="skiff-controllers-")
        key, public = self.dir + "/sa.key", self.dir + "/sa.pub"
        run_quiet("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        run_quiet("openssl", "pkey", "-in", key, "-pubout", "-out", public)
        self.server = Server("--service-account-signing-key-file=" + key, "--service-account-key-file=" + public,
                             directory=self.dir)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            for one in [*self.daemons.values(), self.server.process]:
                if one:
                    one.kill()
            raise

    def start(self):
        s = self.server.__enter__()
        run_quiet("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                  self.dir + "/ca.key", "-out", self.dir + "/ca.crt", "-days", "2", "-subj", "/CN=test")
        self.kubeconfig = s.kubeconfig()
        self.start_manager()
        self.spawn("scheduler", "skiff-scheduler", "--secure-port=0")
        if self.nodes:
            self.add_nodes("hollow-", self.nodes)
        return self

    def spawn(self, name, binary, *argv):
        log = open("%s/%s.log" % (self.dir, name), "ab")
        self.daemons[name] = subprocess.Popen([BIN + "/" + binary, "--kubeconfig=" + self.kubeconfig, *argv],
                                              stderr=log, stdout=log)

    def start_manager(self):
        self.spawn("manager", "skiff-controller-manager", "--secure-port=0", "--root-ca-file=" + self.dir + "/ca.crt",
                   "--cluster-signing-cert-file=" + self.dir + "/ca.crt",
                   "--cluster-signing-key-file=" + self.dir + "/ca.key", *self.flags)

    def add_nodes(self, prefix, count):
        self.spawn(prefix, "skiff-kubelet", "--runtime=hollow", "--hollow-prefix=" + prefix,
                   "--hollow-nodes=%d" % count, "--secure-port=0", "--node-ip=127.0.0.1",
                   "--root-dir=%s/%s" % (self.dir, prefix), "--client-ca-file=" + self.dir + "/ca.crt")
        for i in range(count):
            self.wait("node %s%d" % (prefix, i), lambda: self.is_ready("%s%d" % (prefix, i)), quiet=True)

    def kill(self, name, how=signal.SIGKILL):
        self.daemons[name].send_signal(how)
        self.daemons[name].wait(20)
        return self.daemons.pop(name).returncode

    def is_ready(self, node):
        o = self.get("/api/v1/nodes/" + node)
        return any(x["type"] == "Ready" and x["status"] == "True" for x in (o or {}).get("status", {}).get("conditions", []))

    def __exit__(self, *a):
        code = self.kill("manager", signal.SIGTERM) if "manager" in self.daemons else 0
        for name in list(self.daemons):
            self.kill(name)
        text = open(self.dir + "/manager.log").read()
        check("the manager ends cleanly", code == 0 and "Sanitizer" not in text and "Assertion" not in text,
              "%s\n%s" % (code, text[-4000:]))
        self.server.__exit__(*a)
        shutil.rmtree(self.dir, ignore_errors=True)

    # --- talking to the API server ---

    def get(self, path):
        status, o = self.server.call("GET", path)
        return o if status == 200 else None

    def items(self, path):
        return self.get(path)["items"]

    def create(self, path, o):
        status, got = self.server.call("POST", path, o)
        check("create %s %s" % (o.get("kind", path), o["metadata"].get("name", "")), status == 201, got)
        return got

    def patch(self, path, o, kind="merge"):
        return self.server.patch(path, o, kind)[1]

    def delete(self, path, policy=None):
        return self.server.call("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy}
                                if policy else None)[0]

    def wait(self, text, condition, seconds=30, quiet=False):
        deadline, good = time.time() + seconds, False
        while not good and time.time() < deadline:
            try:
                good = condition()
            except (KeyError, TypeError, IndexError):
                good = False
            if not good:
                time.sleep(0.03)
        if not (quiet and good):
            check(text, good)
        return good


APPS = "/apis/apps/v1/namespaces/default/"
PODS = "/api/v1/namespaces/default/pods"


def template(app, image="x:1", **spec):
    return {"metadata": {"labels": {"app": app}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": image,
                     "ports": [{"name": "http", "containerPort": 80}]}], **spec}}


def workload(kind, name, replicas=None, image="x:1", **spec):
    o = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
         "spec": {"selector": {"matchLabels": {"app": name}}, "template": template(name, image), **spec}}
    if replicas is not None:
        o["spec"]["replicas"] = replicas
    return o

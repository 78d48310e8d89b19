"""
Starts a real skiff-apiserver with the embedded store on a random loopback port, and talks to it.

    with Server() as s:
        status, body = s.call("GET", "/api/v1/namespaces")

SKIFF_TEST_ETCD=http://127.0.0.1:2379 uses that etcd, a prefix of its own each time.

SKIFF_TEST_FLAGS adds flags ("--loops=2").

Checks print `ok TEXT` or `not ok TEXT`; finish() ends the script with the right status.
"""
import http.client, json, os, random, shutil, signal, socket, ssl, subprocess, sys, tempfile, time

BIN = os.environ.get("BIN") or os.path.join(os.path.dirname(__file__), "../../../build/bin")
ADMIN, USER = "admin-token-of-the-test", "user-token-of-the-test"
failures = 0


def check(text, good, shown=None):
    global failures
    if good:
        print("ok", text, flush=True)
    else:
        failures += 1
        print("not ok", text, "" if shown is None else "-- got: %s" % (shown,), flush=True)
    return good


def equal(text, got, wanted):
    return check(text, got == wanted, "%r, wanted %r" % (got, wanted))


def finish():
    sys.exit(1 if failures else 0)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


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


class Server:
    def __init__(self, *flags, directory=None):
        self.flags = list(flags) + os.environ.get("SKIFF_TEST_FLAGS", "").split()
        if os.environ.get("SKIFF_TEST_ETCD"):
            self.flags += ["--storage-backend=etcd", "--etcd-servers=" + os.environ["SKIFF_TEST_ETCD"],
                           "--etcd-prefix=/skiff-test-%d-%d" % (os.getpid(), random.randrange(1 << 30))]
        self.kept = directory is not None
        self.dir = directory or tempfile.mkdtemp(prefix="skiff-api-")
        self.port = free_port()
        self.process = None
        self.tls = ssl.create_default_context()
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE

    def __enter__(self):
        with open(self.dir + "/tokens", "w") as f:
            f.write('%s,admin,1,"system:masters"\n%s,jane,2,"devs"\n' % (ADMIN, USER))
        self.start()
        return self

    def start(self):
        self.log = open(self.dir + "/log", "ab")
        self.process = subprocess.Popen(
            [BIN + "/skiff-apiserver", "--secure-port=%d" % self.port, "--bind-address=127.0.0.1",
             "--data-dir=" + self.dir + "/db", "--token-auth-file=" + self.dir + "/tokens", *self.flags],
            stderr=self.log, stdout=self.log)
        deadline = time.time() + 30
        while time.time() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if self.call("GET", "/readyz", token=None)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        print(open(self.dir + "/log").read())
        raise SystemExit("the API server did not become ready")

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(30)
        self.log.close()
        return self.process.returncode

    def __exit__(self, *_):
        code = self.stop()
        text = open(self.dir + "/log").read()
        check("the server ends cleanly", code == 0 and "ERROR: " not in text and "runtime error" not in text,
              "%s\n%s" % (code, text[-6000:]))
        if not self.kept:
            shutil.rmtree(self.dir, ignore_errors=True)

    def connect(self):
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.tls, timeout=60)

    def raw(self):
        """A TLS connection for bytes of one's own."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        return self.tls.wrap_socket(plain)

    def request(self, method, path, body=None, token=ADMIN, headers=None, content_type=None, connection=None):
        """(status, headers, bytes)"""
        c = connection or self.connect()
        sent = dict(headers or {})
        if token:
            sent["Authorization"] = "Bearer " + token
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if body is not None:
            sent["Content-Type"] = content_type or "application/json"
        c.request(method, path, body=body, headers=sent)
        r = c.getresponse()
        data = r.read()
        if connection is None:
            c.close()
        return r.status, r.headers, data

    def call(self, method, path, body=None, **options):
        """(status, tree)"""
        status, _, data = self.request(method, path, body, **options)
        try:
            return status, json.loads(data)
        except ValueError:
            return status, data.decode("utf-8", "replace")

    def patch(self, path, body, kind="merge", **options):
        kinds = {"merge": "application/merge-patch+json", "json": "application/json-patch+json",
                 "strategic": "application/strategic-merge-patch+json", "apply": "application/apply-patch+yaml"}
        return self.call("PATCH", path, body, content_type=kinds[kind], **options)

    def watch(self, path, headers=None):
        return Watch(self, path, headers)

    def kubeconfig(self):
        path = self.dir + "/kubeconfig"
        with open(path, "w") as f:
            json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "x",
                       "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:%d" % self.port,
                                                              "insecure-skip-tls-verify": True}}],
                       "users": [{"name": "u", "user": {"token": ADMIN}}],
                       "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]}, f)
        return path


class Watch:
    def __init__(self, server, path, headers=None):
        self.connection = server.connect()
        self.connection.request("GET", path, headers=dict({"Authorization": "Bearer " + ADMIN}, **(headers or {})))
        self.response = self.connection.getresponse()
        self.status = self.response.status

    def next(self, timeout=10):
        """The next event, or None at the end; TimeoutError when nothing comes."""
        if self.connection.sock:
            self.connection.sock.settimeout(timeout)
        line = self.response.readline()
        return json.loads(line) if line else None

    def take(self, count, timeout=10):
        return [self.next(timeout) for _ in range(count)]

    def close(self):
        self.response.close()
        self.connection.close()


def config_map(name, data=None, **metadata):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": dict({"name": name}, **metadata), "data": data or {}}


def deployment(name, replicas=1, image="nginx"):
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
                     "template": {"metadata": {"labels": {"app": name}},
                                  "spec": {"containers": [{"name": "c", "image": image}]}}}}


def pod(name, **metadata):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": dict({"name": name}, **metadata),
            "spec": {"containers": [{"name": "c", "image": "nginx"}]}}


def service_account(server, namespace="default", name="default"):
    """What the controller manager would make; pods are refused without."""
    server.call("POST", "/api/v1/namespaces/%s/serviceaccounts" % namespace, {"metadata": {"name": name}})

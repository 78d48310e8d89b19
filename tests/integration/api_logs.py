#!/usr/bin/env python3
"""
Goal: `kubectl logs` through the API server: the right kubelet is asked in the right way, its answer streams, failures are told.
Method: a pretended kubelet on loopback with a certificate of the test's CA, which demands a client certificate.
"""
import os, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import *

PODS = "/api/v1/namespaces/default/pods"
asked, gone = [], threading.Event()


class Kubelet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        asked.append(self.path)
        if "previous=true" in self.path:
            return self.reply(400, b'previous terminated container "c" in pod "p" not found')
        if "/redirect" in self.path:
            self.send_response(302)
            self.send_header("Location", "https://127.0.0.1:1/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if "follow=true" not in self.path:
            return self.reply(200, b"one\ntwo\n")
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for i in range(100000):
                line = b"line %d\n" % i
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                if i % 1000 == 0:
                    self.wfile.flush()
                if i < 3:
                    time.sleep(0.1)
                if "tailLines=3" in self.path and i > 3:
                    time.sleep(0.05)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            gone.set()
            self.close_connection = True

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def make_pki(d):
    def run(*command):
        subprocess.run(command, check=True, capture_output=True)
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", d + "/ca.key",
        "-out", d + "/ca.crt", "-days", "2", "-subj", "/CN=test-ca")
    for name, extra in (("kubelet", "subjectAltName=IP:127.0.0.1"), ("client", "extendedKeyUsage=clientAuth")):
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "%s/%s.key" % (d, name),
            "-out", "%s/%s.csr" % (d, name), "-subj", "/CN=" + name)
        with open(d + "/ext", "w") as f:
            f.write(extra)
        run("openssl", "x509", "-req", "-in", "%s/%s.csr" % (d, name), "-CA", d + "/ca.crt", "-CAkey", d + "/ca.key", "-CAcreateserial",
            "-out", "%s/%s.crt" % (d, name), "-days", "2", "-extfile", d + "/ext")


def start_kubelet(d):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Kubelet)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(d + "/kubelet.crt", d + "/kubelet.key")
    tls.load_verify_locations(d + "/ca.crt")
    tls.verify_mode = ssl.CERT_REQUIRED
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def make_node(s, name, address, port):
    s.call("POST", "/api/v1/nodes", {"metadata": {"name": name}, "status": {
        "addresses": [{"type": "InternalIP", "address": address}], "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}})


def make_pod(s, name, node, containers=("c",)):
    p = pod(name)
    p["spec"]["containers"] = [{"name": c, "image": "i"} for c in containers]
    if node:
        p["spec"]["nodeName"] = node
    check("pod %s is made" % name, s.call("POST", PODS, p)[0] == 201)


def logs(s, port):
    service_account(s)
    make_node(s, "n", "127.0.0.1", port)
    make_node(s, "dead", "127.0.0.1", free_port())
    make_pod(s, "p", "n")
    make_pod(s, "two", "n", ("a", "b"))
    make_pod(s, "redirect", "n")
    make_pod(s, "waiting", None)
    make_pod(s, "lost", "dead")
    equal("logs", s.call("GET", PODS + "/p/log"), (200, "one\ntwo\n"))
    equal("the kubelet's path", asked[-1], "/containerLogs/default/p/c")
    equal("options are passed on", s.call("GET", PODS + "/p/log?tailLines=5&timestamps=true&container=c&sinceSeconds=7")[0], 200)
    equal("all of them", asked[-1], "/containerLogs/default/p/c?sinceSeconds=7&timestamps=true&tailLines=5")
    status, e = s.call("GET", PODS + "/p/log?previous=true")
    equal("the kubelet's 400 comes through", (status, e["reason"], e["message"]),
          (400, "BadRequest", 'previous terminated container "c" in pod "p" not found'))
    status, e = s.call("GET", PODS + "/two/log")
    equal("several containers need a choice", (status, e["message"]),
          (400, "a container name must be specified for pod two, choose one of: [a b]"))
    equal("a choice", s.call("GET", PODS + "/two/log?container=b")[0], 200)
    status, e = s.call("GET", PODS + "/p/log?container=x")
    equal("a wrong choice", (status, e["message"]), (400, "container x is not valid for pod p"))
    equal("a pod without a node has none", s.call("GET", PODS + "/waiting/log"), (200, ""))
    equal("a pod that is not there", s.call("GET", PODS + "/none/log")[0], 404)
    status, e = s.call("GET", PODS + "/lost/log")
    check("a kubelet that is not there", status == 500 and e["message"].startswith('Get "https://127.0.0.1:'), e)
    status, e = s.call("GET", PODS + "/redirect/log")
    check("redirects are not followed", status >= 300 and e["kind"] == "Status", (status, e))
    w = s.watch(PODS + "/p/log?follow=true&tailLines=3")
    equal("a stream comes line by line", [w.response.readline() for _ in range(3)], [b"line 0\n", b"line 1\n", b"line 2\n"])
    w.close()
    check("and ends at the kubelet when the client goes", gone.wait(10))
    status, text = s.call("GET", PODS + "/p/log?follow=true")
    equal("a long one is complete", (status, text.count("\n"), text.endswith("line 99999\n")), (200, 100000, True))


directory = tempfile.mkdtemp(prefix="skiff-logs-")
make_pki(directory)
port = start_kubelet(directory)
with Server("--kubelet-client-certificate=%s/client.crt" % directory, "--kubelet-client-key=%s/client.key" % directory,
            "--kubelet-certificate-authority=%s/ca.crt" % directory) as s:
    logs(s, port)
    w = s.watch(PODS + "/p/log?follow=true&tailLines=3")
    w.response.readline()
shutil.rmtree(directory)
finish()

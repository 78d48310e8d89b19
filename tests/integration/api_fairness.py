#!/usr/bin/env python3
"""
Goal: one client that asks too much gets 429 with Retry-After; the others, and what keeps the cluster alive, do not notice.
Method: an ordinary user floods a real skiff-apiserver from many connections (writes, then big lists); meanwhile another user and
the scheduler's identity read, and their p99 is printed. Then bodies that trickle.
"""
import os, sys, threading
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import *

CM = "/api/v1/namespaces/default/configmaps"
FLOODER, BYSTANDER, SCHEDULER = "flooder-token", "bystander-token", "scheduler-token"


def identities(s):
    with open(s.dir + "/tokens", "a") as f:
        f.write("%s,flooder,7\n%s,bystander,8\n%s,system:kube-scheduler,9\n" % (FLOODER, BYSTANDER, SCHEDULER))


def allow(s):
    s.call("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
        "metadata": {"name": "all"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": n} for n in ("flooder", "bystander", "system:kube-scheduler")]})


class Flood:
    """Threads that ask as fast as they can, on connections of their own."""

    def __init__(self, s, threads, ask):
        self.s, self.ask, self.codes, self.retry, self.lock, self.ended = s, ask, {}, set(), threading.Lock(), False
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(threads)]
        for t in self.threads:
            t.start()

    def run(self, number):
        c, turn = self.s.connect(), 0
        while not self.ended:
            turn += 1
            try:
                method, path, body = self.ask(number, turn)
                status, headers, data = self.s.request(method, path, body, token=FLOODER, connection=c)
            except OSError:
                c = self.s.connect()
                continue
            with self.lock:
                self.codes[status] = self.codes.get(status, 0) + 1
                if status == 429:
                    self.retry.add(headers.get("Retry-After"))
                    self.status = json.loads(data)

    def end(self):
        self.ended = True
        for t in self.threads:
            t.join()


def bystanders(s, seconds, wanted):
    """p99 in ms of small reads, and the codes seen, by identity."""
    result = {}

    def read(name, token):
        times, codes, c, until = [], set(), s.connect(), time.time() + seconds
        while time.time() < until:
            start = time.time()
            codes.add(s.request("GET", CM + "/small", token=token, connection=c)[0])
            times.append((time.time() - start) * 1000)
            time.sleep(0.005)
        times.sort()
        result[name] = (times[int(len(times) * 0.99)], len(times), codes)
    threads = [threading.Thread(target=read, args=a) for a in (("bystander", BYSTANDER), ("scheduler", SCHEDULER))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for name, (p99, count, codes) in sorted(result.items()):
        print("   %s %s: %d reads, p99 %.1f ms" % (wanted, name, count, p99))
        equal("%s: no read of the %s is refused" % (wanted, name), codes, {200})
    return result


def floods(s):
    big = "x" * 20000
    for i in range(300):
        s.call("POST", CM, config_map("big-%d" % i, {"k": big}))
    s.call("POST", CM, config_map("small"))
    bystanders(s, 2, "idle")
    # 300 writes at once: more than one user may have under way
    conns = [s.raw() for _ in range(300)]
    for i, c in enumerate(conns):
        body = json.dumps(config_map("w-%d" % i)).encode()
        c.sendall(("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                   % (CM, FLOODER, len(body))).encode() + body[:-1])  # the last byte is kept back: all are in the pipeline
    equal("meanwhile another user is served", s.request("GET", CM + "/small", token=BYSTANDER)[0], 200)
    texts, taken, open_ones, until = [], 0, list(conns), time.time() + 8
    while len(texts) < 100 and time.time() < until:
        for c in list(open_ones):
            try:
                c.settimeout(0.001)
                texts.append(c.recv(4000))
                open_ones.remove(c)
            except OSError:
                pass
    for c in open_ones:
        c.settimeout(20)
        c.sendall(b"}")
    for c in open_ones:
        taken += c.recv(4000).startswith(b"HTTP/1.1 201")
    refused = sum(t.startswith(b"HTTP/1.1 429") for t in texts)
    for c in conns:
        c.close()
    equal("of 300 writes at once, those above a user's share are refused and the rest written", (taken, refused), (200, 100))
    check("with Retry-After and a Status", texts and b"\r\nRetry-After: 1\r\n" in texts[0] and b'"reason":"TooManyRequests"' in texts[0]
          and b'"retryAfterSeconds":1' in texts[0], texts[:1])
    flood = Flood(s, 40, lambda number, turn: ("GET", CM, None))
    time.sleep(1)
    result = bystanders(s, 5, "40 connections list 6 MB:")
    flood.end()
    print("   the flooder got", flood.codes)
    check("the flooder is slowed by 429 with Retry-After", flood.codes.get(429, 0) > 0 and flood.retry == {"1"}, (flood.codes, flood.retry))
    check("and still served", flood.codes.get(200, 0) > 0, flood.codes)
    text = s.request("GET", "/metrics")[2].decode()
    check("counted", 'apiserver_flowcontrol_rejected_requests_total{priority_level="global-default"' in text)
    equal("all seats are given back", [l for l in text.splitlines() if l.startswith("apiserver_flowcontrol_current_executing_seats{")
          and not l.endswith(" 0") and "exempt" not in l], [])


def trickle(s):
    """A byte a second: cut after ten seconds, long before the body would be whole."""
    start, conns = time.time(), [s.raw() for _ in range(20)]
    for c in conns:
        c.sendall(("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"
                   % (CM, FLOODER)).encode())
    done = {}
    reader = threading.Thread(target=lambda: bystanders(s, 8, "20 bodies of a byte a second:"))
    reader.start()
    while len(done) < len(conns) and time.time() < start + 40:
        time.sleep(1)
        for i, c in enumerate(conns):
            if i in done:
                continue
            try:
                c.settimeout(0.01)
                c.sendall(b" ")
                data = c.recv(2000)
                done[i] = data
            except (ssl.SSLWantReadError, TimeoutError, socket.timeout):
                pass
            except OSError:
                done[i] = b""
    reader.join()
    took = time.time() - start
    check("bodies of a byte a second end in 10 s", len(done) == len(conns) and took < 25, (len(done), took))
    check("with a Status", any(b'"reason":"Timeout"' in d for d in done.values()), list(done.values())[:1])


def main():
    s = Server()
    os.makedirs(s.dir, exist_ok=True)
    with open(s.dir + "/tokens", "w") as f:
        pass
    original = s.start

    def start():
        identities(s)
        original()
    s.start = start
    with s:
        allow(s)
        floods(s)
        trickle(s)


main()
finish()

#!/usr/bin/env python3
"""
Goal: slow, broken and hostile clients are bounded in time and memory, and others do not notice.
Method: raw TLS connections to a real API server; its memory and answers are watched meanwhile.
"""
import os, subprocess, sys, threading
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import *

CM = "/api/v1/namespaces/default/configmaps"
AUTH = "Authorization: Bearer %s\r\nHost: x\r\n" % ADMIN


def read_all(c, timeout=15):
    c.settimeout(timeout)
    data = b""
    try:
        while True:
            piece = c.recv(65536)
            if not piece:
                break
            data += piece
    except ssl.SSLError:
        pass
    except OSError:
        pass
    return data


def send(s, data, timeout=15):
    c = s.raw()
    c.sendall(data if isinstance(data, bytes) else data.encode())
    got = read_all(c, timeout)
    c.close()
    return got


def resident_kb(s):
    for line in open("/proc/%d/status" % s.process.pid):
        if line.startswith("VmRSS"):
            return int(line.split()[1])


def http1(s):
    get = "GET %s HTTP/1.1\r\n%s\r\n" % (CM, AUTH)
    last = "GET /version HTTP/1.1\r\n%sConnection: close\r\n\r\n" % AUTH
    got = send(s, get * 20 + last)
    equal("21 pipelined requests get 21 answers", got.count(b"HTTP/1.1 200 OK"), 21)
    body = json.dumps(config_map("chunked"))
    chunks = "".join("%x\r\n%s\r\n" % (len(body[i:i + 7]), body[i:i + 7]) for i in range(0, len(body), 7)) + "0\r\n\r\n"
    got = send(s, "POST %s HTTP/1.1\r\n%sContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n%s" % (CM, AUTH, chunks))
    check("a chunked body", got.startswith(b"HTTP/1.1 201 Created"), got[:200])
    c = s.raw()
    body = json.dumps(config_map("expected")).encode()
    c.sendall(("POST %s HTTP/1.1\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
               % (CM, AUTH, len(body))).encode())
    c.settimeout(10)
    equal("100 Continue comes before the body", c.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
    c.sendall(body)
    check("and then 201", read_all(c).startswith(b"HTTP/1.1 201 Created"))
    got = send(s, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n" % CM)
    check("without credentials it is 401 without a body", got.startswith(b"HTTP/1.1 401 ") and b"Connection: close" in got, got[:200])
    got = send(s, "POST %s HTTP/1.1\r\n%sContent-Length: 4000000\r\n\r\n" % (CM, AUTH))
    check("a body announced too long is 413 at once", got.startswith(b"HTTP/1.1 413 "), got[:100])
    got = send(s, ("GET /version HTTP/1.0\r\n%s\r\n" % AUTH))
    check("HTTP/1.0 is answered and closed", got.startswith(b"HTTP/1.1 200") and b"chunked" not in got, got[:200])
    got = send(s, "GET %s HTTP/1.0\r\n%s\r\n" % (CM, AUTH))
    check("a list for HTTP/1.0 has no chunks", got.rstrip().endswith(b"]}") and b"Transfer-Encoding" not in got, got[-100:])
    got = send(s, "HEAD /version HTTP/1.1\r\n%sConnection: close\r\n\r\n" % AUTH)
    check("HEAD sends no body", got.startswith(b"HTTP/1.1 200") and got.endswith(b"\r\n\r\n"), got)
    for text in ("nonsense\r\n\r\n", "GET / HTTP/1.1\nHost: x\n\n", "GET / HTTP/3.0\r\n\r\n", "GET / HTTP/1.1\r\n folded: x\r\n\r\n",
                 "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "GET / HTTP/1.1\r\nx: " + "y" * 70000,
                 "\x00\x01\x02\x03\r\n\r\n", "GET /" + "a" * 20000 + " HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        got = send(s, text)
        check("%r is refused and closed" % text[:30], got.startswith(b"HTTP/1.1 4") or got.startswith(b"HTTP/1.1 5"), got[:80])
    got = send(s, "POST %s HTTP/1.1\r\n%sContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" % (CM, AUTH))
    check("a bad chunk size", got.startswith(b"HTTP/1.1 400"), got[:80])


def http2(s):
    if subprocess.run(["curl", "-V"], capture_output=True).returncode:
        print("skip HTTP/2: curl is missing")
        return
    base = ["curl", "-sk", "--http2", "-H", "Authorization: Bearer " + ADMIN]
    url = "https://127.0.0.1:%d" % s.port
    out = subprocess.run(base + ["-w", "%{http_version} %{http_code}", "-o", "/dev/null", url + CM], capture_output=True, text=True).stdout
    equal("HTTP/2 is negotiated", out, "2 200")
    out = subprocess.run(base + ["-w", " %{http_code}", "-H", "Content-Type: application/json", "-d", json.dumps(config_map("h2")), url + CM],
                         capture_output=True, text=True).stdout
    check("a write over HTTP/2", out.endswith(" 201"), out[-200:])
    with open(s.dir + "/big", "w") as f:
        f.write(json.dumps(config_map("big", {"x": "y" * (4 << 20)})))
    out = subprocess.run(base + ["-w", " %{http_code}", "-H", "Content-Type: application/json", "--data-binary", "@" + s.dir + "/big", url + CM],
                         capture_output=True, text=True).stdout
    check("a body too long over HTTP/2", out.endswith(" 413"), out[-200:])
    watch = subprocess.Popen(base + ["-N", url + CM + "?watch=1&resourceVersion=0"], stdout=subprocess.PIPE)
    line = watch.stdout.readline()
    watch.kill()
    watch.wait()
    check("a watch over HTTP/2", b'"ADDED"' in line, line[:100])
    if subprocess.run(["which", "h2load"], capture_output=True).returncode == 0:
        out = subprocess.run(["h2load", "-n", "5000", "-c", "10", "-m", "50", "-H", "Authorization: Bearer " + ADMIN, url + CM + "/h2"],
                             capture_output=True, text=True).stdout
        check("5,000 multiplexed GETs", "5000 succeeded" in out, out)


def disconnects(s):
    body = json.dumps(config_map("gone"))
    head = "POST %s HTTP/1.1\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (CM, AUTH, len(body))
    for cut in (5, 50, len(head) - 2, len(head), len(head) + 10, len(head) + len(body)):
        for _ in range(20):
            c = s.raw()
            c.sendall((head + body)[:cut].encode())
            c.close()
    for _ in range(50):
        w = s.watch(CM + "?watch=1")
        w.next()
        w.connection.sock.close()
        w.close()
    for _ in range(50):
        plain = socket.create_connection(("127.0.0.1", s.port))
        plain.sendall(os.urandom(40))
        plain.close()
    equal("clients that vanish anywhere leave the server ready", s.call("GET", "/readyz", token=None), (200, "ok"))
    threads = [threading.Thread(target=lambda: [s.patch(CM + "/h1", {"data": {"x": str(i)}}) for i in range(30)]) for _ in range(8)]
    s.call("POST", CM, config_map("h1"))
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    equal("240 patches by 8 clients at once, none lost to a conflict", s.call("GET", CM + "/h1")[0], 200)


def slow(s):
    plain = socket.create_connection(("127.0.0.1", s.port))
    quiet = s.raw()
    head = s.raw()
    head.sendall(b"GET / HT")
    body = s.raw()
    body.sendall(("POST %s HTTP/1.1\r\n%sContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{" % (CM, AUTH)).encode())
    worst = 0
    start = time.time()
    ended = {}
    waiting = {"handshake": plain, "silence": quiet, "head": head, "body": body}
    for c in waiting.values():
        c.settimeout(0.01)
    while time.time() - start < 45 and waiting:
        before = time.time()
        s.call("GET", CM + "/h1")
        worst = max(worst, time.time() - before)
        for name, c in list(waiting.items()):
            try:
                data = c.recv(1000)
                if not data:
                    ended[name] = time.time() - start
                    del waiting[name]
            except (TimeoutError, ssl.SSLWantReadError):
                pass
            except OSError:
                ended[name] = time.time() - start
                del waiting[name]
        time.sleep(0.2)
    check("a TLS handshake that never ends is cut within 15 s", ended.get("handshake", 99) < 15, ended)
    check("a silent connection, half a head and half a body within 40 s", all(ended.get(n, 99) < 40 for n in ("silence", "head", "body")), ended)
    check("others are answered meanwhile", worst < 1.0, worst)


def stuck_readers(s):
    ns = "/api/v1/namespaces/kube-public/configmaps"
    for i in range(40):
        s.call("POST", ns, config_map("fat-%d" % i, {"x": "y" * 500000}))
    before = resident_kb(s)
    stuck = []
    for _ in range(20):
        c = s.raw()
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.sendall(("GET %s HTTP/1.1\r\n%s\r\n" % (ns, AUTH)).encode())
        stuck.append(c)
    time.sleep(1)
    grown = resident_kb(s) - before
    check("20 readers that read nothing of 20 MB each cost less than 40 MB", grown < 40000, "%d KB" % grown)
    start = time.time()
    equal("others are served", s.call("GET", CM + "/h1")[0], 200)
    check("at once", time.time() - start < 1)
    for c in stuck:
        c.close()


with Server() as s:
    for part in (http1, http2, disconnects, stuck_readers, slow):
        part(s)
    w = s.watch(CM + "?watch=1")
    w.next()
    start = time.time()
    s.process.send_signal(signal.SIGTERM)
    while w.next() is not None:
        pass
    s.process.wait(10)
    check("a watch ends cleanly when the server stops, within 2 s", time.time() - start < 2, time.time() - start)
finish()

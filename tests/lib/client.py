#!/usr/bin/env python3
"""Fetches a page in a loop from two threads until SIGTERM, one connection a request, and counts every answer.

A line for each failure (time, how), at the end "N answers, M failed". A failure is anything but status 200 with the
page's own text within 10 seconds."""
import signal, sys, threading, time, urllib.request

url = sys.argv[1]
stop = threading.Event()
lock = threading.Lock()
good, bad, slowest = 0, 0, 0.0


def fetch():
    with urllib.request.urlopen(url, timeout=10) as answer:
        body = answer.read()
        if answer.status != 200 or b"</html>" not in body or b"served by pod" not in body:
            raise ValueError("status %d, %d bytes, not the page" % (answer.status, len(body)))


def loop():
    global good, bad, slowest
    while not stop.is_set():
        started = time.time()
        try:
            fetch()
            failure = None
        except Exception as e:  # every kind of failure counts
            failure = e
        took = time.time() - started
        with lock:
            if failure is None:
                good += 1
                slowest = max(slowest, took)
            else:
                bad += 1
                print("%s after %.2f s: %s" % (time.strftime("%H:%M:%S"), took, failure), flush=True)
        stop.wait(max(0.0, 0.05 - took))


signal.signal(signal.SIGTERM, lambda *_: stop.set())
signal.signal(signal.SIGINT, lambda *_: stop.set())
threads = [threading.Thread(target=loop) for _ in range(2)]
for t in threads:
    t.start()
while not stop.is_set():
    time.sleep(0.05)
for t in threads:
    t.join()
print("slowest answer %.2f s" % slowest)
print("%d answers, %d failed" % (good, bad))

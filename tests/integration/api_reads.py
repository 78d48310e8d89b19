#!/usr/bin/env python3
"""
Goal: lists, pages, selectors, Tables, versions and watches behave as client-go and kubectl rely on.
Method: a real API server on the embedded store, plain HTTPS requests.
"""
import base64, gzip, os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import *

CM = "/api/v1/namespaces/default/configmaps"
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
PARTIAL = {"Accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"}


def lists(s):
    status, empty = s.call("GET", "/api/v1/namespaces/none/configmaps")
    check("an empty list has a version and items", status == 200 and empty["items"] == [] and
          int(empty["metadata"]["resourceVersion"]) > 0, empty)
    for i in range(25):
        s.call("POST", CM, config_map("c-%02d" % i, {"n": str(i)}, labels={"parity": "odd" if i % 2 else "even", "n": str(i)}))
    _, all_ = s.call("GET", CM)
    names = [o["metadata"]["name"] for o in all_["items"]]
    equal("a list is sorted and complete", names, sorted(names))
    equal("items carry no kind", [o for o in all_["items"] if "kind" in o], [])
    for selector, count in (("parity=odd", 12), ("parity!=odd", 13), ("parity in (odd,even)", 25), ("!parity", 0),
                            ("n>20", 4), ("parity=even,n notin (0,2)", 11), ("", 25)):
        path = CM + "?labelSelector=" + selector.replace(" ", "+").replace("!", "%21").replace(">", "%3E").replace(",", "%2C")
        equal("labelSelector %r" % selector, len(s.call("GET", path)[1]["items"]), count)
    equal("fieldSelector metadata.name", len(s.call("GET", CM + "?fieldSelector=metadata.name%3Dc-03")[1]["items"]), 1)
    status, e = s.call("GET", CM + "?fieldSelector=spec.x%3D1")
    equal("an unknown field is 400", (status, e["reason"]), (400, "BadRequest"))
    status, e = s.call("GET", CM + "?labelSelector=a+b")
    equal("a selector that does not parse is 400", status, 400)
    status, e = s.call("GET", CM + "?limit=x")
    equal("a limit that is no number is 400", status, 400)


def pages(s):
    seen, token, versions, remaining = [], "", set(), []
    while True:
        _, page = s.call("GET", CM + "?limit=10&continue=" + token)
        seen += [o["metadata"]["name"] for o in page["items"]]
        versions.add(page["metadata"]["resourceVersion"])
        remaining.append(page["metadata"].get("remainingItemCount"))
        if token == "":
            s.call("POST", CM, config_map("c-99"))
            s.call("DELETE", CM + "/c-24")
        token = page["metadata"].get("continue", "")
        if not token:
            break
    equal("pages show one snapshot", (len(seen), "c-24" in seen, "c-99" in seen, len(versions)), (25, True, False, 1))
    equal("remainingItemCount", remaining, [15, 5, None])
    _, page = s.call("GET", CM + "?limit=5&labelSelector=parity")
    check("none with a selector", "remainingItemCount" not in page["metadata"] and page["metadata"]["continue"], page["metadata"])
    status, e = s.call("GET", CM + "?continue=nonsense")
    equal("a broken token is 400", (status, e["reason"]), (400, "BadRequest"))
    old = base64.urlsafe_b64encode(b'{"v":"meta.k8s.io/v1","rv":1,"seen":0,"start":"default/c-10"}').decode().rstrip("=")
    status, e = s.call("GET", CM + "?limit=5&continue=" + old)
    check("an expired token is 410 with a fresh one", status == 410 and e["reason"] == "Expired" and e["metadata"].get("continue"), e)
    status, page = s.call("GET", CM + "?limit=5&continue=" + e["metadata"]["continue"])
    equal("that goes on behind the same key", (status, page["items"][0]["metadata"]["name"]), (200, "c-11"))


def versions(s):
    _, o = s.call("GET", CM)
    now = o["metadata"]["resourceVersion"]
    equal("resourceVersion=0", s.call("GET", CM + "?resourceVersion=0")[0], 200)
    equal("NotOlderThan now", s.call("GET", CM + "?resourceVersionMatch=NotOlderThan&resourceVersion=" + now)[0], 200)
    status, e = s.call("GET", CM + "?resourceVersionMatch=Exact&resourceVersion=1")
    equal("Exact and too old is 410", (status, e["reason"]), (410, "Expired"))
    status, e = s.call("GET", CM + "?resourceVersion=" + str(int(now) + 100000))
    check("a version of the future is 504", status == 504 and e["reason"] == "Timeout" and
          e["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge", e)
    for query in ("resourceVersionMatch=Exact", "resourceVersionMatch=Exact&resourceVersion=0",
                  "resourceVersionMatch=Most&resourceVersion=1", "sendInitialEvents=true"):
        status, e = s.call("GET", CM + "?" + query)
        equal("%s is 422" % query, (status, e["reason"]), (422, "Invalid"))
    equal("a version that is no number is 400", s.call("GET", CM + "?resourceVersion=x")[0], 400)


def forms(s):
    _, t = s.call("GET", CM, headers=TABLE)
    equal("a Table has columns", [c["name"] for c in t["columnDefinitions"]], ["Name", "Data", "Age"])
    row = t["rows"][0]
    check("rows have cells and metadata", row["cells"][0] == "c-00" and row["object"]["kind"] == "PartialObjectMetadata" and
          row["object"]["metadata"]["name"] == "c-00" and row["object"]["metadata"]["resourceVersion"], row)
    _, t = s.call("GET", CM + "/c-01", headers=TABLE)
    equal("one object as a Table", (t["kind"], len(t["rows"])), ("Table", 1))
    _, t = s.call("GET", CM + "?includeObject=None&limit=3", headers=TABLE)
    check("includeObject=None; pages of Tables", t["rows"][0]["object"] is None and len(t["rows"]) == 3 and t["metadata"]["continue"], t)
    _, p = s.call("GET", CM, headers=PARTIAL)
    check("PartialObjectMetadataList", p["kind"] == "PartialObjectMetadataList" and p["items"][0]["metadata"]["name"] == "c-00" and
          "data" not in p["items"][0], p["items"][0])
    _, _, text = s.request("GET", CM + "/c-01", headers={"Accept": "application/yaml"})
    check("YAML when asked for", b"\nkind: ConfigMap\n" in text, text)
    _, _, text = s.request("GET", CM, headers={"Accept": "application/yaml"})
    check("a list too", text.startswith(b"apiVersion: v1\nitems:\n- "), text[:80])
    status, headers, data = s.request("GET", "/openapi/v2", headers={"Accept-Encoding": "gzip"})
    check("a long document is compressed", headers.get("Content-Encoding") != "gzip" or json.loads(gzip.decompress(data)), headers)
    status, again, data = s.request("GET", "/api/v1", headers={"If-None-Match": s.request("GET", "/api/v1")[1]["ETag"]})
    equal("an ETag saves the body", (status, data), (304, b""))
    for i in range(300):
        s.call("POST", "/api/v1/namespaces/kube-public/configmaps", config_map("big-%03d" % i, {"x": "y" * 1000}))
    status, headers, data = s.request("GET", "/api/v1/namespaces/kube-public/configmaps", headers={"Accept-Encoding": "gzip"})
    check("a long list is compressed", headers.get("Content-Encoding") == "gzip" and
          len(json.loads(gzip.decompress(data))["items"]) >= 300, dict(headers))


def watches(s):
    _, o = s.call("GET", CM)
    version = o["metadata"]["resourceVersion"]
    w = s.watch(CM + "?watch=1&resourceVersion=" + version)
    s.call("POST", CM, config_map("w", {"a": "1"}))
    s.patch(CM + "/w", {"data": {"a": "2"}})
    s.patch(CM + "/w", {"data": {"a": "2"}})
    s.call("DELETE", CM + "/w")
    events = w.take(3)
    equal("a watch sees each change once", [e["type"] for e in events], ["ADDED", "MODIFIED", "DELETED"])
    rvs = [int(e["object"]["metadata"]["resourceVersion"]) for e in events]
    check("versions rise, the deletion has its own", rvs == sorted(set(rvs)), rvs)
    equal("objects carry kind and apiVersion", (events[0]["object"]["kind"], events[0]["object"]["apiVersion"]), ("ConfigMap", "v1"))
    equal("the deletion shows the last state", events[2]["object"]["data"], {"a": "2"})
    w.close()
    w = s.watch(CM + "?watch=1&resourceVersion=" + version)
    equal("history is replayed", [e["type"] for e in w.take(3)], ["ADDED", "MODIFIED", "DELETED"])
    w.close()
    w = s.watch(CM + "?watch=1&labelSelector=hot&resourceVersion=" + version)
    s.call("POST", CM, config_map("h"))
    s.patch(CM + "/h", {"metadata": {"labels": {"hot": "1"}}})
    s.patch(CM + "/h", {"data": {"x": "1"}})
    s.patch(CM + "/h", {"metadata": {"labels": None}})
    s.patch(CM + "/h", {"metadata": {"labels": {"hot": "2"}}})
    s.call("DELETE", CM + "/h")
    events = w.take(5)
    equal("a selector makes ADDED and DELETED", [e["type"] for e in events], ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"])
    equal("leaving shows the state before", (events[2]["object"]["metadata"].get("labels"), events[2]["object"]["data"]), ({"hot": "1"}, {"x": "1"}))
    check("at the version of the change", int(events[2]["object"]["metadata"]["resourceVersion"]) >
          int(events[1]["object"]["metadata"]["resourceVersion"]))
    w.close()
    w = s.watch(CM + "?watch=1&fieldSelector=metadata.name%3Dc-05")
    equal("without a version the state comes first", [(e["type"], e["object"]["metadata"]["name"]) for e in w.take(1)], [("ADDED", "c-05")])
    w.close()
    w = s.watch(CM + "?watch=1&fieldSelector=metadata.name%3Dlater")
    s.call("POST", CM, config_map("later"))
    equal("a name that is not there yet is waited for", w.next()["object"]["metadata"]["name"], "later")
    w.close()
    w = s.watch(CM + "?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion=" + version)
    got = []
    while True:
        e = w.next()
        if e is None:
            break
        got.append(e)
    equal("timeoutSeconds ends it, behind a bookmark", got[-1]["type"], "BOOKMARK")
    s.call("POST", CM, config_map("huge"))
    for i in range(9):
        s.patch(CM + "/huge", {"data": {"x": str(i) * 700000}})
    s.call("DELETE", CM + "/huge")
    w = s.watch(CM + "?watch=1&resourceVersion=" + version)
    e = w.next()
    check("too old is 410 Expired in the stream", w.status == 200 and e["type"] == "ERROR" and e["object"]["code"] == 410 and
          e["object"]["reason"] == "Expired", e)
    equal("which then ends", w.next(), None)
    w.close()
    status, e = s.call("GET", CM + "?watch=1&resourceVersion=99999999")
    equal("a version of the future is 504", status, 504)


def streaming(s):
    w = s.watch(CM + "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&labelSelector=parity")
    events = w.take(25)
    equal("sendInitialEvents: the state, then a marked bookmark", ([e["type"] for e in events], events[-1]["object"]["metadata"].get("annotations")),
          (["ADDED"] * 24 + ["BOOKMARK"], {"k8s.io/initial-events-end": "true"}))
    w.close()
    w = s.watch("/api/v1/namespaces/none/configmaps?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")
    e = w.next()
    check("for nothing too, with a real version", e["type"] == "BOOKMARK" and int(e["object"]["metadata"]["resourceVersion"]) > 0, e)
    w.close()
    status, e = s.call("GET", CM + "?watch=1&sendInitialEvents=true")
    equal("it needs NotOlderThan", (status, e["reason"]), (422, "Invalid"))
    w = s.watch(CM + "?watch=1&fieldSelector=metadata.name%3Dc-05", headers=TABLE)
    first = w.next()
    s.patch(CM + "/c-05", {"data": {"z": "1"}})
    second = w.next()
    check("a watch of Tables: columns in the first event only", first["object"]["columnDefinitions"] and first["object"]["rows"][0]["cells"][0] == "c-05" and
          not second["object"].get("columnDefinitions") and second["type"] == "MODIFIED", second)
    w.close()
    w = s.watch(CM + "?watch=1&fieldSelector=metadata.name%3Dc-05", headers={"Accept": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"})
    e = w.next()
    check("a watch of metadata", e["object"]["kind"] == "PartialObjectMetadata" and "data" not in e["object"], e)
    w.close()


def documents(s):
    for path in ("/api", "/api/", "/apis", "/apis/", "/apis/apps", "/apis/apps/v1", "/api/v1", "/version", "/openapi/v3", "/", "/.well-known/openid-configuration"):
        equal("GET %s" % path, s.call("GET", path)[0], 200)
    status, headers, data = s.request("GET", "/apis", headers={"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"})
    check("aggregated discovery v2", json.loads(data)["kind"] == "APIGroupDiscoveryList" and "v=v2;" in headers["Content-Type"], headers["Content-Type"])
    status, headers, data = s.request("GET", "/api", headers={"Accept": "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"})
    check("and v2beta1", json.loads(data)["apiVersion"] == "apidiscovery.k8s.io/v2beta1" and "v=v2beta1" in headers["Content-Type"], headers["Content-Type"])
    for page in ("livez", "readyz", "healthz"):
        equal("/%s" % page, s.call("GET", "/" + page, token=None), (200, "ok"))
        status, text = s.call("GET", "/%s?verbose&exclude=etcd" % page, token=None)
        check("/%s?verbose" % page, "[+]etcd excluded: ok\n" in text and text.endswith("%s check passed\n" % page), text)
        equal("/%s/etcd" % page, s.call("GET", "/%s/etcd" % page, token=None), (200, "ok"))
        equal("/%s/none" % page, s.call("GET", "/%s/none" % page, token=None)[0], 404)
    status, text = s.call("GET", "/metrics")
    check("/metrics counts requests", "apiserver_request_total{" in text and "apiserver_request_duration_seconds_bucket{" in text, text[:300])


with Server() as s:
    for part in (lists, pages, versions, forms, watches, streaming, documents):
        part(s)
finish()

#!/usr/bin/env python3
"""
Goal: Secrets are never in the clear in the database, its log, or etcd; keys rotate while the server runs; what can't be opened stops the start.
Method: writes known texts through a real server, greps the raw files (and what etcd has), rewrites with other keys, damages rows.
"""
import base64, glob, json, os, shutil, sqlite3, subprocess, sys, tempfile, time
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
import apiserver
from apiserver import Server, check, equal, finish

TEXT = "the-text-that-nobody-may-find"
SECRETS = "/api/v1/namespaces/default/secrets"
directory = tempfile.mkdtemp(prefix="skiff-encryption-")
config = directory + "/encryption.yaml"
K1 = ("aesgcm", "k1", base64.b64encode(b"1" * 32).decode())
K2 = ("aescbc", "k2", base64.b64encode(b"2" * 32).decode())


def configure(*keys, identity=True, kinds=("secrets", "widgets.example.com")):
    providers = [{p: {"keys": [{"name": n, "secret": s}]}} for p, n, s in keys] + ([{"identity": {}}] if identity else [])
    with open(config + ".new", "w") as f:
        json.dump({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
                   "resources": [{"resources": list(kinds), "providers": providers}]}, f)
    os.rename(config + ".new", config)


def found(text, where):
    text = text.encode() if isinstance(text, str) else text
    return [p for p in glob.glob(where + "/**", recursive=True) if os.path.isfile(p) and text in open(p, "rb").read()]


def secret(name):
    return {"metadata": {"name": name}, "stringData": {"password": TEXT}}


def wait_log(s, text):
    for _ in range(500):
        if text in open(s.dir + "/log").read():
            return True
        time.sleep(0.02)
    return False


encoded = base64.b64encode(TEXT.encode()).decode()
home = directory + "/server"
os.mkdir(home)

# 1. In the clear, to see that the search finds; then encrypted by a rewrite.
with Server(directory=home) as s:
    equal("a Secret without encryption", s.call("POST", SECRETS, secret("plain"))[0], 201)
    check("its text is in the files", found(encoded, home + "/db"))
configure(K1)
flags = ["--encryption-provider-config=" + config]
with Server(*flags, directory=home) as s:
    status, old = s.call("GET", SECRETS + "/plain")
    equal("what is stored in the clear is read", base64.b64decode(old["data"]["password"]).decode(), TEXT)
    status, new = s.call("PUT", SECRETS + "/plain", old)
    check("a replace that changes nothing is stored again", status == 200 and new["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"])
    status, same = s.call("PUT", SECRETS + "/plain", new)
    equal("but only once", same["metadata"]["resourceVersion"], new["metadata"]["resourceVersion"])
    s.call("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "open"}, "data": {"a": "not-secret-at-all"}})
    check("other kinds are not encrypted", found("not-secret-at-all", home + "/db"))

# 2. Encrypted from the start: never in the files, over writes, a rotation and restarts.
home = directory + "/fresh"
os.mkdir(home)
with Server(*flags, directory=home) as s:
    equal("a Secret", s.call("POST", SECRETS, secret("a"))[0], 201)
    equal("another", s.call("POST", SECRETS, secret("b"))[0], 201)
    s.patch(SECRETS + "/a", {"metadata": {"labels": {"round": "1"}}})
    definition = {"metadata": {"name": "widgets.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
            "type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}}}]}}
    s.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"note": TEXT}}
    for _ in range(500):
        status = s.call("POST", "/apis/example.com/v1/namespaces/default/widgets", widget)[0]
        if status != 404:
            break
        time.sleep(0.02)
    equal("an object of a custom kind", status, 201)
    before = s.call("GET", SECRETS + "/a")[1]
    check("nothing in the files", not found(encoded, home + "/db") and not found(TEXT, home + "/db"))

    with open(config + ".new", "w") as f:
        f.write("kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources: [{resources: [secrets], providers: [{aesgcm: {keys: [{name: x, secret: c2hvcnQ=}]}}]}]\n")
    os.rename(config + ".new", config)
    check("a bad file is refused with the field", wait_log(s, "resources[0]: providers[0]: aesgcm.keys[0]: secret:"))
    check("and without its secret", "c2hvcnQ" not in open(s.dir + "/log").read())
    equal("the old one stays in force", s.call("PUT", SECRETS + "/a", before)[1]["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"])
    configure(K2, K1)
    check("a good one is read", wait_log(s, "read again"))
    listed = s.call("GET", "/api/v1/secrets")[1]
    for item in listed["items"]:
        equal("rewritten: " + item["metadata"]["name"], s.call("PUT", "/api/v1/namespaces/%s/secrets/%s" % (
            item["metadata"]["namespace"], item["metadata"]["name"]), item)[0], 200)
    w = s.call("GET", "/apis/example.com/v1/namespaces/default/widgets/w")[1]
    s.call("PUT", "/apis/example.com/v1/namespaces/default/widgets/w", w)
    check("nothing in the files after the rotation", not found(encoded, home + "/db") and not found(TEXT, home + "/db"))
configure(K2)
with Server(*flags, directory=home) as s:
    equal("readable without the old key", base64.b64decode(s.call("GET", SECRETS + "/b")[1]["data"]["password"]).decode(), TEXT)
    equal("the custom object too", s.call("GET", "/apis/example.com/v1/namespaces/default/widgets/w")[1]["spec"]["note"], TEXT)
    check("nothing in the files after restarts", not found(encoded, home + "/db") and not found(TEXT, home + "/db"))


def start_fails(text, wanted, *flags):
    p = subprocess.run([apiserver.BIN + "/skiff-apiserver", "--secure-port=%d" % apiserver.free_port(), "--bind-address=127.0.0.1",
                        "--data-dir=" + home + "/db", *flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, text=True)
    check(text, p.returncode == 1 and "secrets/default/" in p.stdout and wanted in p.stdout.replace('\\"', '"'), p.stdout[-600:])


if not os.environ.get("SKIFF_TEST_ETCD"):
    configure(K1)
    start_fails("a missing key stops the start, naming object and key", 'is encrypted with aescbc key "k2"', *flags)
    start_fails("so does no configuration at all", 'is encrypted with aescbc key "k2"')
    configure(("aescbc", "k2", K1[2]))
    start_fails("another secret", ': cannot be decrypted with aescbc key "k2"', *flags)
    configure(K2)
    db = sqlite3.connect(home + "/db/skiff.db")
    for version, value in db.execute("SELECT version, value FROM kv WHERE key=?", (b"secrets/default/a",)).fetchall():
        value = bytearray(value)
        value[len(value) // 2] ^= 1
        db.execute("UPDATE kv SET value=? WHERE version=?", (bytes(value), version))
    db.commit()
    db.close()
    start_fails("a damaged value", "secrets/default/a: cannot be decrypted", *flags)

# 3. etcd.
if shutil.which("etcd") and not os.environ.get("SKIFF_TEST_ETCD"):
    configure(K1, identity=False)
    process, url = apiserver.start_etcd(directory)
    try:
        with Server("--storage-backend=etcd", "--etcd-servers=" + url, *flags) as s:
            equal("a Secret in etcd", s.call("POST", SECRETS, secret("a"))[0], 201)
            check("not in etcd's files", not found(encoded, directory + "/etcd") and found("secrets/default/a", directory + "/etcd"))
            with Server("--storage-backend=etcd", "--etcd-servers=" + url, *flags) as other:
                equal("another server reads it", s.call("GET", SECRETS + "/a")[1], other.call("GET", SECRETS + "/a")[1])
                version = s.patch(SECRETS + "/a", {"data": {"more": "bW9yZQ=="}})[1]["metadata"]["resourceVersion"]
                for _ in range(500):
                    got = other.call("GET", SECRETS + "/a")[1]
                    if got["metadata"]["resourceVersion"] == version:
                        break
                    time.sleep(0.02)
                equal("and sees its changes", got["data"].get("more"), "bW9yZQ==")
    finally:
        process.terminate()
        process.wait()
shutil.rmtree(directory, ignore_errors=True)
finish()

#!/usr/bin/env python3
"""
Tokens of other issuers: AuthenticationConfiguration and the --oidc flags.

Method: a real skiff-apiserver and an issuer of our own (lib/issuer.py). Good tokens of every algorithm, a table of bad ones,
keys that rotate, a configuration that changes while the server runs, and a table of wrong ones.
"""
import os, sys, tempfile
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
from apiserver import *
from issuer import *

SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]


def who(s, token):
    status, tree = s.call("POST", SELF, {}, token=token)
    return tree["status"]["userInfo"] if status == 201 else status


def write(path, tree):
    with open(path + ".new", "w") as f:
        json.dump(tree, f)
    os.rename(path + ".new", path)


def configuration(*issuers, **more):
    return dict({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": list(issuers)}, **more)


def issuer(o, **changes):
    out = {"issuer": {"url": o.url, "certificateAuthority": o.ca, "audiences": ["skiff", "other"], "audienceMatchPolicy": "MatchAny"},
           "claimValidationRules": [{"claim": "tenant", "requiredValue": "blue"}],
           "claimMappings": {"username": {"claim": "sub", "prefix": "oidc:"}, "groups": {"claim": "roles", "prefix": "oidc:"},
                             "uid": {"claim": "oid"}}}
    out.update(changes)
    return out


GOOD = {"sub": "jane", "tenant": "blue", "oid": "7", "roles": ["a", "b"]}


def good_ones(s, o):
    for a in ALGORITHMS:
        o.key(a)
    for a in ALGORITHMS:
        got = who(s, o.token(a, **GOOD))
        check("a token signed with " + a, isinstance(got, dict) and got["username"] == "oidc:jane" and got["uid"] == "7" and
              got["groups"] == ["oidc:a", "oidc:b", "system:authenticated"], got)
    check("the keys are fetched once", o.gets.count("/keys") == 1, o.gets)
    cases = [("an audience in a list", {"aud": ["x", "other"]}), ("groups as one string", {"roles": "a"}),
             ("no groups", {"roles": None}), ("nbf a minute ahead (clocks differ)", {"nbf": time.time() + 60}),
             ("exp with a fraction", {"exp": time.time() + 99.5})]
    for text, claims in cases:
        got = who(s, o.token(**dict(GOOD, **claims)))
        check(text, isinstance(got, dict) and got["username"] == "oidc:jane", got)
    got = s.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": o.token(**GOOD)}})
    equal("TokenReview knows it", got[1]["status"].get("user", {}).get("username"), "oidc:jane")
    got = s.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": o.token(**GOOD), "audiences": ["vault"]}})
    equal("but not for another audience", got[1]["status"].get("authenticated", False), False)


def bad_ones(s, o):
    good, stranger = o.claims(**GOOD), Key("ES256", "ES256")
    es, rs = o.key("ES256"), o.key("RS256")
    body = b64(json.dumps(good).encode())
    unsigned = b64(b'{"alg":"none"}') + "." + body + "."
    token = es.token(good)
    cases = [("expired", es.token(dict(good, exp=int(time.time()) - 2))), ("no exp", es.token(o.claims(**dict(GOOD, exp=None)))),
             ("nbf ten minutes ahead", es.token(dict(good, nbf=int(time.time()) + 600))),
             ("alg none", unsigned), ("alg none with a signature", unsigned + "AAAA"), ("no signature", token.rsplit(".", 1)[0] + "."),
             ("cut off", token[:-4]), ("another's key under our kid", stranger.token(good)),
             ("HS256 with our public key as its secret", Key("ES256", "RS256").token(good, alg="HS256", kid="RS256")),
             ("algorithm of another kind of key", es.token(good, alg="RS256")), ("ES384 on P-256", es.token(good, alg="ES384")),
             ("PS256 on an RS256 key", rs.token(good, alg="PS256")), ("crit", es.token(good, crit=["exp"])),
             ("another's claims under our signature", token.split(".")[0] + "." + b64(json.dumps(dict(good, sub="root")).encode()) +
              "." + token.split(".")[2]), ("another issuer", es.token(dict(good, iss="https://evil.example"))),
             ("our URL with a slash more", es.token(dict(good, iss=o.url + "/"))), ("foreign audience", es.token(dict(good, aud="vault"))),
             ("no audience", es.token(o.claims(**dict(GOOD, aud=None)))), ("audience is a number", es.token(dict(good, aud=1))),
             ("required claim is another", es.token(dict(good, tenant="red"))), ("required claim is missing", es.token(o.claims(**dict(GOOD, tenant=None)))),
             ("no name", es.token(o.claims(**dict(GOOD, sub=None)))), ("name is a number", es.token(dict(good, sub=1))),
             ("empty name", es.token(dict(good, sub=""))), ("groups of numbers", es.token(dict(good, roles=[1]))),
             ("groups is an object", es.token(dict(good, roles={}))), ("no uid", es.token(o.claims(**dict(GOOD, oid=None)))),
             ("exp is a string", es.token(dict(good, exp="9999999999"))), ("too long", es.token(dict(good, x="x" * 20000)))]
    for text, token in cases:
        equal("refused: " + text, who(s, token), 401)
    equal("a good one still counts", who(s, es.token(good))["username"], "oidc:jane")


def rotation(s, o):
    fetched = o.gets.count("/keys")
    o.keys["ES256"] = Key("ES256", "fresh")
    deadline, got = time.time() + 15, None
    while time.time() < deadline and not isinstance(got, dict):  # fetched again 10 s after the last time at the earliest
        got = who(s, o.token(**GOOD))
        time.sleep(0.2)
    check("a new key is found by its id", isinstance(got, dict), got)
    check("without a fetch for each token", o.gets.count("/keys") - fetched <= 2, o.gets[-5:])


def reload(s, o, path):
    def eventually(text, fn):
        deadline = time.time() + 10
        while time.time() < deadline and not fn():
            time.sleep(0.1)
        check(text, fn())
    token = o.token(**GOOD)
    write(path, configuration(issuer(o, claimMappings={"username": {"claim": "sub", "prefix": "new:"}})))
    eventually("a changed prefix counts", lambda: isinstance(who(s, token), dict) and who(s, token)["username"] == "new:jane")
    write(path, configuration(issuer(o, nonsense=1)))
    eventually("a wrong one is reported", lambda: "jwt[0].nonsense: unknown field" in open(s.dir + "/log").read())
    equal("and the old one stays", who(s, token)["username"], "new:jane")
    write(path, configuration(anonymous={"enabled": True, "conditions": [{"path": "/version"}]}))
    eventually("an issuer that is gone ends its tokens", lambda: who(s, token) == 401)
    equal("anonymous where a condition says so", s.call("GET", "/version", token=None)[0], 200)
    equal("and nowhere else", s.call("GET", "/healthz", token=None)[0], 401)


def wrong_ones(directory, o):
    """One server start each: it ends at once."""
    i = issuer(o)
    mapping = i["claimMappings"]
    cases = [
        ({"kind": "X"}, "kind: must be AuthenticationConfiguration"),
        ({"apiVersion": "v1"}, "apiVersion: must be"),
        ({"jwt": [dict(i, issuer=dict(i["issuer"], url="http://x"))]}, "URL scheme must be https"),
        ({"jwt": [dict(i, issuer=dict(i["issuer"], audiences=[]))]}, "jwt[0].issuer.audiences: Required value"),
        ({"jwt": [dict(i, issuer=dict(i["issuer"], audienceMatchPolicy=""))]}, "jwt[0].issuer.audienceMatchPolicy"),
        ({"jwt": [dict(i, issuer=dict(i["issuer"], discoveryURL=o.url))]}, "jwt[0].issuer.discoveryURL"),
        ({"jwt": [dict(i, issuer=dict(i["issuer"], certificateAuthority="x"))]}, "jwt[0].issuer.certificateAuthority"),
        ({"jwt": [i, i]}, "jwt[1].issuer.url: Duplicate value"),
        ({"jwt": [dict(i, claimMappings={})]}, "jwt[0].claimMappings.username: Required value"),
        ({"jwt": [dict(i, claimMappings={"username": {"claim": "sub"}})]}, "jwt[0].claimMappings.username.prefix: Required value"),
        ({"jwt": [dict(i, claimMappings=dict(mapping, uid={"expression": "claims.x"}))]}, "jwt[0].claimMappings.uid.expression: CEL"),
        ({"jwt": [dict(i, claimMappings=dict(mapping, extra=[{"key": "a/b", "valueExpression": "1"}]))]}, "jwt[0].claimMappings.extra[0].valueExpression: CEL"),
        ({"jwt": [dict(i, claimValidationRules=[{"expression": "true"}])]}, "jwt[0].claimValidationRules[0].expression: CEL"),
        ({"jwt": [dict(i, userValidationRules=[{"expression": "true"}])]}, "jwt[0].userValidationRules[0].expression: CEL"),
        ({"anonymous": {"enabled": False, "conditions": [{"path": "/x"}]}}, "anonymous.conditions"),
        ({"anonymous": {"conditions": "x"}}, "anonymous.conditions: must be a list"),
    ]
    path = directory + "/wrong.json"
    for change, wanted in cases:
        write(path, dict(configuration(i), **change))
        refused(directory, ["--authentication-config=" + path], "--authentication-config: " + path, wanted)
    refused(directory, ["--oidc-issuer-url=" + o.url], "--oidc-issuer-url needs --oidc-client-id")
    refused(directory, ["--anonymous-auth=maybe"], "--anonymous-auth")


def refused(directory, flags, *texts):
    p = subprocess.run([BIN + "/skiff-apiserver", "--secure-port=%d" % free_port(), "--bind-address=127.0.0.1",
                        "--data-dir=%s/db-%d" % (directory, random.randrange(1 << 30)), *flags], capture_output=True, text=True, timeout=20)
    check("refused at start: " + texts[-1], p.returncode != 0 and all(t in p.stderr + p.stdout for t in texts), p.stderr[-500:])


with tempfile.TemporaryDirectory() as directory, Outside(directory) as o:
    path = directory + "/authentication.json"
    write(path, configuration(issuer(o)))
    with Server("--authentication-config=" + path) as s:
        good_ones(s, o)
        bad_ones(s, o)
        rotation(s, o)
        reload(s, o, path)
        log = open(s.dir + "/log").read()
        check("no token in the log", "eyJ" not in log)
    fetched = o.gets.count("/keys")
    write(path, configuration(issuer(o, issuer=dict(issuer(o)["issuer"], discoveryURL=o.url + "/away/.well-known/openid-configuration"))))
    with Server("--authentication-config=" + path) as s:
        equal("a redirect of the discovery is not followed", who(s, o.token(**GOOD)), 401)
        equal("nothing was asked behind it", [g for g in o.gets if g == "/keys"][fetched:], [])
    flags = ["--oidc-issuer-url=" + o.url, "--oidc-client-id=skiff", "--oidc-ca-file=" + directory + "/ca.crt"]
    with open(directory + "/ca.crt", "w") as f:
        f.write(o.ca)
    o.key("RS256")
    with Server(*flags, "--oidc-groups-claim=roles", "--oidc-required-claim=tenant=blue", "--anonymous-auth=true") as s:
        equal("by flags: the issuer is the prefix", who(s, o.token("RS256", **GOOD))["username"], o.url + "#jane")
        equal("only RS256 by default", who(s, o.token("ES256", **GOOD)), 401)
        equal("a required claim", who(s, o.token("RS256", **dict(GOOD, tenant="red"))), 401)
        equal("anonymous anywhere, so forbidden", s.call("GET", "/api/v1/pods", token=None)[0], 403)
        equal("a bad token is never anonymous", s.call("GET", "/api/v1/pods", token="x.y.z")[0], 401)
    wrong_ones(directory, o)
finish()

"""
Somebody outside for the tests of authentication and authorization: an OpenID Connect issuer, a webhook, both over TLS with a
certificate of their own.

    with Outside(directory) as o:
        o.ca                                   # PEM of its CA
        token = o.token("RS256", sub="jane")   # signed by the first key of that kind
        o.answer = lambda path, body: {...}    # what POSTs get; o.posts are those that came
"""
import base64, datetime, http.server, ipaddress, json, ssl, threading, time
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

HASHES = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
CURVES = {"256": ("P-256", ec.SECP256R1, 32), "384": ("P-384", ec.SECP384R1, 48), "512": ("P-521", ec.SECP521R1, 66)}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(n, size=None):
    return b64(n.to_bytes(size or (n.bit_length() + 7) // 8, "big"))


class Key:
    def __init__(self, algorithm, kid):
        self.algorithm, self.kid = algorithm, kid
        bits = algorithm[2:]
        self.key = ec.generate_private_key(CURVES[bits][1]()) if algorithm[0] == "E" else rsa.generate_private_key(65537, 2048)

    def public(self):
        n = self.key.public_key().public_numbers()
        out = {"kid": self.kid, "use": "sig", "alg": self.algorithm}
        if self.algorithm[0] == "E":
            name, _, size = CURVES[self.algorithm[2:]]
            return dict(out, kty="EC", crv=name, x=number(n.x, size), y=number(n.y, size))
        return dict(out, kty="RSA", n=number(n.n), e=number(n.e))

    def sign(self, text):
        digest = HASHES[self.algorithm[2:]]()
        if self.algorithm[0] == "E":
            r, s = decode_dss_signature(self.key.sign(text, ec.ECDSA(digest)))
            size = CURVES[self.algorithm[2:]][2]
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        pad = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH) if self.algorithm[0] == "P" else padding.PKCS1v15()
        return self.key.sign(text, pad, digest)

    def token(self, claims, **header):
        head = b64(json.dumps(dict({"alg": self.algorithm, "kid": self.kid}, **header)).encode())
        body = head + "." + b64(json.dumps(claims).encode())
        return body + "." + b64(self.sign(body.encode()))


def certificate(directory, name):
    """(certificate and key in one file, the certificate's PEM); it is its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    cert = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1)).add_extension(x509.BasicConstraints(True, None), True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .sign(key, hashes.SHA256()))
    pem = cert.public_bytes(serialization.Encoding.PEM)
    path = "%s/%s.pem" % (directory, name)
    with open(path, "wb") as f:
        f.write(pem + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return path, pem.decode()


class Outside:
    def __init__(self, directory, name="outside"):
        self.dir = directory
        path, self.ca = certificate(directory, name)
        self.keys = {}
        self.posts, self.gets = [], []
        self.answer = lambda path, body: {}
        self.hang = threading.Event()  # set: requests are answered
        self.hang.set()
        outside = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self, tree, status=200, headers=()):
                data = json.dumps(tree).encode()
                self.send_response(status)
                for key, value in headers:
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                outside.gets.append(self.path)
                if self.path.startswith("/away"):
                    self.reply({}, 302, [("Location", outside.url + self.path[5:])])
                elif self.path.endswith("/.well-known/openid-configuration"):
                    self.reply({"issuer": outside.url, "jwks_uri": outside.url + "/keys"})
                elif self.path == "/keys":
                    self.reply({"keys": [k.public() for k in outside.keys.values()]})
                else:
                    self.reply({}, 404)

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outside.posts.append(body)
                outside.hang.wait()
                answer = outside.answer(self.path, body)
                try:
                    self.reply(*answer) if isinstance(answer, tuple) else self.reply(answer)
                except OSError:
                    pass

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(path)
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = "https://127.0.0.1:%d" % self.server.server_address[1]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.hang.set()
        self.server.shutdown()

    def key(self, algorithm, kid=None):
        kid = kid or algorithm
        if kid not in self.keys:
            self.keys[kid] = Key(algorithm, kid)
        return self.keys[kid]

    def claims(self, **claims):
        """Good ones, with changes; None takes a claim away."""
        out = dict({"iss": self.url, "aud": "skiff", "exp": int(time.time()) + 600, "iat": int(time.time())}, **claims)
        return {k: v for k, v in out.items() if v is not None}

    def token(self, algorithm="ES256", **claims):
        return self.key(algorithm).token(self.claims(**claims))

    def kubeconfig(self, name, path="/"):
        file = "%s/%s.kubeconfig" % (self.dir, name)
        with open(file, "w") as f:
            json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "c",
                       "clusters": [{"name": "c", "cluster": {"server": self.url + path, "certificate-authority-data":
                                     base64.b64encode(self.ca.encode()).decode()}}],
                       "users": [{"name": "u", "user": {"token": "of-the-api-server"}}],
                       "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}, f)
        return file

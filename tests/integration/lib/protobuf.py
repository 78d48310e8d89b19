"""
Reads and writes Kubernetes' protobuf by the table protobuf_fields.txt; shares no code with the server.

    kind, tree = read_object(bytes)       # {"kind": ..., "metadata": {...}}: what was on the wire, zeros too
    bytes = write_object(tree)
    same(tree of JSON, tree of protobuf)  # None, or where they differ: empty and absent are the same
"""
import base64, datetime, json, os, struct

MAGIC = b"k8s\0"
MESSAGES, KINDS = {}, {}  # type: {field: (numbers, type)}; (group/version, kind): type
for line in open(os.path.join(os.path.dirname(__file__), "protobuf_fields.txt")):
    if line.startswith("#"):
        continue
    name, *fields = line.split()
    if fields and "@" not in fields[0]:
        KINDS[fields.pop(0).replace("core/v1", "v1"), name.split(".")[-1]] = name
    MESSAGES[name] = {}
    for field in fields:
        head, kind = field.split(":", 1)
        key, numbers = head.rsplit("@", 1)
        MESSAGES[name][key] = (tuple(map(int, numbers.split("."))), kind)
MESSAGES["apiextensions.v1.CustomResourceSubresourceStatus"] = {}  # nothing in it
MESSAGES["PartialObjectMetadata"] = {"metadata": ((1,), "meta.v1.ObjectMeta")}
for version in "v1", "v1beta1":
    KINDS["meta.k8s.io/" + version, "PartialObjectMetadata"] = "PartialObjectMetadata"
CHOICE = "apiextensions.v1.JSONSchemaPropsOr"


def type_of(group_version, kind):
    if kind.endswith("List") and (group_version, kind[:-4]) in KINDS:
        name = kind + "@" + group_version
        MESSAGES[name] = {"metadata": ((1,), "meta.v1.ListMeta"), "items": ((2,), "[]" + KINDS[group_version, kind[:-4]])}
        return name
    return KINDS[group_version, kind]


# --- reading ---

def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def fields_of(data):
    """(number, wire type, value) of every field; a message ends where its bytes end."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = varint(data, at)
        elif wire == 1:
            value, at = data[at:at + 8], at + 8
        elif wire == 2:
            length, at = varint(data, at)
            value, at = data[at:at + length], at + length
            assert len(value) == length, "short field"
        else:
            raise ValueError("wire type %d" % wire)
        yield number, wire, value


def small(data):
    return {number: value for number, _, value in fields_of(data)}


def signed(value, bits):
    value &= (1 << 64) - 1
    value = value - (1 << 64) if value >> 63 else value
    assert -(1 << bits - 1) <= value < 1 << bits - 1, value
    return value


def read_time(data, micro):
    if not data:
        return None
    parts = small(data)
    assert set(parts) == {1, 2}, parts
    text = (datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=signed(parts[1], 64))).strftime("%Y-%m-%dT%H:%M:%S")
    return text + (".%06dZ" % (parts[2] // 1000) if micro else "Z")


def read_choice(data, kind):
    schemas = [f for f in fields_of(data)]
    if kind.endswith("OrBool"):
        inner = [v for n, _, v in schemas if n == 2]
        return read_message(inner[0], "apiextensions.v1.JSONSchemaProps") if inner else bool(small(data)[1])
    inner = [v for n, _, v in schemas if n == 1]
    if inner:
        return read_message(inner[0], "apiextensions.v1.JSONSchemaProps")
    rest = [v for n, _, v in schemas if n == 2]
    return [v.decode() for v in rest] if "StringArray" in kind else \
        [read_message(v, "apiextensions.v1.JSONSchemaProps") for v in rest]


def read_value(value, kind):
    if kind == "string":
        return value.decode("utf-8")
    if kind == "bool":
        return {0: False, 1: True}[value]
    if kind in ("int32", "int64"):
        return signed(value, int(kind[3:]))
    if kind == "double":
        return struct.unpack("<d", value)[0]
    if kind == "bytes":
        return base64.b64encode(value).decode()
    if kind == "Quantity":
        return small(value)[1].decode()
    if kind in ("Time", "MicroTime"):
        return read_time(value, kind == "MicroTime")
    if kind == "IntOrString":
        parts = small(value)
        assert set(parts) == {1, 2, 3}, parts
        return parts[3].decode() if parts[1] else signed(parts[2], 32)
    if kind == "raw":
        return json.loads(small(value)[1]) if value else None
    if kind.startswith("[]"):  # as a map's value: a message of its own
        return [read_value(v, kind[2:]) for _, _, v in fields_of(value)]
    if kind.startswith(CHOICE):
        return read_choice(value, kind)
    return read_message(value, kind)


def read_message(data, name, prefix=(), tree=None):
    tree = {} if tree is None else tree
    by_number = {numbers: (key, kind) for key, (numbers, kind) in MESSAGES[name].items()}
    last = 0
    for number, _, value in fields_of(data):
        assert number >= last, "fields of %s out of order" % name
        last = number
        path = prefix + (number,)
        if path in by_number:
            key, kind = by_number[path]
            if kind.startswith("[]"):
                tree.setdefault(key, []).append(read_value(value, kind[2:]))
            elif kind.startswith("map:"):
                entry = small(value)
                tree.setdefault(key, {})[entry[1].decode()] = read_value(entry[2], kind[4:])
            else:
                assert key not in tree, "%s twice in %s" % (key, name)
                tree[key] = read_value(value, kind)
        else:
            assert any(n[:len(path)] == path for n in by_number), "field %s of %s is not known" % (path, name)
            read_message(value, name, path, tree)
    return tree


def read_object(data):
    assert data[:4] == MAGIC, data[:40]
    unknown = small(data[4:])
    assert set(unknown) == {1, 2, 3, 4} and unknown[3] == unknown[4] == b"", unknown
    meta = small(unknown[1])
    version, kind = meta[1].decode(), meta[2].decode()
    tree = read_message(unknown[2], type_of(version, kind))
    return dict(tree, apiVersion=version, kind=kind)


def read_events(stream):
    """Events from a file-like stream, as {"type", "object"}."""
    while True:
        head = stream.read(4)
        if len(head) < 4:
            return
        parts = small(stream.read(int.from_bytes(head, "big")))
        yield {"type": parts[1].decode(), "object": read_object(small(parts[2])[1])}


# --- writing ---

def put_varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def field(number, value):
    if isinstance(value, int):
        return put_varint(number << 3) + put_varint(value)
    if isinstance(value, float):
        return put_varint(number << 3 | 1) + struct.pack("<d", value)
    return put_varint(number << 3 | 2) + put_varint(len(value)) + value


def wire_value(value, kind):
    if kind == "string":
        return value.encode()
    if kind in ("bool", "int32", "int64"):
        return int(value)
    if kind == "double":
        return float(value)
    if kind == "bytes":
        return base64.b64decode(value)
    if kind == "Quantity":
        return field(1, str(value).encode())
    if kind in ("Time", "MicroTime"):
        t = datetime.datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ" if "." in value else "%Y-%m-%dT%H:%M:%SZ")
        seconds = int((t - datetime.datetime(1970, 1, 1)).total_seconds())
        return field(1, seconds) + field(2, t.microsecond * 1000)
    if kind == "IntOrString":
        return field(1, 1) + field(3, value.encode()) if isinstance(value, str) else field(1, 0) + field(2, value)
    if kind == "raw":
        return field(1, json.dumps(value).encode())
    if kind.startswith("[]"):
        return b"".join(field(1, wire_value(v, kind[2:])) for v in value)
    if kind.startswith(CHOICE):
        return write_choice(value, kind)
    return write_message(value, kind)


def write_choice(value, kind):
    schema = "apiextensions.v1.JSONSchemaProps"
    if isinstance(value, bool):
        return field(1, int(value))
    if isinstance(value, dict):
        return (field(1, 1) if kind.endswith("OrBool") else b"") + \
            field(2 if kind.endswith("OrBool") else 1, write_message(value, schema))
    return b"".join(field(2, v.encode() if isinstance(v, str) else write_message(v, schema)) for v in value)


def write_message(tree, name, prefix=()):
    out, inner = {}, {}
    for key, (numbers, kind) in MESSAGES[name].items():
        if numbers[:len(prefix)] != prefix or tree.get(key) is None:
            continue
        number, value = numbers[len(prefix)], tree[key]
        if len(numbers) > len(prefix) + 1:
            inner[number] = True
        elif kind.startswith("[]"):
            out[number] = b"".join(field(number, wire_value(v, kind[2:])) for v in value)
        elif kind.startswith("map:"):
            out[number] = b"".join(field(number, field(1, k.encode()) + field(2, wire_value(v, kind[4:])))
                                   for k, v in value.items())
        else:
            out[number] = field(number, wire_value(value, kind))
    for number in inner:
        out[number] = field(number, write_message(tree, name, prefix + (number,)))
    return b"".join(out[n] for n in sorted(out))


def write_object(tree, name=None):
    name = name or type_of(tree["apiVersion"], tree["kind"])
    meta = field(1, tree["apiVersion"].encode()) + field(2, tree["kind"].encode())
    return MAGIC + field(1, meta) + field(2, write_message(tree, name))


# --- comparing ---

def is_empty(value):
    if isinstance(value, dict):
        return all(is_empty(v) for v in value.values())
    return value in (None, "", 0, False, [], "0")


def same(text, wire, path=""):
    """text: the JSON's tree; wire: what was read. None when they mean the same."""
    if isinstance(text, dict) and isinstance(wire, dict):
        for key in {**text, **wire}:
            if key in text and key in wire:
                found = same(text[key], wire[key], path + "." + key)
            else:
                found = None if is_empty(text.get(key, wire.get(key))) else \
                    "%s.%s: %r in JSON, %r in protobuf" % (path, key, text.get(key), wire.get(key))
            if found:
                return found
        return None
    if isinstance(text, list) and isinstance(wire, list) and len(text) == len(wire):
        return next(filter(None, (same(a, b, "%s[%d]" % (path, i)) for i, (a, b) in enumerate(zip(text, wire)))), None)
    return None if text == wire and type(text) == type(wire) or is_empty(text) and is_empty(wire) else \
        "%s: %r in JSON, %r in protobuf" % (path, text, wire)

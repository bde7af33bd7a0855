#!/usr/bin/python3
"""Holds the second client against test vectors: second_vectors.py crypto/testdata/vectors.json"""
import json, sys, types

sys.dont_write_bytecode = True
from second_client import *


def unhex(v):
    """The hex of a vector as bytes; suites, directions and exact JSON are text."""
    text = ("suite", "direction", "context", "name", "why", "record", "records", "receipt", "header", "bundle", "items", "line")
    return {k: x if k in text or isinstance(x, int) else [unhex(y) if isinstance(y, dict) else bytes.fromhex(y) for y in x]
            if isinstance(x, list) else bytes.fromhex(x) for k, x in v.items()}


def field(v):
    (kind, x), = v.items()
    return bytes.fromhex(x) if kind == "bytes" else [field(y) for y in x] if kind == "list" else x


def tuples(v):
    t = tup(v["context"].removeprefix("chatsecure/2 "), *map(field, v["items"]))
    return [(t, v["tuple"]), (H(t), v["hash"])]


def kem(v):
    key, pub = stored_kem_key(v["suite"], v["private"])
    return [(pub, v["public"]), (decapsulate(key, v["enc"], v["info"]), v["secret"])]


def seals(v):
    how = v["suite"], v["mk"], v["aad"]
    return [(seal(*how, v["plaintext"]), v["sealed"]), (unseal(*how, v["sealed"]), v["plaintext"])]


def line(v):
    sealed = seal(v["suite"], v["mk"], base64.b64encode(v["body"]), v["payload"])
    sa = {"seq": v["seq"], "random": v["random"]}
    return [(encode({"type": "secure", "sa-data": sa, "payload": sealed, "body": v["body"] or None}), v["line"].encode())]


def chain(v):
    c = Chain(v["suite"], v["session"], v["direction"], v["ck"])
    for link in v["links"]:
        yield c.n, link["n"]
        yield c.mk(link["random"]), link["mk"]
        c.forward()
        yield c.ck, link["next_ck"]


def step(v):
    at = types.SimpleNamespace(root=v["root"], suite=v["suite"], t3=v["t3"], steps=v["number"] - 1)
    keys = Conversation.derive_step(at, v["secret"], v["direction"], v["key_used"], v["enc"], v["new_key"])
    return [(keys, [v["next_root"], v["next_ck"]])]


def digests(v):
    d = [first_digest(v["t3"], v["direction"])]
    for record in v["records"]:
        d.append(next_digest(d[-1], record.encode()))
    return [(d, v["digests"])]


def message(v):
    header = v["header"].encode()
    decode(header, Conversation.HEADER)
    return [(message_signs(header, v["cipher_hash"]), v["signed"])]


def refused(v, sender):
    try:
        read_record(v["record"].encode(), sender)
    except Refused:
        return [(0, 0)]
    return [("taken", v["why"])]


def main(path):
    with open(path, encoding="utf-8") as f:
        vectors = json.load(f)
    del vectors["note"]
    vectors = {name: [unhex(v) for v in (part if isinstance(part, list) else [part])] for name, part in vectors.items()}
    sender = vectors["record"][0]["sender"]
    sections = {
        "tuple": tuples, "kem": kem, "seal": seals, "chain": chain, "line": line, "step": step, "digest": digests,
        "delegation": lambda v: [(delegation(v["leaf"], v["name"], v["spki"], v["not_before"], v["not_after"], v["mailbox"], v["mailbox_end"]), v["message"])],
        "bundle": lambda v: [(Bundle.read(v["bundle"].encode())[1], v["hash"])],
        "record": lambda v: [(read_record(v["record"].encode(), v["sender"])[0]["id"], v["id"].hex())],
        "receipt": lambda v: [(receipt_digest(v["t3"], v["direction"], decode(v["receipt"].encode(), RECEIPT)), v["digest"])],
        "message": message,
        "canonical": lambda v: [(encode(v["text"].decode()), v["json"])],
        "records_refused": lambda v: refused(v, sender),
    }
    need(set(vectors) == set(sections), "malformed", "other sections than " + ", ".join(sections))
    for name in ("seal", "chain", "line", "step"):
        need({v["suite"] for v in vectors[name]} == set(SUITES), "malformed", name + " of other suites")
    for name, part in vectors.items():
        for i, v in enumerate(part):
            checked = list(sections[name](v))
            need(checked and all(got == want for got, want in checked), "malformed", "%s %d: %r" % (name, i, checked))


if __name__ == "__main__":
    main(*sys.argv[1:])

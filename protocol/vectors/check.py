#!/usr/bin/env python3
"""Checks the vectors beside it with nothing but Python's own library: a second implementation of README.md, "Identity"."""

import hashlib
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
MAX = 2**53 - 1


def refuse(text):
    raise ValueError(f"not allowed: {text}")


def integer(text):
    value = int(text)
    return value if abs(value) <= MAX and text != "-0" else refuse(text)


def unique(pairs):
    return dict(pairs) if len(dict(pairs)) == len(pairs) else refuse("duplicate key")


def depth(value, at=0):
    if isinstance(value, (list, dict)):
        if at + 1 > 64:
            refuse("nesting")
        for one in value.values() if isinstance(value, dict) else value:
            depth(one, at + 1)


def read(text):
    value = json.loads(text, parse_int=integer, parse_float=refuse, parse_constant=refuse, object_pairs_hook=unique)
    depth(value)
    json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate has no UTF-8
    return value


def canonical(value):
    if isinstance(value, dict):
        members = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be"))
        return "{" + ",".join(canonical(name) + ":" + canonical(one) for name, one in members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, str):
        # json.dumps escapes U+007F nowhere and control characters as RFC 8785 asks.
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def joined(words, limit):
    digest = hashlib.sha256()
    for word in words:
        digest.update(len(word.encode()).to_bytes(8, "big") + word.encode())
    tail = digest.hexdigest()[:8]
    text = re.sub("[^a-z0-9]", "-", "-".join(words).lower())[: limit - 9].strip("-")
    lead = "" if re.match("[a-z]", text) else "x"
    return lead + text[: limit - 9 - len(lead)].rstrip("-") + "-" + tail


def main():
    hashes = json.loads((HERE / "hash.json").read_text())
    for one in hashes["documents"]:
        body = read(one["body"])
        assert canonical(body) == one["canonicalBody"], one
        assert sha(canonical({"resource": one["resource"], "spec": body})) == one["hash"], one
    for one in hashes["refused"]:
        try:
            read(one["body"])
        except (ValueError, RecursionError):
            continue
        sys.exit(f"was read: {one['about']}")
    for one in hashes["states"]:
        assert sha(canonical(one["state"])) == one["digest"], one

    inventory = json.loads((HERE / "inventory.json").read_text())
    buckets = {}
    for one in inventory["entries"]:
        key = f"{one['kind']}/{one['name']}"
        assert one["bucket"] == hashlib.sha256(key.encode()).digest()[0], one
        line = "\0".join([key, str(one["generation"]), one["hash"], one["state"]]) + "\n"
        buckets.setdefault(one["bucket"], []).append((key.encode(), line))
    digests = [sha("".join(line for _, line in sorted(buckets[n]))) if n in buckets else "" for n in range(256)]
    assert digests == inventory["digests"]
    assert sha("".join(one + "\n" for one in digests)) == inventory["root"]
    assert sha("\n" * 256) == inventory["emptyRoot"]

    for one in json.loads((HERE / "names.json").read_text()):
        assert joined(one["words"], one["max"]) == one["name"], one

    one = json.loads((HERE / "renewal.json").read_text())
    statement = f"pdp-agent renew v1\n{one['dataPlane']}\n{sha(one['csr'])}\n{one['time']}\n"
    assert statement == one["statement"]
    print("all vectors hold")


main()

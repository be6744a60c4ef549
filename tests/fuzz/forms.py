"""Changes of files whose form is known: JSON, JSONL, .npy and safetensors."""

import copy
import json
import re
import struct

from fuzz.changes import INTEGERS, NAMES, NUMBERS, change_text

DEPTHS = (20, 500, 3000, 100_000)


def change_json(rng, data):
    """Changes a value somewhere in a JSON text."""
    tree = json.loads(data)
    holder = [tree]
    places = [(holder, 0)]
    for node, key in places:  # grows while it is walked
        value = node[key]
        if isinstance(value, dict):
            places += [(value, k) for k in value]
        elif isinstance(value, list):
            places += [(value, k) for k in range(min(len(value), 50))]
    node, key = rng.choice(places)
    value = node[key]
    marker = "@@RAW@@"
    raw = None
    what = rng.randrange(10)
    if what <= 2:
        node[key] = rng.choice(
            (None, [], {}, "", True, False, 0, -1, 1.5, [[]], {"": None}, [None], "x", 2**70, -(2**63))
        )
    elif what == 3:
        raw = rng.choice(NUMBERS)
        node[key] = marker
    elif what == 4:
        node[key] = rng.choice(NAMES)
    elif what == 5:
        depth = rng.choice(DEPTHS)
        raw = rng.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth))
        node[key] = marker
    elif what == 6:
        node[key] = {str(k): v for k, v in enumerate(value)} if isinstance(value, list) else [value]
    elif what == 7:
        other, k = rng.choice(places)
        node[key] = copy.deepcopy(other[k])
    elif what == 8 and isinstance(node, dict):
        new = rng.choice(("unknown", *NAMES))
        node[new] = node.pop(key) if rng.random() < 0.5 else value
    elif isinstance(node, dict):
        if rng.random() < 0.5:
            del node[key]
        else:  # the key twice
            raw = f"1, {json.dumps(key)}: {json.dumps(rng.choice((None, 1, 'x', [], {})))}"
            node[key] = marker
    elif node is not holder:
        node[key : key + 1] = rng.choice(([], [value] * 2, [value] * 50))
    text = json.dumps(holder[0])
    return (text.replace(f'"{marker}"', raw, 1) if raw is not None else text).encode()


def change_lines(rng, data):
    """Changes one line of a JSONL file."""
    lines = data.split(b"\n")
    k = rng.randrange(len(lines))
    lines[k] = change_json(rng, lines[k])
    return b"\n".join(lines)


def change_npy(rng, data):
    """Changes the header of an .npy file, and mostly keeps its length right."""
    length = struct.unpack("<H", data[8:10])[0]
    header, body = data[10 : 10 + length], data[10 + length :]
    what = rng.randrange(5)
    if what == 0:
        shapes = (
            b"()",
            b"(0,)",
            b"(-1, 3, 6)",
            b"(1000000000000,)",
            b"(2, 2)",
            b"(99999999999, 99999999999, 9)",
            b"(1.5,)",
        )
        header = re.sub(
            rb"\([^)]*\)",
            rng.choice((*shapes, b"(" * 3000, b"-" * 9000 + b"1", b"(True, 3)", b"None", b"(1,)" * 400)),
            header,
        )
    elif what == 1:
        types = (
            b"|O",
            b"<f8",
            b">f4",
            b"<f2",
            b"<i8",
            b"|b1",
            b"<c8",
            b"<U9",
            b"|V4",
            b"|S0",
            b"<U0",
            b"<M8[s]",
            b"x" * 100,
            b"<U999999999",
        )
        header = re.sub(rb"'descr': '[^']*'", b"'descr': '" + rng.choice(types) + b"'", header)
    elif what == 2:
        header = header.replace(b"False", rng.choice((b"True", b"None", b"0", b"__import__('os').system('true')")))
    elif what == 3:
        header = change_text(rng, header)
    else:
        values = struct.pack("<f", rng.choice((float("nan"), float("inf"), -1.0, 0.0, 1e38, 1e-38, 0.5)))
        at = 4 * rng.randrange(max(1, len(body) // 4))
        body = body[:at] + values * rng.choice((1, 4, 1000)) + body[at + 4 :]
        body = body[: len(data) - 10 - length]
    if rng.random() < 0.1:
        return data[:8] + struct.pack("<H", rng.choice((0, 1, 65535))) + header + body
    if len(header) > 65_000:
        header = header[:65_000]
    return data[:8] + struct.pack("<H", len(header)) + header + body


def change_safetensors(rng, data):
    """Changes the JSON header of a safetensors file, and mostly keeps its length right."""
    length = struct.unpack("<Q", data[:8])[0]
    header = change_json(rng, data[8 : 8 + length])
    size = len(header) if rng.random() < 0.9 else rng.choice(INTEGERS)
    return struct.pack("<Q", size) + header + data[8 + length :]

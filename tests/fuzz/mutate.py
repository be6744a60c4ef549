"""Changes the bytes of a file as an attacker or a broken disk would: bytes, lengths, numbers, names, JSON, archives."""

import copy
import io
import json
import re
import struct
import zipfile

NAMES = (
    "../../outside.txt", "/etc/hostname", "~root/x", "a\0b", "..", ".", "", "a/../../b", "C:\\x\\y", "x" * 300,
    "x" * 70_000, "\ud800", "\u202e\u0000", "\x1b[31mred", "line\nline", "cat.jpg\r", "é" * 50, "os:system", "nan",
)  # fmt: skip
NUMBERS = (
    "-1", "0", "1", "2", "255", "65536", "2147483647", "2147483648", "4294967296", "9223372036854775807",
    "9223372036854775808", "1e400", "-1e400", "1e308", "NaN", "Infinity", "-Infinity", "0.5", "1e-320", "9" * 5000,
    "-9223372036854775809", "18446744073709551616", "1_0", "0x10", "٣", "1000000000",
)  # fmt: skip
INTEGERS = (0, 1, 2, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
PIECES = (
    b"\0", b"\xff" * 8, b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\r\n", b"\n", b"\t", b",", b'"', b"\\", b"{", b"[", b"\x1b[2J",
    b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"version https://git-lfs.github.com/spec/v1\n", b"\xf0\x9f\x98\x80",
)  # fmt: skip
DEPTHS = (20, 500, 3000, 100_000)
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
WORD = re.compile(rb"[A-Za-z][\w.#-]+")


def mutate(rng, name, data, others=()):
    """Returns a changed file.

    Args:
        rng: a `random.Random`.
        name: of the file; its ending says which form is changed.
        data: its bytes.
        others: the bytes of other seeds, for splices.
    """
    kind = form_of(name, data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        structured = FORMS.get(kind)
        if structured and rng.random() < 0.7:
            try:
                data = structured(rng, data)
                continue
            except Exception:  # it is broken already: change its bytes
                pass
        data = change_bytes(rng, data, others)
    return data


def form_of(name, data):
    """Returns which form a file has."""
    if data[:6] == b"\x93NUMPY":
        return "npy"
    if data[:2] == b"PK":
        return "zip"
    if name.endswith((".json", "metadata")) and data[:1] in b"{[":
        return "json"
    if name.endswith((".jsonl", ".ndjson")):
        return "jsonl"
    if name.endswith(".safetensors"):
        return "safetensors"
    return "text" if name.endswith((".txt", ".csv", ".tsv", ".token")) else "bytes"


def change_bytes(rng, data, others=()):
    """Flips, cuts, doubles, inserts, splices, or writes a number over a length."""
    data = bytearray(data)
    size = len(data)
    at = rng.randrange(size) if size else 0
    end = min(size, at + rng.choice((1, 2, 4, 8, 64, 1000, size or 1)))
    what = rng.randrange(9)
    if what == 0 and size:
        data[at] ^= 1 << rng.randrange(8)
    elif what == 1 and size:
        data[at] = rng.randrange(256)
    elif what == 2:
        del data[at:]
    elif what == 3:
        del data[at:end]
    elif what == 4:
        data[at:at] = data[at:end]
    elif what == 5:
        data[at:at] = rng.choice(PIECES)
    elif what == 6 and others:
        other = rng.choice(others)
        data[at:] = other[rng.randrange(len(other) or 1) :]
    elif what == 7:
        form = rng.choice(("<H", "<I", ">I", "<Q", ">Q"))
        value = rng.choice(INTEGERS) % (1 << (8 * struct.calcsize(form)))
        data[at : at + struct.calcsize(form)] = struct.pack(form, value)
    else:
        return change_text(rng, bytes(data))
    return bytes(data)


def change_text(rng, data):
    """Writes a hostile number over a number, or a hostile name over a word; or changes lines."""
    what = rng.randrange(4)
    if what in (0, 1):
        found = list((NUMBER if what == 0 else WORD).finditer(data[:100_000]))
        if not found:
            return data
        match = rng.choice(found)
        new = rng.choice(NUMBERS).encode() if what == 0 else rng.choice(NAMES).encode("utf-8", "surrogatepass")
        return data[: match.start()] + new + data[match.end() :]
    separator = rng.choice((b"\n", b"\t", b",", b" "))
    parts = data.split(separator)
    k = rng.randrange(len(parts))
    if what == 2:
        parts[k : k + 1] = rng.choice(([], [parts[k]] * 2, [b""], [b" "], [parts[-1]]))
    else:
        rng.shuffle(parts)
    return separator.join(parts)


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
        header = re.sub(rb"\([^)]*\)", rng.choice((*shapes, b"(" * 3000, b"(True, 3)", b"None", b"(1,)" * 400)), header)
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


def change_zip(rng, data):
    """Changes one file in a ZIP archive (.npz, PyTorch), or its name."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(files))
    what = rng.randrange(6)
    if what == 0:
        files[rng.choice([n for n in NAMES if n.isprintable() and n])[:1000]] = files.pop(name)
    elif what == 1:
        del files[name]
    elif what == 2:
        files[name] = b"\0" * rng.choice((10, 10_000_000))
    else:
        files[name] = mutate(rng, name, files[name], list(files.values()))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if rng.random() < 0.5 else zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def change_safetensors(rng, data):
    """Changes the JSON header of a safetensors file, and mostly keeps its length right."""
    length = struct.unpack("<Q", data[:8])[0]
    header = change_json(rng, data[8 : 8 + length])
    size = len(header) if rng.random() < 0.9 else rng.choice(INTEGERS)
    return struct.pack("<Q", size) + header + data[8 + length :]


FORMS = {
    "json": change_json, "jsonl": change_lines, "npy": change_npy, "zip": change_zip, "text": change_text,
    "safetensors": change_safetensors,
}  # fmt: skip

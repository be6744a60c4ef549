"""Changes of bytes and of texts: flipped and cut bytes, lengths, hostile numbers and names."""

import re
import struct

NAMES = (
    "../../outside.txt", "/etc/hostname", "~root/x", "a\0b", "..", ".", "", "a/../../b", "C:\\x\\y", "x" * 300,
    "x" * 70_000, "\ud800", "\u202e\u0000", "\x1b[31mred", "line\nline", "cat.jpg\r", "é" * 130, "os:system", "nan",
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
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
WORD = re.compile(rb"[A-Za-z][\w.#-]+")


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

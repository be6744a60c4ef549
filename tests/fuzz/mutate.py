"""Changes a file as an attacker or a broken disk would, by its form: JSON, arrays, archives, texts, bytes."""

import io
import zipfile

from fuzz.changes import NAMES, change_bytes, change_text
from fuzz.forms import change_json, change_lines, change_npy, change_safetensors


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


FORMS = {
    "json": change_json, "jsonl": change_lines, "npy": change_npy, "zip": change_zip, "text": change_text,
    "safetensors": change_safetensors,
}  # fmt: skip

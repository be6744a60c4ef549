"""Runs the notebooks and saves a picture of each for docs/notebooks.md (pip install -e '.[notebooks]').

python notebooks/pictures.py [NOTEBOOK ...]
"""

import base64
import pathlib
import sys
import tempfile

import nbclient
import nbformat

ROOT = pathlib.Path(__file__).resolve().parents[1]


def last_picture(path: pathlib.Path) -> bytes | None:
    """Runs a notebook in an empty directory. Returns its last picture as PNG, or None where it draws nothing."""
    book = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as place:
        nbclient.NotebookClient(book, timeout=1800, resources={"metadata": {"path": place}}).execute()
    outputs = [out for cell in book.cells for out in cell.get("outputs", ()) if "image/png" in out.get("data", {})]
    return base64.b64decode(outputs[-1]["data"]["image/png"]) if outputs else None


def main(names: list[str]) -> None:
    """Saves the pictures of the named notebooks, or of all."""
    every = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    if unknown := [name for name in names if name not in every]:
        sys.exit(f"{unknown[0]}: no such notebook; there are {', '.join(every)}")
    for path in [every[name] for name in names or every]:
        picture = last_picture(path)
        if picture is None:
            print(f"{path.stem}: draws nothing")
            continue
        target = ROOT / "docs" / "pictures" / f"notebook-{path.stem}.png"
        target.write_bytes(picture)
        print(f"{target.relative_to(ROOT)}: {len(picture) / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])

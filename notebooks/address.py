"""Says where the repository is, so that the notebooks open and install in Colab: run this once after you publish it.

    python notebooks/address.py OWNER/NAME [BRANCH]

It writes a badge at the top of each notebook and in docs/notebooks.md, and the address in the cell that installs the
library. Run it again with another address, and it replaces the old one.
"""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\)\n\n")
SOURCE = re.compile(r'^SOURCE = ".*?"', flags=re.MULTILINE)


def badge(repository: str, branch: str, notebook: str) -> str:
    """Returns the Markdown of a badge that opens a notebook in Colab."""
    picture = "https://colab.research.google.com/assets/colab-badge.svg"
    page = f"https://colab.research.google.com/github/{repository}/blob/{branch}/notebooks/{notebook}.ipynb"
    return f"[![Open in Colab]({picture})]({page})\n\n"


def write(root: pathlib.Path, repository: str, branch: str) -> list[pathlib.Path]:
    """Writes the address into the notebooks and the page about them. Returns the files that it changed."""
    changed = []
    page = root / "docs" / "notebooks.md"
    text = BADGE.sub("", page.read_text(encoding="utf-8"))
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        link = badge(repository, branch, path.stem)
        text = re.sub(rf"^(## `{path.stem}`\n\n)", lambda found, link=link: found[1] + link, text, flags=re.MULTILINE)
        before = path.read_text(encoding="utf-8")
        book = json.loads(before)
        title, install = book["cells"][:2]
        title["source"] = (link + BADGE.sub("", "".join(title["source"]))).splitlines(keepends=True)
        code = SOURCE.sub(f'SOURCE = "git+https://github.com/{repository}@{branch}"', "".join(install["source"]))
        install["source"] = code.splitlines(keepends=True)
        after = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
        if after != before:
            path.write_text(after, encoding="utf-8")
            changed.append(path)
    if text != page.read_text(encoding="utf-8"):
        page.write_text(text, encoding="utf-8")
        changed.append(page)
    return changed


def main(words: list[str]) -> int:
    """Runs the command; returns its exit code."""
    if not 1 <= len(words) <= 2 or not re.fullmatch(r"[\w.-]+/[\w.-]+", words[0]):
        print("usage: python notebooks/address.py OWNER/NAME [BRANCH]", file=sys.stderr)
        return 2
    for path in write(ROOT, words[0], words[1] if len(words) > 1 else "main"):
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

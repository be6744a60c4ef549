"""Pages of the site that are not in docs/: those above it, and the reference, made from the docstrings."""

import pathlib
import posixpath
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Files elsewhere in the repository, and their places in the site.
ELSEWHERE = {"README.md": "index.md", "launch/README.md": "launch.md", "launch/growth.png": "growth.png"}
ELSEWHERE |= {name: name for name in ("RESULTS.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")}
LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)]*)?\))")
# The parts of the package that a user calls from Python.
PUBLIC = (
    "config",
    "structs",
    "modules",
    "losses",
    "metrics",
    "scoring",
    "models",
    "data",
    "evaluation",
    "training",
    "testing",
    "viz",
    "pretrained",
    "hub",
    "search",
)


def on_files(files, config):
    """Adds the pages."""
    for source, place in ELSEWHERE.items():
        if not source.endswith(".md"):
            files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
            continue
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=_with_links(text, posixpath.dirname(source))))
    pages = {f"reference/{part}.md": _reference(part) for part in PUBLIC}
    contents = [f"- [{part}](reference/{part}.md)" for part in PUBLIC]
    start = "# Reference\n\nMade from the docstrings: one page for each part of the package.\n\n"
    for place, text in ({"reference.md": start + "\n".join(contents) + "\n"} | pages).items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Mends the links of the pages of docs/ to files above it."""
    return markdown if page.file.generated_by else _with_links(markdown, "docs")


def _with_links(text: str, folder: str) -> str:
    """Returns a page of the repository's `folder` with its links as they are in the site."""

    def mended(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[2]))
        if path in ELSEWHERE:
            return f"{match[1]}{ELSEWHERE[path]}{match[3]}"
        if path.startswith("docs/"):
            return f"{match[1]}{path.removeprefix('docs/')}{match[3]}"
        return match[0]

    return LINK.sub(mended, text)


def _reference(part: str) -> str:
    """Returns a page with the docstrings of a module, or of all modules of a folder."""
    place = ROOT / "itm_jax" / part
    modules = [f"itm_jax.{part}"]
    if place.is_dir():
        inside = sorted(p.relative_to(ROOT).with_suffix("") for p in place.rglob("*.py"))
        modules = [".".join(p.parts) for p in inside if p.name not in ("__init__", "__main__")]
        package = (place / "__init__.py").read_text(encoding="utf-8")
        modules = [f"itm_jax.{part}"] * ("def " in package) + modules
    parts = [f"# {part}\n", *(f"## {name}\n\n::: {name}\n    options:\n      heading_level: 3\n" for name in modules)]
    return "\n".join(parts)

"""The smallest input of each finding: corpus/TARGET/FINDING/ has the files that differ from the seed files."""

import pathlib

PLACE = pathlib.Path(__file__).parent / "corpus"


def findings(target):
    """Yields (name of the finding, its changed files) of a target."""
    for folder in sorted(p for p in (PLACE / target).glob("*") if p.is_dir()):
        yield folder.name, read(folder)


def read(folder):
    """Returns the files of a folder, {name: bytes}."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def write(target, finding, files):
    """Keeps a finding."""
    for name, content in files.items():
        path = PLACE / target / finding / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

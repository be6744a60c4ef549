"""The locked versions are those that the project asks for."""

import configparser
import re

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.paths import ROOT

LOCKED = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>\S+)(?: ; (?P<marker>.*?))? \\$", re.MULTILINE)


def locked():
    """(name, version) -> the text of its hashes."""
    text = (ROOT / "requirements.lock").read_text()
    found = list(LOCKED.finditer(text))
    ends = [one.start() for one in found[1:]] + [len(text)]
    return {
        (canonicalize_name(one["name"]), one["version"]): text[one.end() : end]
        for one, end in zip(found, ends, strict=True)
    }


def wanted():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"] + config["options.extras_require"]["test"]
    return [Requirement(line) for line in lines.splitlines() if line.strip()]


def test_every_requirement_is_locked_to_a_version_that_it_allows():
    versions = locked()
    assert len(versions) > 60
    for requirement in wanted():
        mine = [version for name, version in versions if name == canonicalize_name(requirement.name)]
        assert mine, f"{requirement}: not in requirements.lock; CONTRIBUTING.md says how to make it anew"
        assert all(requirement.specifier.contains(version) for version in mine), (requirement, mine)


def test_every_locked_package_has_hashes_and_no_address():
    assert all("--hash=sha256:" in hashes for hashes in locked().values())
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_the_lock_has_the_versions_of_the_figures():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line.partition("==")[::2] for line in lines if line and not line.startswith("#")]
    versions = locked()
    names = {name for name, _ in versions}
    differ = [(n, v) for n, v in pinned if canonicalize_name(n) in names and (canonicalize_name(n), v) not in versions]
    assert not differ

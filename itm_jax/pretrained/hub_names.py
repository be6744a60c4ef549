"""Checkpoints by their name on the Hugging Face hub: `user/name`, or `user/name@revision` for one revision of it."""

import fnmatch
import pathlib
import re
from collections.abc import Sequence

from itm_jax.errors import InputError

HUB_SECONDS = 10.0  # that the hub may take to answer, before the cache is looked at
LONGEST_REASON = 160  # characters of an error of the hub that are shown
COMMIT = re.compile(r"[0-9a-f]{40}")
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"

# What each name stood for when this process first asked: all parts of a run read the same commit, and where the hub
# does not answer, only the first of them waits for it.
_found: dict[tuple[str, tuple[str, ...]], pathlib.Path] = {}


def split_revision(name: str) -> tuple[str, str | None]:
    """Splits `name@revision` into the name and the revision, which is None where the name has none.

    A revision is a branch, a tag, a commit hash or `refs/pr/N`. Raises InputError where nothing follows the `@`.
    """
    base, separator, revision = name.partition("@")
    if separator and not revision:
        raise InputError(f"{name}: no revision after @; write {base}@v1, or {base} for the newest")
    return base, revision or None


def snapshot(name: str, files: Sequence[str], *, weights: Sequence[str] = (), flag: str) -> pathlib.Path:
    """Returns the local directory of a repository of the hub; what its cache lacks is downloaded.

    Where the hub cannot be reached or refuses, the cache is used. A commit hash that is in the cache needs no hub.

    Args:
        name: the name on the hub, with or without a revision.
        files: patterns of the files that are wanted.
        weights: patterns of the weights; a repository without any of them is refused before the download.
        flag: the flag or field that names it, for messages.

    Raises:
        InputError: the hub has no such name or revision, refuses it or cannot be reached, and it is not in the cache;
            or the repository has no weights that can be read.
    """
    key = (name, tuple(files))
    known = _found.get(key)
    if known is not None and known.is_dir():
        return known
    base, revision = split_revision(name)
    directory = _cached(base, revision, files, weights) if COMMIT.fullmatch(revision or "") else None
    if directory is None:
        directory = _fetch(name, files, weights, flag)
    _found[key] = directory
    return directory


def check_on_hub(name: str, files: Sequence[str], *, weights: Sequence[str] = (), flag: str) -> None:
    """Raises InputError where a name is neither in the hub's cache nor on the hub; no weights are downloaded."""
    import huggingface_hub

    base, revision = split_revision(name)
    if _cached(base, revision, files, weights) is not None:
        return
    try:
        info = _ask(base, revision)
        if info.gated:  # everybody may read the listing of such a repository
            url = huggingface_hub.hf_hub_url(base, "config.json", revision=revision)
            huggingface_hub.get_hf_file_metadata(url, timeout=HUB_SECONDS)
    except Exception as e:
        raise _not_on_hub(name, e, flag) from None
    _check_weights(name, info, weights, flag)


def _fetch(name: str, files: Sequence[str], weights: Sequence[str], flag: str) -> pathlib.Path:
    import huggingface_hub

    base, revision = split_revision(name)
    try:
        info = _ask(base, revision)  # snapshot_download itself would wait for an answer without an end
    except Exception as e:  # the hub raises many kinds: no network, no such name, no access
        gone = isinstance(e, huggingface_hub.errors.RevisionNotFoundError)
        directory = None if gone else _cached(base, revision, files)
        if directory is None:
            raise _not_on_hub(name, e, flag) from None
        return directory
    _check_weights(name, info, weights, flag)
    try:
        return pathlib.Path(huggingface_hub.snapshot_download(base, revision=revision, allow_patterns=list(files)))
    except Exception as e:
        raise _not_on_hub(name, e, flag) from None


def _ask(base: str, revision: str | None):
    import huggingface_hub

    return huggingface_hub.HfApi().model_info(base, revision=revision, timeout=HUB_SECONDS)


def _cached(base: str, revision: str | None, files: Sequence[str], weights: Sequence[str] = ()) -> pathlib.Path | None:
    """Returns the directory in the hub's cache; None where it is not there, or is known not to be complete.

    Of a repository that another version of huggingface_hub downloaded, only whether it has any weights is known.
    """
    import huggingface_hub

    try:
        directory = huggingface_hub.snapshot_download(
            base, revision=revision, allow_patterns=list(files), local_files_only=True
        )
    except Exception:  # not there, or not a valid name
        return None
    path = pathlib.Path(directory)
    has_weights = not weights or any(True for pattern in weights for _ in path.glob(pattern))
    return path if has_weights else None


def _check_weights(name: str, info, weights: Sequence[str], flag: str) -> None:
    """Raises InputError where a repository has none of the weights that are wanted."""
    paths = [sibling.rfilename for sibling in info.siblings or ()]
    if not weights or any(fnmatch.fnmatch(path, pattern) for path in paths for pattern in weights):
        return
    pickles = sorted(path for path in paths if "/" not in path and path.endswith(".bin"))
    if not pickles:
        raise InputError(f"{name}: this repository of the Hugging Face hub has no {weights[0]}; pass another as {flag}")
    base, _ = split_revision(name)
    raise InputError(
        f"{name}: this repository of the Hugging Face hub has no {weights[0]}, and its {pickles[0]} is a pickle, which "
        f"is not read; pass a revision that has safetensors, such as {base}@refs/pr/N (see its pull requests), or "
        f"save it with transformers' save_pretrained(DIR) and pass DIR as {flag}"
    )


def _not_on_hub(name: str, error: Exception, flag: str) -> InputError:
    return InputError(
        f"{name}: not a local directory, and not available from the Hugging Face hub ({_reason(name, error)}); "
        f"download it and pass its directory as {flag}"
    )


def _reason(name: str, error: Exception) -> str:
    """Says in a few words why the hub did not give a repository, and what can be done where that is known."""
    from huggingface_hub import constants, errors

    base, revision = split_revision(name)
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return f"its owner gives access on request: ask on its page, then {LOG_IN}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"it has no {base}, or that is private: check the name; for a private one, {LOG_IN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{base} has no revision {revision}"
    if status == 401:
        return f"it refuses the token: {LOG_IN}, or unset HF_TOKEN"
    if status is not None and status >= 500:
        return f"{constants.ENDPOINT} answers with status {status}: try again later"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, and the cache does not have it"
    if "Timeout" in type(error).__name__:
        return f"no answer from {constants.ENDPOINT} in {HUB_SECONDS:.0f} seconds: check the network"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    if len(reason) > LONGEST_REASON:
        reason = f"{reason[:LONGEST_REASON]} ..."
    return f"no connection to {constants.ENDPOINT}: {reason}" if "Connect" in type(error).__name__ else reason

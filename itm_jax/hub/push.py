"""Uploads an exported model to the Hugging Face hub."""

import pathlib
import re

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from itm_jax.errors import InputError
from itm_jax.hub.folder import FILES, RECORD

NAME = re.compile(r"[\w.-]+/[\w.-]+")
UNAUTHORISED = (401, 403)


def check_push(name: str) -> None:
    """Raises InputError where nothing can be uploaded under a name: it is no name, or there is no token."""
    if not NAME.fullmatch(name):
        raise InputError(f"--push={name}: must be USER/NAME, a repository on the Hugging Face hub")
    if huggingface_hub.get_token() is None:
        raise InputError(
            f"--push={name}: no token of the Hugging Face hub; set HF_TOKEN, or run `hf auth login`, with a token that "
            "may write"
        )


def push(folder: pathlib.Path, name: str, *, private: bool = False) -> str:
    """Uploads an exported folder; the repository is made where there is none.

    Args:
        folder: the exported model.
        name: USER/NAME on the hub.
        private: whether a new repository is private.

    Returns:
        The address of the commit.

    Raises:
        InputError: there is no token, it may not write, or the hub cannot be reached.
    """
    check_push(name)
    if not (folder / RECORD).is_file():
        raise InputError(f"{folder}: has no {RECORD}, so it is no exported model; export the run first")
    api = huggingface_hub.HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True)
        message = "Export a model of itm_jax"
        # What the folder holds besides stays here; what an earlier export left on the hub goes.
        files = list(FILES)
        info = api.upload_folder(
            repo_id=name, folder_path=folder, commit_message=message, allow_patterns=files, delete_patterns=files
        )
        return str(info.commit_url)
    except HFValidationError as e:
        raise InputError(f"--push={name}: {_first_line(e)}") from None
    except HfHubHTTPError as e:
        if e.response.status_code in UNAUTHORISED:
            raise InputError(
                f"--push={name}: the hub does not accept the token ({_first_line(e)}); take a token of this user that "
                "may write"
            ) from None
        raise InputError(f"--push={name}: {_first_line(e)}; {folder} is intact, run the same command again") from None
    except Exception as e:  # no connection: the hub's client raises many kinds
        raise InputError(
            f"--push={name}: no answer of the hub ({_first_line(e)}); {folder} is intact, run the same command again"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

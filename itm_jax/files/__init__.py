"""Files: JSON texts, arrays, whole files, paths inside a folder, free disk space, and the cache directory."""

from itm_jax.files.arrays import OBJECTS, Header, map_npy, npy_header, read_npy, read_npz
from itm_jax.files.owners import describe_owner, owner_record
from itm_jax.files.places import (
    NO_LOCKS,
    PROGRAMS,
    STATES_PREFIX,
    cache_dir,
    check_space,
    existing,
    free_space,
    is_inside,
)
from itm_jax.files.texts import LFS_HINT, is_lfs_pointer, parse_json, read_json
from itm_jax.files.writing import make_directory, umask, whole, write_array, write_whole

__all__ = [
    "LFS_HINT",
    "NO_LOCKS",
    "OBJECTS",
    "PROGRAMS",
    "STATES_PREFIX",
    "Header",
    "cache_dir",
    "check_space",
    "describe_owner",
    "existing",
    "free_space",
    "is_inside",
    "is_lfs_pointer",
    "make_directory",
    "map_npy",
    "npy_header",
    "owner_record",
    "parse_json",
    "read_json",
    "read_npy",
    "read_npz",
    "umask",
    "whole",
    "write_array",
    "write_whole",
]

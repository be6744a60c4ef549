"""Checks of shapes and types while tests run: every call of the package, and every struct that is made of arrays."""

import pathlib
import typing

import jax
import numpy as np
from beartype import BeartypeConf, beartype
from beartype.door import is_bearable
from jaxtyping import install_import_hook, jaxtyped

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an integer may stand for a number
STRUCTS = "itm_jax.structs"
ARRAYS = (jax.Array, np.ndarray)


def check_every_call(package: pathlib.Path) -> None:
    """Has every annotation of the package checked at every call; to be called before the package is imported.

    The structs are left out: JAX also fills them with other things than arrays, shardings and shapes for example.
    """
    names = [p.stem if p.suffix == ".py" else p.name for p in package.iterdir() if p.suffix == ".py" or p.is_dir()]
    modules = [f"itm_jax.{name}" for name in names if not name.startswith("_")]
    install_import_hook([name for name in modules if name != STRUCTS], "support.shapes.typechecker")


def check_every_struct() -> None:
    """Has the fields of every struct checked when it is made of arrays."""
    from itm_jax import structs

    for kind in (structs.Regions, structs.Tokens, structs.Fragments):
        _check(kind)


def _check(kind: type) -> None:
    hints, plain = typing.get_type_hints(kind), kind.__init__

    def checked(self, *args, **kwargs):
        plain(self, *args, **kwargs)
        values = {name: getattr(self, name) for name in hints}
        arrays = all(value is None or isinstance(value, ARRAYS) for value in values.values())
        if not arrays or getattr(values["mask"], "ndim", 0) != 2:  # blocks of items have an axis more
            return
        with jaxtyped("context"):
            for name, value in values.items():
                if not is_bearable(value, hints[name]):
                    raise TypeError(f"{kind.__name__}.{name}: {value!r} is no {hints[name]}")

    kind.__init__ = checked

"""The packages: `configs/` beside the package is installed as `itm_jax.configs`. All else is in setup.cfg."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["itm_jax", "itm_jax.*"]), "itm_jax.configs", "itm_jax.configs.tables"],
    package_dir={"itm_jax.configs": "configs", "itm_jax.configs.tables": "configs/tables"},
)

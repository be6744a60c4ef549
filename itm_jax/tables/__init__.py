"""The papers' tables: their definition, their missing runs, and their rendering beside published numbers."""

from itm_jax.tables.table import Base, Row, Table

__all__ = ["Base", "Row", "Table"]

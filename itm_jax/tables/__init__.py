"""The papers' tables: what they are made of, running what is missing of them, and rendering them beside published numbers."""

from itm_jax.tables.table import Base, Row, Table

__all__ = ["Base", "Row", "Table"]

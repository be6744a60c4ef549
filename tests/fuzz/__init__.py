"""Hostile files for every reader of the library: changed seed files, read under limits (docs/robustness.md)."""

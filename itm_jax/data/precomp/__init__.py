"""Reads SCAN's `precomp` directories: features, captions, ids and companions."""

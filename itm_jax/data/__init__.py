"""Reads data sets (`precomp`, `scenes`, `tfds`) and text, completes a config on them, and makes batches."""

"""Writes and reads TFDS data sets of ArrayRecord files, without TensorFlow."""

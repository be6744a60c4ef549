"""TFDS data sets of ArrayRecord files, without TensorFlow."""

"""Matching losses: hinge triplet and mixed negatives."""

"""Matching losses: hinge triplet, mixed negatives, and which pairs are negatives."""

"""Trained models outside their runs: load one in a line, encode images and captions of your own, score, explain."""

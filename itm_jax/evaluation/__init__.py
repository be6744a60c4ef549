"""Evaluation of a run: encode, score, rank, and write the results."""

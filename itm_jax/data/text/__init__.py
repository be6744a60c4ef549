"""Captions as word pieces, vocabularies, and the states of frozen text encoders."""

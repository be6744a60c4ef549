"""Captions as word pieces, vocabularies, and the hidden states of frozen text encoders."""

"""One module per step of the papers."""

"""The built-in generated data set `scenes`."""

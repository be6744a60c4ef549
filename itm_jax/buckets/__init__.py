"""Buckets: their objects, the lease of a writer, and local copies of their folders, through obstore."""

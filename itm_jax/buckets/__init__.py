"""Buckets: a workdir and data that lie in Google Cloud Storage, S3 or Azure, through obstore."""

"""What pages for this machine alone are made with: the server and what it lets through, uploads, a field for images."""

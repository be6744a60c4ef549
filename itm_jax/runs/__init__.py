"""What a run keeps in its workdir."""

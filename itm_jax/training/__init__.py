"""Training: build the run, restore it, and repeat the step."""

"""The same models and steps in plain PyTorch, for comparison."""

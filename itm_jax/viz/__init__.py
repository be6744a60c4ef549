"""Pictures of what models do, and reports of runs."""

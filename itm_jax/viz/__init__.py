"""Pictures of what models do."""

AS_WRITTEN = {"text.parse_math": False}  # captions with dollar signs are no formulas

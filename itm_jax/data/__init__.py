"""Readers (`precomp`, `scenes`), text tables, augmentation and the input pipeline."""

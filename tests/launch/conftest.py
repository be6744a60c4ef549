"""What the tests of the launchers share."""

from support.launchers import stand_ins

__all__ = ["stand_ins"]

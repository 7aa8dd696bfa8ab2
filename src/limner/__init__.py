"""Limner learns to make and mend images from a handful of examples, and gets better with every task it has done."""

__version__ = "0.1.0"

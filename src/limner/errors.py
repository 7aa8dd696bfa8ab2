"""The one exception a user is meant to meet."""

from __future__ import annotations


class LimnerError(Exception):
    """A mistake in what the user gave, told in one sentence: what is wrong, where, and what would be right.

    The command line prints the sentence without a traceback and exits with code 2. Nothing is half-written when
    it is raised. Anything else that escapes is a defect of Limner.

    >>> raise LimnerError("folder:cats holds no images; give a folder with PNG or JPEG files")
    Traceback (most recent call last):
    ...
    limner.errors.LimnerError: folder:cats holds no images; give a folder with PNG or JPEG files
    """

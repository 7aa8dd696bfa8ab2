"""Where images come from and what is asked of them: image sets, data specs, tasks and families of tasks."""

from __future__ import annotations

from limner.tasks.family import Family
from limner.tasks.image_set import ImageSet
from limner.tasks.load import describe, kinds, load
from limner.tasks.task import Task, split

__all__ = ["Family", "ImageSet", "Task", "describe", "kinds", "load", "split"]

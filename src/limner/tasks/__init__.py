"""Where images come from and what is asked of them: image sets, data specs, tasks and families of tasks."""

from __future__ import annotations

from limner.tasks.degraded import DegradationFamily
from limner.tasks.families import TaskFamily, family_from_json, family_of
from limner.tasks.family import Family
from limner.tasks.image_set import ImageSet
from limner.tasks.load import describe, kinds, load
from limner.tasks.n_way import NWayFamily
from limner.tasks.pair_spec import load_sides, split_sides
from limner.tasks.pairs import Alone, Domains, Pairs, TwoSided, one_pass
from limner.tasks.points import Points, PointsTask, SinusoidFamily
from limner.tasks.restoration import Damaged, Rehearsed, restoration_task
from limner.tasks.task import Task, check_shots, split

__all__ = [
    "Alone",
    "Damaged",
    "DegradationFamily",
    "Domains",
    "Family",
    "ImageSet",
    "NWayFamily",
    "Pairs",
    "Points",
    "PointsTask",
    "Rehearsed",
    "SinusoidFamily",
    "Task",
    "TaskFamily",
    "TwoSided",
    "check_shots",
    "describe",
    "family_from_json",
    "family_of",
    "kinds",
    "load",
    "load_sides",
    "one_pass",
    "restoration_task",
    "split",
    "split_sides",
]

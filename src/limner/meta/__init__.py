"""Meta-learning: starts learned over a family of tasks, by the engine's own step."""

from limner.meta.algorithms import MetaGradient, meta_gradient
from limner.meta.clusters import clustering
from limner.meta.execution import Choice, choose, mean_gradient
from limner.meta.inner import Episode, adapt
from limner.meta.judge import Trajectory, trajectory
from limner.meta.learn import Start, learn
from limner.meta.plan import ALGORITHMS, MetaPlan

__all__ = [
    "ALGORITHMS",
    "Choice",
    "Episode",
    "MetaGradient",
    "MetaPlan",
    "Start",
    "Trajectory",
    "adapt",
    "choose",
    "clustering",
    "learn",
    "mean_gradient",
    "meta_gradient",
    "trajectory",
]

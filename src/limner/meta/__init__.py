"""Meta-learning: starts learned over a family of tasks, by the engine's own step."""

from limner.meta.algorithms import Episode, MetaGradient, adapt, mean_gradient, meta_gradient
from limner.meta.learn import Start, learn
from limner.meta.plan import ALGORITHMS, MetaPlan

__all__ = [
    "ALGORITHMS",
    "Episode",
    "MetaGradient",
    "MetaPlan",
    "Start",
    "adapt",
    "learn",
    "mean_gradient",
    "meta_gradient",
]

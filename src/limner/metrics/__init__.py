"""Scores by which a generator is judged: features, distances between distributions, and scores for few images."""

from __future__ import annotations

from limner.metrics.distribution import frechet_distance, kernel_distance, precision_recall_density_coverage
from limner.metrics.evaluation import evaluate
from limner.metrics.features import EXTRACTORS, Extractor, choose, extractor
from limner.metrics.few_shot import diversity, nearest_training_ratio

__all__ = [
    "EXTRACTORS",
    "Extractor",
    "choose",
    "diversity",
    "evaluate",
    "extractor",
    "frechet_distance",
    "kernel_distance",
    "nearest_training_ratio",
    "precision_recall_density_coverage",
]

"""Base learners that are black boxes: scikit-learn's classifiers, regressors and clusterers. No gradients, no steps."""

from __future__ import annotations

from limner.estimators.catalogue import Kind, estimator_class
from limner.estimators.learner import BlackBox, Data, Estimator, Fitted, refit, wanted_of

__all__ = ["BlackBox", "Data", "Estimator", "Fitted", "Kind", "estimator_class", "refit", "wanted_of"]

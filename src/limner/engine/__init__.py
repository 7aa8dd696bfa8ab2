"""The engine: one step for every learner, and the training that is made of it."""

from limner.engine.augment import augment
from limner.engine.events import Listener, ProgressBar
from limner.engine.fit import fit
from limner.engine.run import Run
from limner.engine.step import StepResult, gradients, step

__all__ = ["Listener", "ProgressBar", "Run", "StepResult", "augment", "fit", "gradients", "step"]

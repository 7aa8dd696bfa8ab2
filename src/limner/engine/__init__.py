"""The engine: one step for every learner, and the training that is made of it."""

from limner.engine.adapters import early_layers
from limner.engine.augment import augment
from limner.engine.events import Listener, ProgressBar
from limner.engine.fit import fit
from limner.engine.run import Run
from limner.engine.step import StepResult, gradients, step

__all__ = ["Listener", "ProgressBar", "Run", "StepResult", "augment", "early_layers", "fit", "gradients", "step"]

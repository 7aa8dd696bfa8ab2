"""Limner learns to make images from a handful of examples, and gets better with every task it has done.

Everything here is loaded on first use, so that importing Limner costs nothing:

>>> import limner
>>> "adapt" in dir(limner)
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limner.config import Strategy
    from limner.engine import Run
    from limner.errors import LimnerError
    from limner.inside import attribution, interpolate, invert, traverse
    from limner.memory import Memory
    from limner.tasks import Family, ImageSet, Task, split
    from limner.tasks import load as data
    from limner.verbs.adapt import adapt
    from limner.verbs.augment import augment
    from limner.verbs.compare import compare
    from limner.verbs.demo import demo
    from limner.verbs.evaluate import evaluate
    from limner.verbs.export import export
    from limner.verbs.hub import push
    from limner.verbs.inspect import inspect, nearest
    from limner.verbs.load import load
    from limner.verbs.meta_train import meta_train
    from limner.verbs.predict import predict
    from limner.verbs.recommend import recommend
    from limner.verbs.restore import restore
    from limner.verbs.resume import resume
    from limner.verbs.sample import sample
    from limner.verbs.train import train
    from limner.verbs.transfer import transfer
    from limner.verbs.translate import translate
    from limner.verbs.tune import tune

_HOMES = {
    "Family": "limner.tasks",
    "ImageSet": "limner.tasks",
    "LimnerError": "limner.errors",
    "Memory": "limner.memory",
    "Run": "limner.engine",
    "Strategy": "limner.config",
    "Task": "limner.tasks",
    "adapt": "limner.verbs.adapt",
    "attribution": "limner.inside",
    "augment": "limner.verbs.augment",
    "compare": "limner.verbs.compare",
    "data": "limner.tasks:load",
    "demo": "limner.verbs.demo",
    "evaluate": "limner.verbs.evaluate",
    "export": "limner.verbs.export",
    "inspect": "limner.verbs.inspect",
    "interpolate": "limner.inside",
    "invert": "limner.inside",
    "load": "limner.verbs.load",
    "meta_train": "limner.verbs.meta_train",
    "nearest": "limner.verbs.inspect",
    "predict": "limner.verbs.predict",
    "push": "limner.verbs.hub",
    "recommend": "limner.verbs.recommend",
    "restore": "limner.verbs.restore",
    "resume": "limner.verbs.resume",
    "sample": "limner.verbs.sample",
    "split": "limner.tasks",
    "train": "limner.verbs.train",
    "transfer": "limner.verbs.transfer",
    "translate": "limner.verbs.translate",
    "tune": "limner.verbs.tune",
    "traverse": "limner.inside",
}
"""Where each public name lives: ``module``, or ``module:name`` where it is called otherwise there (PEP 562)."""

__all__ = [
    "Family",
    "ImageSet",
    "LimnerError",
    "Memory",
    "Run",
    "Strategy",
    "Task",
    "adapt",
    "attribution",
    "augment",
    "compare",
    "data",
    "demo",
    "evaluate",
    "export",
    "inspect",
    "interpolate",
    "invert",
    "load",
    "meta_train",
    "nearest",
    "predict",
    "push",
    "recommend",
    "restore",
    "resume",
    "sample",
    "split",
    "train",
    "transfer",
    "translate",
    "traverse",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'limner' has no attribute {name!r}")
    module, _, called = _HOMES[name].partition(":")
    return getattr(import_module(module), called or name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""What each algorithm begins with for each kind of learner, where the plan's own defaults are poor: one table.

Fields of a :class:`~limner.meta.plan.MetaPlan`, for whatever nobody asks to be otherwise. Sources: MAML (Finn et al.
2017, appendix A: Omniglot, one inner step of gradient descent at 0.4; sine waves, one at 0.01, 25 tasks a step),
Reptile (Nichol et al. 2018, appendix A: Adam at 0.001 on batches of 10, outer step 1), iMAML (Rajeswaran et al. 2019,
section 4: λ = 2, 16 inner steps, 5 of conjugate gradients), MAML++ (Antoniou et al. 2019: 5 inner steps). The rest is
our own choice; for classifiers it is several shorter steps instead of the paper's one, for they did better in the short
trainings that a processor allows. ``benchmarks/omniglot_classify.py`` tells what its own plan reaches.
"""

from __future__ import annotations

from typing import Any

_ALL = ""
_CLASSIFY: dict[str, dict[str, Any]] = {
    _ALL: {"inner_optimiser": "sgd", "inner_rate": 0.1, "inner_steps": 5, "tasks": 4, "validate_every": 25},
    "imaml": {"inner_rate": 0.1, "inner_steps": 16, "proximal": 2.0, "conjugate_steps": 5},
    "reptile": {
        "inner_optimiser": "adam", "inner_rate": 1e-3, "inner_betas": (0.0, 0.999), "inner_steps": 5, "inner_batch": 10,
        "optimiser": "sgd", "rate": 1.0, "tasks": 5,
    },
}  # fmt: skip
_REGRESS: dict[str, dict[str, Any]] = {
    _ALL: {
        "inner_optimiser": "sgd", "inner_rate": 0.01, "inner_steps": 1, "tasks": 25, "steps": 5000,
        "validate_every": 250, "validate_tasks": 100,
    },
    "anil": {"inner_steps": 5},
    "maml++": {"inner_steps": 5},
    "imaml": {"inner_steps": 16, "proximal": 2.0},
    "reptile": {
        "inner_rate": 0.02, "inner_steps": 8, "inner_batch": 10, "optimiser": "sgd", "rate": 0.1, "tasks": 5
    },
}  # fmt: skip
_READS: dict[str, dict[str, Any]] = {
    _ALL: {"validate_every": 25},
    "fomaml": {"inner_steps": 0},
    "maml": {"inner_steps": 0},
}
"""A learner that reads a set has adapted once it has read it: its query loss is taken at the start itself, each query
image given a set of the others, which are as good as support images, being of the same class and as random."""

PLANS: dict[str, dict[str, dict[str, Any]]] = {
    "classifier": _CLASSIFY,
    "prototypical": {_ALL: {"tasks": 4, "validate_every": 50, "validate_tasks": 50}},
    "regressor": _REGRESS,
    "vae": {_ALL: {"validate_every": 25}},
    "restorer": {
        _ALL: {"inner_rate": 1e-3, "inner_steps": 5, "tasks": 2, "validate_every": 50},
        "reptile": {"inner_rate": 1e-3, "inner_steps": 8, "inner_batch": 8, "rate": 1e-3, "tasks": 2},
        "ridge": {"tasks": 4},
    },
    "flow": {_ALL: {"validate_every": 25}},
    "set-vae": _READS,
    "set-flow": _READS,
    "gan": {
        _ALL: {"validate_every": 25},
        "reptile": {"tasks": 1, "inner_steps": 15, "inner_rate": 4e-3, "inner_batch": 10, "rate": 5e-4},
    },
}
"""For each kind of learner, what all algorithms begin with (under the empty name) and what one of them does instead."""

OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "classifier": {_ALL: {"network": "conv4", "width": 32}},
    "restorer": {_ALL: {"network": "dncnn", "width": 32, "depth": 8}, "ridge": {"head": 5, "maps": 8}},
}
"""Options of a learner that is meta-trained, where they are others than for ordinary training; in the same form."""

IMAGES: dict[str, tuple[int, int]] = {
    "generate": (10, 10),
    "classify": (1, 15),
    "cluster": (5, 15),
    "regress": (10, 10),
    "restore": (8, 8),
}
"""For each goal how many images (of each class; or points) a task has to learn from, and to be judged on."""


def recipe(algorithm: str, kind: str) -> dict[str, Any]:
    """Fields of a plan for ``algorithm`` with a learner of ``kind``; nothing where the plan's own defaults will do.

    >>> recipe("maml", "classifier")["inner_rate"], recipe("maml", "regressor")["inner_rate"], recipe("maml", "new")
    (0.1, 0.01, {})
    """
    return _of(PLANS, algorithm, kind)


def usual_options(algorithm: str, kind: str) -> dict[str, Any]:
    """Options of a learner of ``kind`` whose start ``algorithm`` learns, where they are others than ordinary ones.

    >>> usual_options("ridge", "restorer")["head"], usual_options("maml", "vae")
    (5, {})
    """
    return _of(OPTIONS, algorithm, kind)


def _of(tables: dict[str, dict[str, dict[str, Any]]], algorithm: str, kind: str) -> dict[str, Any]:
    table = tables.get(kind, {})
    return {**table.get(_ALL, {}), **table.get(algorithm, {})}

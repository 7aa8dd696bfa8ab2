"""What can be chosen about each learner and its strategy, declared once as data, and a search over it."""

from __future__ import annotations

from limner.errors import LimnerError
from limner.spaces.knobs import Knob, Space, spelt

__all__ = ["ESTIMATOR", "Knob", "Space", "space_of", "spelt"]

ESTIMATOR = "estimator:"
"""What the name of a scikit-learn estimator begins with where a learner is named."""


def space_of(kind: str, *, adapted: bool = False, images: tuple[int, int, int] | None = None) -> Space:
    """The space of a learner: one of Limner's, a restorer of the catalogue, or ``estimator:`` and a dotted name.

    adapted  of Limner's learners: whether it goes on from a start, which fixes the learner's own options
    images   of estimators: the shape of the images that it is to learn from; ``None``: a table

    Raises :class:`LimnerError` where there is no such learner.

    >>> space_of("gan")["latents"].range, space_of("wavelets")["levels"].default
    ('a whole number from 2 to 128', 4)
    >>> space_of("estimator:sklearn.tree.DecisionTreeClassifier")["min_samples_leaf"].default
    1
    """
    from limner.learners import CATALOGUE
    from limner.restoration.catalogue import CATALOGUE as RESTORERS

    if kind.startswith(ESTIMATOR):
        from limner.estimators import estimator_class
        from limner.spaces.estimators import estimator_space

        name = kind.removeprefix(ESTIMATOR)
        estimator_class(name)
        return estimator_space(name, images)
    if kind in CATALOGUE:
        from limner.spaces.learners import learner_space

        return learner_space(kind, adapted)
    if kind in RESTORERS:
        from limner.spaces.restorers import restorer_space

        return restorer_space(kind)
    raise LimnerError(
        f"there is no learner {kind!r}; there are: {', '.join(CATALOGUE)}, the restorers {', '.join(RESTORERS)}, and "
        "any of scikit-learn's, for example estimator:sklearn.tree.DecisionTreeClassifier"
    )

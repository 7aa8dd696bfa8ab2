"""Whether made images help a classifier: arms of equal steps, judged on the same images that none of them saw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from limner.config import Strategy
from limner.engine import fit
from limner.engine.augment import augment
from limner.engine.run import as_bytes
from limner.errors import LimnerError
from limner.learners import create
from limner.metrics.features import extractor
from limner.seeds import derive, generator
from limner.tasks import ImageSet, Task
from limner.types import Request, Score

ARMS = {
    "plain": "real images alone",
    "made": "with made images",
    "ordinary": "with ordinary augmentation",
}
"""What a classifier learns from, by name and in words."""

NETWORK, REGRESSION = "network", "regression"
"""The judges: a small network trained by steps, and logistic regression on features that nothing here changed."""

TRAINING = Strategy(learning_rate=1e-3, batch=32, schedule="cosine")
"""How the network is trained, in every arm."""

WIDTH = 16
"""Channels of the network at full resolution."""

PENALTY = 1.0
"""C of the logistic regression where it learns from real images alone."""


def correct(
    real: ImageSet, made: ImageSet, held: ImageSet, *, ordinary: Sequence[str], steps: int, seed: int,
    features: str | None, width: int = WIDTH,
) -> dict[str, dict[str, Tensor]]:  # fmt: skip
    """Which images of ``held`` each judge puts in their class after learning in each arm: bool ``(n,)`` by judge, arm.

    real      labelled images to learn from; ``made``: images generated from these, of the same classes
    held      images that neither a judge nor a generator of ``made`` learned from
    ordinary  augmentations of the arm of that name (see :mod:`limner.engine.augment`)
    steps     of the network, the same in every arm, each on at most 32 images
    features  whose the regression is (see :func:`limner.metrics.extractor`); ``None`` = no regression

    Raises :class:`LimnerError` where the images have no classes, or the network cannot be trained.
    """
    both = together(real, made)
    named = tuple(ordinary)
    found = {
        NETWORK: {
            "plain": by_network(real, held, steps=steps, seed=seed, width=width),
            "made": by_network(both, held, steps=steps, seed=seed, width=width),
            "ordinary": by_network(real, held, steps=steps, seed=seed, width=width, augmentation=named),
        }
    }
    if features is not None:
        copies = varied(real, len(made), named, derive(seed, "copies"))
        look = extractor(features)
        seen = {part: look(part.images) for part in (real, made, copies, held)}
        arms: dict[str, tuple[ImageSet, ...]] = {"plain": (real,), "made": (real, made), "ordinary": (real, copies)}
        found[REGRESSION] = {
            arm: by_regression(torch.cat([seen[part] for part in parts]), _labels(*parts), seen[held], len(real))
            == _labels(held)
            for arm, parts in arms.items()
        }
    return found


def together(first: ImageSet, second: ImageSet) -> ImageSet:
    """The images of two sets with the same classes, in one."""
    if first.labels is None or second.labels is None or first.class_names != second.class_names:
        raise LimnerError(f"{first.name} and {second.name} do not have the same classes; give labelled images")
    images, labels = torch.cat([first.images, second.images]), torch.cat([first.labels, second.labels])
    return replace(first, images=images, labels=labels, names=())


def varied(real: ImageSet, count: int, names: tuple[str, ...], seed: int) -> ImageSet:
    """``count`` images: those of ``real`` in turn, as often as needed, each varied by the augmentations anew.

    >>> from limner.tasks import ImageSet
    >>> some = ImageSet(torch.zeros(2, 1, 16, 16, dtype=torch.uint8), "some", torch.tensor([0, 1]), ("a", "b"))
    >>> varied(some, 5, ("shift",), 0).labels.tolist()
    [0, 1, 0, 1, 0]
    """
    images = real.select(torch.arange(count) % len(real))
    return replace(images, images=as_bytes(augment(images.floats(), names, generator(seed, "varied"))))


def by_network(
    images: ImageSet, held: ImageSet, *, steps: int, seed: int, width: int = WIDTH, augmentation: tuple[str, ...] = ()
) -> Tensor:
    """Which of ``held`` a network trained on ``images`` puts in their class: bool ``(n,)``."""
    if images.labels is None or held.labels is None or len(images.class_names) < 2:
        raise LimnerError(f"{images.name} does not have two or more classes to tell apart; give labelled images")
    learner = create("classifier", images.shape, classes=len(images.class_names), width=width)
    strategy = TRAINING.replace(steps=steps, augmentation=augmentation)
    run = fit(learner, Task("classify", images.name, images, None), strategy, seed=seed)
    if run.state == "stopped":
        raise KeyboardInterrupt
    if run.state != "finished":
        raise LimnerError(
            f"the classifier of {images.name} could not be trained ({run.state}); look for damaged images"
        )
    logits = learner.predict(run.params, Request("logits", images=held.floats()), generator(seed, "logits"))
    return logits.argmax(1) == held.labels


def by_regression(features: Tensor, labels: Tensor, held: Tensor, real: int) -> Tensor:
    """The class that multinomial logistic regression puts each of ``held (m, d)`` in, int64 ``(m,)``, after learning
    from ``features (n, d)`` with ``labels (n,)``.

    Features are standardised by those learned from. The penalty weighs as much against the mean loss whatever the
    number of images: C = :data:`PENALTY` · ``real`` / n, with ``real`` how many of the n images are real.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegression(C=PENALTY * real / len(features), max_iter=1000)
    judge = make_pipeline(StandardScaler(), regression)
    judge.fit(features.double().numpy(), labels.numpy())
    return torch.from_numpy(judge.predict(held.double().numpy()))


def _labels(*parts: ImageSet) -> Tensor:
    found = [part.labels for part in parts if part.labels is not None]
    if len(found) < len(parts):
        raise LimnerError(f"{parts[0].name} does not have classes to tell apart; give labelled images")
    return torch.cat(found)


def folds(labels: Tensor, count: int, seed: int) -> Tensor:
    """The fold of each image, int64 ``(n,)``: each class dealt out evenly, in an order drawn by ``seed``.

    So with two folds or more, each class of two images or more is in every fold's training part.

    >>> sorted(folds(torch.tensor([0, 0, 0, 0, 1, 1]), 2, seed=0).tolist())
    [0, 0, 0, 1, 1, 1]
    """
    found, dealt = torch.empty_like(labels), 0
    for label in sorted(set(labels.tolist())):
        own = torch.nonzero(labels == label).flatten()
        order = torch.randperm(len(own), generator=generator(seed, "folds", label))
        found[own[order]] = (torch.arange(len(own)) + dealt) % count
        dealt += len(own)
    return found


def paired(first: Tensor, second: Tensor, fold: Tensor, planned: int) -> Score:
    """The difference of two shares of right answers on the same images, with its 95% interval.

    first, second  bool ``(n,)``: whether each image was put in its class; ``fold`` its fold, of ``planned`` folds

    Two things could have come out otherwise, and the interval is the wider of theirs:

    - other images judged: the adjusted Wald interval of a paired difference (Bonett & Price 2012),
      d ± z √((p + q − (p − q)²) / (n + 2)), with p, q = (images that only the first, only the second had right + 1)
      / (n + 2) and d = p − q;
    - other trainings: the corrected interval of cross-validation (Nadeau & Bengio 2003, equation 9),
      d ± t √((1/k + n₂/n₁) s²) over the k folds, with s² the variance of their differences, n₂/n₁ =
      1/(``planned`` − 1) the images judged over those learned from, and t the quantile at k − 1 degrees of freedom.

    >>> right, wrong = torch.ones(40, dtype=torch.bool), torch.zeros(40, dtype=torch.bool)
    >>> found = paired(right, wrong, torch.arange(40) % 5, 5)
    >>> found.value, found.low > 0.8, found.high <= 1
    (1.0, True, True)
    """
    from scipy.special import ndtri, stdtrit

    differences = first.double() - second.double()
    value, count = float(differences.mean()), len(differences)
    gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
    p, q = (gained + 1) / (count + 2), (lost + 1) / (count + 2)
    reach = float(ndtri(0.975)) * math.sqrt((p + q - (p - q) ** 2) / (count + 2))
    low, high = min(value, p - q - reach), max(value, p - q + reach)
    means = torch.stack([differences[fold == each].mean() for each in sorted(set(fold.tolist()))])
    if len(means) > 1:
        spread = math.sqrt((1 / len(means) + 1 / (planned - 1)) * float(means.var()))
        reach = float(stdtrit(len(means) - 1, 0.975)) * spread
        low, high = min(low, value - reach), max(high, value + reach)
    return Score(value, max(low, -1.0), min(high, 1.0))

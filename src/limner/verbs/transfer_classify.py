"""Transfer of a classifier: one way, on one draw of target images. Whatever the way, a classifier comes of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from limner.config import Strategy
from limner.errors import LimnerError
from limner.seeds import derive, generator
from limner.types import Params, Request
from limner.verbs.transfer_ways import HEAD, Carried, Way, carry, estimator_of

if TYPE_CHECKING:
    from limner.engine import Run
    from limner.learners import Learner
    from limner.tasks import ImageSet

JUDGED, UNLABELLED = 1000, 2000
"""Images to be judged on, and images without labels, at most."""

LEAST_JUDGED = 300
"""Up to so many images that are left are all to be judged on."""

MIXED = 4000
"""Images of each domain in what a learner of both goes through, at most; few are gone through more often."""

USUAL = Strategy(learning_rate=1e-3, batch=64, schedule="cosine", guard=("none",))
"""How every way learns; a way's own fields come on top."""


@dataclass(frozen=True)
class Source:
    """What is transferred from: a learner with its parameters, its classes, and its images where they are at hand."""

    name: str
    learner: Learner
    params: Params
    classes: tuple[str, ...]
    images: ImageSet | None
    sha256: str = ""
    told: str = ""


class Target(NamedTuple):
    """Target images: labelled ones to learn from, others to be judged on, and others whose labels nobody looks at."""

    support: ImageSet
    query: ImageSet
    unlabelled: ImageSet | None


class Made(NamedTuple):
    """What came of one way: which of the query's images it puts in their class, bool ``(n,)``, and what it took.

    run  the classifier, to be kept; ``None`` where an estimator is no linear one, which no file of ours can hold
    """

    right: Tensor
    run: Run | None
    carried: Carried | None
    seconds: float
    notes: tuple[str, ...] = ()


def target_of(images: ImageSet, per_class: int, seed: int) -> Target:
    """``per_class`` labelled images of each class, drawn by ``seed``; the others are judged on or without labels.

    Raises :class:`LimnerError` where a class has none left to be judged on.
    """
    if images.labels is None or len(images.class_names) < 2:
        raise LimnerError(f"{images.name} does not have two or more classes to tell apart; give labelled images")
    if per_class < 1:
        raise LimnerError(f"{per_class} labelled images a class leave nothing to learn from; give at least 1")
    chosen = torch.zeros(len(images), dtype=torch.bool)
    for label, name in enumerate(images.class_names):
        own = images.of_class(label)
        if len(own) <= per_class:
            raise LimnerError(
                f"the class {name!r} of {images.name} has {len(own)} images, too few to learn from {per_class} and be "
                f"judged on others; give --per-class {max(len(own) - 1, 1)} or less, or leave it out with classes="
            )
        chosen[own[torch.randperm(len(own), generator=generator(seed, "target", label))[:per_class]]] = True
    left = torch.nonzero(~chosen).flatten()
    left = left[torch.randperm(len(left), generator=generator(seed, "target", "left"))]
    judged = len(left) if len(left) <= LEAST_JUDGED else max(LEAST_JUDGED, min(JUDGED, len(left) // 2))
    others = left[judged : judged + UNLABELLED]
    return Target(
        images.select(torch.nonzero(chosen).flatten()),
        images.select(left[:judged]),
        images.select(others) if len(others) else None,
    )


def carried_out(
    way: Way, source: Source, target: Target, fields: dict[str, Any], options: dict[str, Any], seed: int
) -> Made:
    """Transfer by ``way``; no image of ``target.query`` is looked at until the end.

    fields   of the strategy, steps among them; ``options`` of the classifier where they are not to be the source's

    Raises :class:`LimnerError` where the way does not fit the source.
    """
    begun = time.perf_counter()
    if way.how == "estimator":
        return _by_estimator(way, source, target, seed)
    strategy = USUAL.replace(**dict(way.strategy)).replace(**fields)
    if way.how == "none":
        learner, params = as_it_is(source, target)
        run = _as_run(learner, params, target, strategy.replace(steps=0), seed)
        return Made(_right(learner, params, target.query), run, None, time.perf_counter() - begun)
    classifier = _classifier(source, target, options)
    by = _by_domains if way.how == "domains" else _by_steps
    run, carried = by(way, source, target, classifier, strategy, seed)
    if run.state == "stopped":
        raise KeyboardInterrupt
    if run.state != "finished":
        raise LimnerError(f"the way {way.name} could not be trained ({run.state}): {'; '.join(run.notes)}")
    return Made(_right(run.learner, run.params, target.query), run, carried, time.perf_counter() - begun,
                tuple(run.notes))  # fmt: skip


def as_it_is(source: Source, target: Target) -> tuple[Learner, Params]:
    """The source as a classifier of the target's classes, without a step: those of its classes that have their names;
    where a name is not among them, the class whose mean features are nearest: logits 2·c·f − ‖c‖² = ‖f‖² − ‖f − c‖².
    """
    learner = _classifier(source, target, {})
    names = target.support.class_names
    if set(names) <= set(source.classes):
        places = torch.tensor([source.classes.index(name) for name in names])
        heads = {f"{HEAD}{part}": source.params[f"{HEAD}{part}"][places] for part in ("weight", "bias")}
        return learner, {**source.params, **heads}
    features = _features(source, target.support)
    labels = target.support.labels
    means = torch.stack([features[labels == label].mean(0) for label in range(len(names))])
    return learner, {**source.params, f"{HEAD}weight": 2 * means, f"{HEAD}bias": -means.square().sum(1)}


def same_classes(source: Source, target: Target) -> bool:
    """Whether every class of the target is one of the source's, by name."""
    return set(target.support.class_names) <= set(source.classes)


def _classifier(source: Source, target: Target, options: dict[str, Any]) -> Learner:
    from limner.learners import create

    given = {**source.learner.options, **options, "classes": len(target.support.class_names)}
    return create("classifier", target.support.shape, **given)


def _by_steps(
    way: Way, source: Source, target: Target, learner: Learner, strategy: Strategy, seed: int
) -> tuple[Run, Carried]:
    from limner.engine import fit
    from limner.learners.layered import Layered
    from limner.tasks import Task

    params, carries = source.params, way.carries
    if carries != "nothing" and (same_classes(source, target) or "update" in way.strategy):
        params, carries = as_it_is(source, target)[1], "fitting"  # what is only bent a little has to have a head
    carried = carry(params, learner, seed, carries)
    if way.frozen:
        body = tuple(dict.fromkeys(name for name in carried.params if not name.startswith(HEAD)))
        strategy = strategy.replace(frozen=body)
    task = Task("classify", target.support.name, target.support, None)
    start = None if way.carries == "nothing" else carried.params
    if way.decay == 1:
        return fit(learner, task, strategy, seed=seed, start=start), carried
    layered = Layered(learner, carried.params, way.decay, strategy.optimiser)
    run = fit(layered, task, strategy, seed=seed, start=start)
    return replace(run, learner=learner, params=layered.merged(run.params)), carried


def _by_domains(
    way: Way, source: Source, target: Target, learner: Learner, strategy: Strategy, seed: int
) -> tuple[Run, Carried]:
    from limner.engine import fit
    from limner.learners import create
    from limner.tasks import Task

    if source.images is None or source.images.labels is None:
        raise LimnerError(f"the way {way.name} learns from the source's images too, which {source.name} does not have; "
                          "give the images as SOURCE, or another way")  # fmt: skip
    if learner.options["network"] != "plain":
        raise LimnerError(f"the way {way.name} needs a source whose network is plain, not "
                          f"{learner.options['network']}; give such a one, or another way")  # fmt: skip
    images, shared = source.images, same_classes(source, target)
    if shared:
        images = images.restrict([images.class_names.index(name) for name in target.support.class_names])
    kept = {name: learner.options[name] for name in ("classes", "features", "width")}
    both = create(
        "two-domains", target.support.shape, **kept, source_classes=len(images.class_names),
        heads="shared" if shared else "own", steps=max(strategy.steps, 1), **dict(way.options),
    )  # fmt: skip
    if shared:
        carried = carry(as_it_is(source, target)[1], both, seed, "fitting")
    else:
        head = {f"net.source_head.{part}": f"{HEAD}{part}" for part in ("weight", "bias")}
        carried = carry(source.params, both, seed, "body", head)
    seen = target._replace(unlabelled=None) if both.options["alignment"] == "none" else target
    task = Task("classify", target.support.name, mixed(images, seen, derive(seed, "mixed")), None)
    run = fit(both, task, strategy, seed=seed, start=carried.params)
    notes = list(run.notes)
    if "balance" in way.options and run.curve:
        notes.append(
            f"the target's loss weighed {run.curve[-1].values['net target_weight']:.3g} of the source's in the end"
        )
    plain = {name: run.params[name] for name in learner.init(0)}  # what remains is an ordinary classifier
    return replace(run, learner=learner, params=plain, notes=notes), carried


def mixed(source: ImageSet, target: Target, seed: int) -> ImageSet:
    """Images of both domains in equal numbers, labelled as the ``two-domains`` learner takes them; of the target half
    have labels, or all where there are no others. Where a part is too small its images come more than once."""
    assert source.labels is not None
    assert target.support.labels is not None
    count, classes = min(max(len(source), 2), MIXED), len(source.class_names)
    known = count if target.unlabelled is None else count - count // 2
    parts = [(source.images, source.labels, count), (target.support.images, target.support.labels + classes, known)]
    if target.unlabelled is not None:
        nothing = torch.full((len(target.unlabelled),), classes + len(target.support.class_names))
        parts.append((target.unlabelled.images, nothing, count - known))
    images, labels = [], []
    for place, (pictures, told, wanted) in enumerate(parts):
        order = torch.randperm(len(pictures), generator=generator(seed, "part", place))
        chosen = order.repeat(-(-wanted // len(order)))[:wanted]
        images.append(pictures[chosen])
        labels.append(told[chosen])
    names = (*source.class_names, *target.support.class_names, "unknown")
    return replace(
        source, images=torch.cat(images), labels=torch.cat(labels), class_names=names, class_groups=None,
        group_names=(), name=f"{source.name} and {target.support.name}", names=(),
    )  # fmt: skip


def _by_estimator(way: Way, source: Source, target: Target, seed: int) -> Made:
    """Features of the source, standardised by those learned from, under an estimator of scikit-learn."""
    import inspect

    from sklearn.preprocessing import StandardScaler

    begun = time.perf_counter()
    make = estimator_of(way.name)
    known = inspect.signature(make).parameters
    given: dict[str, Any] = {"max_iter": 1000} if way.name == "logistic-regression" else {}
    if "random_state" in known:
        given["random_state"] = derive(seed, way.name) % 2**31
    scaler, estimator = StandardScaler(), make(**given)
    labels = target.support.labels
    assert labels is not None
    assert target.query.labels is not None
    try:
        learned = scaler.fit_transform(_features(source, target.support).double().numpy())
        estimator.fit(learned, labels.numpy())
        answers = estimator.predict(scaler.transform(_features(source, target.query).double().numpy()))
    except ValueError as refusal:
        raise LimnerError(
            f"the way {way.name} cannot learn from {len(labels)} images: {str(refusal).splitlines()[0].rstrip('.')}; "
            "give more labels a class, or another way"
        ) from refusal
    right = torch.from_numpy(answers) == target.query.labels
    run = None
    if getattr(estimator, "coef_", None) is not None and hasattr(estimator, "intercept_"):
        learner, params = as_head(estimator, scaler, source, target)
        run = _as_run(learner, params, target, USUAL.replace(steps=0), seed)
    return Made(right, run, None, time.perf_counter() - begun)


def as_head(estimator: Any, scaler: Any, source: Source, target: Target) -> tuple[Learner, Params]:
    """A linear estimator over standardised features as a classifier's head: w·(f − μ)/σ + b = (w/σ)·f + (b − w·μ/σ)."""
    weight = torch.from_numpy(estimator.coef_ / scaler.scale_)
    bias = torch.from_numpy(estimator.intercept_ - estimator.coef_ @ (scaler.mean_ / scaler.scale_))
    if len(weight) == 1:  # of two classes one function tells both
        weight, bias = torch.cat([-weight / 2, weight / 2]), torch.cat([-bias / 2, bias / 2])
    head = {f"{HEAD}weight": weight.float(), f"{HEAD}bias": bias.float()}
    return _classifier(source, target, {}), {**source.params, **head}


def _features(source: Source, images: ImageSet) -> Tensor:
    request = Request("features", images=images.floats())
    return source.learner.predict(source.params, request, generator(0, "features"))


def _right(learner: Learner, params: Params, query: ImageSet) -> Tensor:
    from limner.verbs.classify import answered

    logits, labels = answered(learner, params, query)
    return logits.argmax(1) == labels


def _as_run(learner: Learner, params: Params, target: Target, strategy: Strategy, seed: int) -> Run:
    from limner.engine import Run

    return Run(learner, target.support.name, target.support.name, strategy, seed, params)

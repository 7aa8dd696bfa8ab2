"""The goal to restore: what there is to learn from, and what a restorer makes of damaged images held back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from limner.errors import LimnerError
from limner.types import Params, Score, Scores

if TYPE_CHECKING:
    from limner.config import Strategy
    from limner.engine import Run
    from limner.learners import Learner
    from limner.memory import StoredModel
    from limner.tasks import Alone, ImageSet, Task, TwoSided
    from limner.verbs.budget import Budget

JUDGED = 100
"""Patches that a restorer is judged on, at most."""

LOOKED_AT = 3
"""Damaged images without truth on which a restorer is tried after it has learned."""

FORESEEN, PROBE = 40, 1e-3
"""Patches on which an error is foreseen, at most, and how far they are moved for it."""

REHEARSED = ("leaves,kinds=64,per_class=1", "photos,per_class=4")
"""The images that rehearsal damages."""

AT_ONCE = 64
"""Patches in a step as a start was meta-learned for, where that took all there were: it learned from a handful."""


class Given(NamedTuple):
    """The data spec of what is to be learned from, and sentences that tell what was found out about it."""

    spec: str
    told: tuple[str, ...] = ()


def given(goal: str, spec: str | None, degradation: str | None, damaged: str | None = None) -> Given:
    """The data spec to restore by (:mod:`limner.tasks.restoration`); for another goal ``spec`` itself.

    Of damaged images that are not of pairs the degradation is estimated, where none is told. Raises
    :class:`LimnerError` where what is given does not go together, or with the goal, or nothing is wrong with them.
    """
    if goal != "restore":
        for what, value in (("degradation", degradation), ("damaged images", damaged)):
            if value is not None:
                raise LimnerError(f"to {goal} takes images as they are, so leave the {what} {value} out")
        if spec is None:
            raise LimnerError(f"there are no data to {goal}; give a data spec, such as folder:my-images")
        return Given(spec)
    from limner.tasks.restoration import materials

    if spec is None and damaged is None:
        raise LimnerError("there is nothing to learn to restore from; give clean images, pairs, or damaged images")
    found = materials(spec, degradation, damaged)
    if found.paired or not found.damaged or found.degradation:
        return Given(found.spec)
    from limner.restoration.several import estimated
    from limner.tasks.pictures import pictures

    clean = pictures(found.clean).images if found.clean else []
    seen = estimated(pictures(found.damaged).images, clean)
    if not seen.degradation:
        raise LimnerError(
            f"nothing is wrong with {found.damaged} that could be found ({'; '.join(seen.sentences)}), so there is "
            "nothing to learn to restore; give damaged images, or say --degradation"
        )
    told = f"{'; '.join(seen.sentences)}: taken for {seen.degradation} (--degradation says otherwise)"
    return Given(materials(spec, seen.degradation, damaged).spec, (told,))


def fitted(
    description: dict[str, Any], shape: tuple[int, int, int], options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The description of a start's learner for images of ``shape``: a restorer takes them of any size, and any can be
    given the ``head`` that ``options`` ask for, which is fitted to pairs and asks nothing of the start.

    >>> start = {"kind": "restorer", "image_shape": [1, 32, 32], "options": {"width": 8}}
    >>> fitted(start, (1, 64, 64), {"head": 5, "width": 9})
    {'kind': 'restorer', 'image_shape': [1, 64, 64], 'options': {'width': 8, 'head': 5}}
    """
    if description["kind"] != "restorer":
        return description
    its = dict(description["options"])
    if options and "head" in options and not (its.get("maps") and not options["head"]):
        its["head"] = options["head"]
    return {**description, "image_shape": list(shape), "options": its}


def finished(learner: Learner, params: Params, task: Task, seed: int) -> Params:
    """The parameters with the head that is fitted to the task's pairs, where the learner has one."""
    from limner.learners import batch_of
    from limner.learners.base import ClosedForm
    from limner.seeds import generator

    if not isinstance(learner, ClosedForm) or not learner.closed_form:
        return params
    return learner.finish(params, batch_of(task.support), generator(seed, "finish"))


def in_grey(model: StoredModel) -> StoredModel:
    """A start for colour as the one for grey images that does with them what it does with three alike."""
    from dataclasses import replace

    from limner.learners import describe, rebuild
    from limner.learners.restorer import Restorer

    learner = rebuild(model.learner_description)
    assert isinstance(learner, Restorer)
    grey, params = learner.in_grey(model.params)
    return replace(model, params=params, learner_description=describe(grey))


def as_learned(strategy: Strategy, begun: StoredModel | None, task: Task, limits: Budget) -> Strategy:
    """``strategy``, rehearsing where that can be (:func:`rehearsal_of`), or where a start was meta-learned to adapt to
    damaged images alone, and the task has nothing else, the start's own inner loop: the same optimiser, rate, and
    without other ``limits`` the same number of steps."""
    from limner.meta import MetaPlan
    from limner.tasks import Alone

    strategy = strategy.replace(rehearsal=rehearsal_of(strategy, begun, task))
    family = None if begun is None else begun.metadata.get("family")
    if begun is None or not isinstance(task.support, Alone) or not isinstance(family, dict) or not family.get("alone"):
        return strategy
    plan = MetaPlan.from_json(begun.metadata["plan"])
    return strategy.replace(
        optimiser=plan.inner_optimiser, betas=plan.inner_betas, learning_rate=plan.inner_rate, steps=plan.inner_steps,
        batch=plan.inner_batch or AT_ONCE, schedule="constant", warmup=0, clip=0.0, ema=0.0, evaluate_every=0,
        seconds=0.0, precision=plan.precision,
    ).within(*limits)  # fmt: skip


def rehearsal_of(strategy: Strategy, begun: StoredModel | None, task: Task) -> float:
    """The strategy's ``rehearsal`` where the task is of pairs and the start's own damage is known, else 0."""
    return strategy.rehearsal if strategy.steps and are_given(task.support) and _learned_from(begun) else 0.0


def are_given(images: ImageSet) -> bool:
    """Whether they are pairs of images that someone has, none damaged by Limner."""
    from limner.tasks import Damaged, Pairs

    return isinstance(images, Pairs) and not isinstance(images, Damaged)


def rehearsed(task: Task, begun: StoredModel | None, strategy: Strategy, seed: int) -> Task:
    """The task with what the strategy's ``rehearsal`` has learned along with its pairs (``limner.tasks.Rehearsed``).

    Raises :class:`LimnerError` where it asks for one, and there is none.
    """
    from dataclasses import replace

    from limner.degradations import parse
    from limner.tasks import Damaged, Pairs, Rehearsed

    if not strategy.rehearsal:
        return task
    if not rehearsal_of(strategy, begun, task):
        raise LimnerError(
            f"rehearsal={strategy.rehearsal:g} is for a restorer that goes on from a start of known damage with pairs "
            "of damaged images and clean ones; leave it out here"
        )
    assert isinstance(task.support, Pairs)
    others = Damaged(_drawn(task.support.shape), parse(_learned_from(begun)), seed)
    return replace(task, support=Rehearsed(task.support, others, strategy.rehearsal))


def _learned_from(begun: StoredModel | None) -> str:
    """The damage that a start learned to mend, as text; empty where it is not known."""
    if begun is None or begun.learner_description["kind"] != "restorer":
        return ""
    told = begun.metadata | (begun.metadata.get("family") or {})  # of what was meta-learned the family tells it
    return str(told.get("degradation") or "")


def _drawn(shape: tuple[int, int, int]) -> ImageSet:
    """Images of the shape that Limner draws and that come with scikit-image: what rehearsal damages."""
    import torch

    from limner.tasks import ImageSet, load

    colour = "grey" if shape[0] == 1 else "rgb"
    found = [load(f"{source},size={max(shape[1:])},colour={colour}").images for source in REHEARSED]
    return ImageSet(torch.cat(found)[..., : shape[1], : shape[2]].contiguous(), " and ".join(REHEARSED))


# ── Scores ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def scored(learner: Learner, params: Params, query: TwoSided, learned: int, seed: int) -> Scores:
    """What is made of the query's damaged images against its clean ones: error, PSNR and SSIM.

    Intervals are over the images that the query's patches were cut from. Notes tell so, and the scores of the damaged
    images themselves, which a restorer has to pass. Where there are damaged images alone, it is how far hidden pixels
    of them are from what is foretold.
    """
    from limner.engine.pictures import translated_bytes
    from limner.metrics import fidelity
    from limner.tasks import Alone

    if isinstance(query, Alone):
        error, nearby = hidden_error(learner, params, query, seed)
        values = {"hidden_error": Score(error)}
        told = f"the mean of the neighbours has a hidden error of {nearby:.4f}; the noise of a pixel itself is in both"
        return Scores(values, "pixels", 0, len(query), learned, seed, (told,))
    truth, of = query.targets.images, query.targets.names
    damaged = fidelity.scores(query.inputs.images, truth, seed, of)
    notes = [
        "the damaged images themselves, clipped to what a file holds, have PSNR "
        f"{damaged['psnr'].value:.2f} dB, SSIM {damaged['ssim'].value:.3f}"
    ]
    if (pictures := len(set(of))) == 1:
        notes.append(f"the {len(of):,} patches judged on are of one image, so the scores have no intervals")
    elif 1 < pictures < len(of):
        notes.append(f"the scores' intervals are over the {pictures:,} images that {len(of):,} patches were cut from")
    return Scores(
        values=fidelity.scores(translated_bytes(learner, params, query.inputs.floats()), truth, seed, of),
        extractor="pixels",
        samples=0,  # nothing is drawn, so there is no floor of real images among each other
        query=len(truth),
        support=learned,
        seed=seed,
        notes=tuple(notes),
    )


def hidden_error(learner: Learner, params: Params, query: Alone, seed: int) -> tuple[float, float]:
    """The root mean square error in foretelling pixels of ``query`` that are hidden (1 in 9, by ``seed``), and that of
    the mean of their neighbours. The noise of the hidden pixels is in both."""
    import torch

    from limner.learners.restorer import Restorer, noise_of
    from limner.objectives.alone import around, draw_hidden, hidden_pixels
    from limner.seeds import generator

    assert isinstance(learner, Restorer)
    images = query.inputs.floats()
    draws = draw_hidden(images, generator(seed, "hidden"))
    noise = noise_of(images)
    with torch.no_grad():
        wrong = hidden_pixels(lambda covered: learner.restored(params, covered, noise), images, draws)
        plain = (around(images) - images) * draws["hidden"]
    count = draws["hidden"].sum() * images.shape[1]
    return float((wrong.square().sum() / count).sqrt()), float((plain.square().sum() / count).sqrt())


def foreseen_error(learner: Learner, params: Params, query: Alone, seed: int) -> float | None:
    """The root mean square error of what is made of ``query`` to the clean images, which no one has, as foreseen.

    Stein's estimate (1981) for y = x + n, n normal of standard deviation σ, is without bias:

        E (f(y) − x)² = E [(f(y) − y)² − σ² + 2 σ² ∂f/∂y],   ∂f/∂y ≈ b (f(y + εb) − f(y)) / ε

    with one random b of ±1 (Ramani, Blu & Unser 2008, eq. 14). σ is estimated in each image; ``None`` where they are
    too small for that.
    """
    import torch

    from limner.learners.restorer import Restorer
    from limner.restoration.noise import FEWEST_PATCHES, SIDE, noise_level
    from limner.seeds import generator

    assert isinstance(learner, Restorer)
    images = query.inputs.select(torch.arange(min(len(query), FORESEEN))).floats()
    cut = torch.nn.functional.unfold(images.flatten(0, 1)[:, None], SIDE).movedim(1, 2).double().numpy()
    if cut.shape[1] < FEWEST_PATCHES:
        return None
    levels = images.new_tensor([noise_level(patches) for patches in cut]).view(*images.shape[:2], 1, 1)
    variance = levels.square()
    probe = torch.randint(2, images.shape, generator=generator(seed, "probe")).float() * 2 - 1
    with torch.no_grad():
        made = learner.restored(params, images)
        slope = probe * (learner.restored(params, images + PROBE * probe) - made) / PROBE
        return float(((made - images).square() - variance + 2 * variance * slope).mean().clamp(min=0).sqrt())


def keep_the_best(run: Run, task: Task, start: Params | None) -> list[str]:
    """Of damaged images alone: give the run those parameters, of its last, its best and its start's, that do best on
    images held back, and note which. Where they are the start's, so that the run is no better than it, that is
    returned, as a warning.

    That is the least :func:`foreseen_error`, or under impulses, for which that does not hold, :func:`hidden_error`.
    """
    from limner.tasks import Alone
    from limner.tasks.restoration import Materials

    query, impulses = task.query, "salt_and_pepper" in Materials.of(run.source).degradation
    if not isinstance(query, Alone) or run.state != "finished":
        return []
    choices = {"the last": run.params, "those of an earlier look": run.best, "the start's": start}
    errors = {}
    for name, params in choices.items():
        if params:
            foreseen = None if impulses else foreseen_error(run.learner, params, query, run.seed)
            errors[name] = hidden_error(run.learner, params, query, run.seed)[0] if foreseen is None else foreseen
    best = min(errors, key=lambda name: errors[name])
    chosen = choices[best]
    if chosen is None or errors[best] >= errors["the last"]:
        return []
    run.params = dict(chosen)
    told = f"their error is foreseen to be {errors[best]:.4f}, that of the last {errors['the last']:.4f}"
    if chosen is start:
        return [
            f"what was learned is not used: on damaged images held back the start's parameters do better ({told}), "
            "so this run restores as its start does; give more damaged images, or clean images beside them"
        ]
    run.notes.append(f"parameters kept are {best}: on images held back {told}")
    return []


def beside_the_start(run: Run, task: Task, start: Params) -> list[str]:
    """Note in the scores of a run what its start alone, not adapted, makes of the pairs held back; where that is better
    by PSNR than what the run makes of them, return a warning that says so.

    There is nothing to tell of damaged images alone (see :func:`keep_the_best`), or without scores.
    """
    from dataclasses import replace

    from limner.tasks import Pairs

    query, scores = task.query, run.scores
    if scores is None or run.state != "finished" or not isinstance(query, Pairs):
        return []
    alone = scored(run.learner, start, query, len(task.support), run.seed).plain()
    before, after = round(alone["psnr"], 2), round(scores.values["psnr"].value, 2)
    what = f"gains {after - before:.2f} dB" if after >= before else f"loses {before - after:.2f} dB"
    told = f"the start alone, not adapted, has PSNR {before:.2f} dB, SSIM {alone['ssim']:.3f}; what was learned {what}"
    run.scores = replace(scores, notes=(*scores.notes, told))
    if after >= before:
        return []
    called = run.strategy.start if len(run.strategy.start) < 40 else run.strategy.start[:12]
    patches = "patch" if len(query) == 1 else f"{len(query):,} patches"
    return [
        f"what was learned does worse than its start alone: on the {patches} held back it has PSNR {after:.2f} dB, the "
        f"start {before:.2f} dB; restore with the start itself (limner restore {called}), or give more pairs"
    ]


def tried(run: Run, tell: Callable[[str], None] = lambda sentence: None) -> list[str]:
    """What the restorer makes of some damaged images that have no truth, in sentences; none where there are no such.
    ``tell`` hears of each before it is looked at.

    It is judged by what was removed, hidden pixels and a second method (:mod:`limner.restoration.judge`).
    """
    from limner.restoration import Knowledge
    from limner.restoration.estimate import estimate
    from limner.restoration.judge import SIDE, judge
    from limner.restoration.trained import Trained
    from limner.seeds import generator
    from limner.tasks.pictures import pictures
    from limner.tasks.restoration import Materials

    known = Materials.of(run.source)
    if known.paired or not known.damaged or run.state != "finished":
        return []
    restorer, found = Trained.of(run), pictures(known.damaged)
    told = []
    looked_at = list(zip(found.names, found.images, strict=True))[:LOOKED_AT]
    for place, (name, image) in enumerate(looked_at, start=1):
        tell(f"what it makes of {name}, whose truth is not known ({place} of {len(looked_at)})")
        top, left = (max(side - SIDE, 0) // 2 for side in image.shape[1:])
        damaged = image[None, :, top : top + SIDE, left : left + SIDE].float() / 255
        seen = estimate(damaged)
        knowledge = Knowledge(seen.noise, None, None, seen.degradation)
        restored = restorer.restore(damaged, knowledge, generator(run.seed, "tried"))
        judged = judge(
            restorer, damaged, restored, knowledge, generator(run.seed, "judge"),
            apart=seen.kind != "coarse" and seen.mask is None and seen.stripes is None,
        )  # fmt: skip
        sentences = judged.sentences()
        told.append(f"{name}, its middle: {' '.join(sentences)}")
    return told


def restored(learner: Learner, params: Params, task: Task) -> tuple[TwoSided, Tensor]:
    """The pairs to show, held back or else learned from, and what is made of the damaged ones."""
    import torch

    from limner.engine.pictures import translated_bytes
    from limner.tasks import TwoSided

    shown = task.query or task.support
    assert isinstance(shown, TwoSided)
    some = shown.select(torch.arange(min(len(shown), JUDGED)))
    return some, translated_bytes(learner, params, some.inputs.floats())

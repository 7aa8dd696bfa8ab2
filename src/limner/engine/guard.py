"""The guard of a game: it watches all players of a training, acts as the strategy says, and tells what it did.

Every 50 steps it draws a few samples and holds them against images learned from, looks at each player's loss and
gradient, and measures how much better a critic knows the images learned from than images held back. Trouble that two
looks in a row find is acted upon. A game of which nothing is left at its end is ``collapsed``, never ``finished``.

What it looks at uses a random state of its own, so a training that it leaves alone is the same, bit by bit, without it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from limner.config import Strategy
from limner.engine.checkpoint import Sound, Training
from limner.engine.step import StepResult
from limner.learners import Learner, batch_of
from limner.seeds import generator
from limner.tasks import Task
from limner.types import Batch, CurvePoint, Params, Request

EVERY = 50
"""Steps between two looks."""

PATIENCE = 2
"""Looks in a row that must find trouble before anything is done."""

MOST_ACTIONS = 6
"""How often it acts in one training; where that was no help, the same again would hardly be."""

EARLIEST = 200
"""Steps before which nothing is called collapsed: it may not have begun to learn."""

GONE = 0.1
"""Diversity, or spacing, under this share of the images' own is none."""

AWAY = 0.15
"""How much further than one and a half times the best distance the samples may be from the images."""

VANISHED, BURST = 1e-3, 1e3
"""A gradient so many times its usual norm has vanished, or burst."""

TARGET, IMAGES_TO_FULL, MOST_STRENGTH = 0.6, 30_000, 0.8
"""Adaptive augmentation: the overfitting aimed at (Karras et al. 2020, section 3), how many images take the strength
from none to full, and where it ends (above 0.8 augmentations leak into the samples, section 2.2). The paper's half a
million images are as long as many a whole training here."""

_SAMPLES, _REAL, _SCORED, _REMEMBERED, _FIRST, _FEWEST_FOR_SPACING = 64, 128, 32, 20, 5, 16


class Spread(NamedTuple):
    """Samples beside real images, by distances in pixels, in units of the mean distance between two real images.

    diversity  mean distance between two samples: 0 = one image again and again, 1 = as varied as the images
    spacing    mean distance of a sample to the nearest other one, over that of as many real images: near 0 = the
               samples are a few images repeated. Not a number with fewer than 16 real images
    distance   energy distance 2·E‖x − y‖ − E‖x − x′‖ − E‖y − y′‖ of samples x and real images y (Székely & Rizzo 2013,
               eq. 1.1), without bias: about 0 = the same distribution
    """

    diversity: float
    spacing: float
    distance: float


def spread(samples: Tensor, real: Tensor) -> Spread | None:
    """How ``samples`` lie beside ``real`` images, both float ``(n, c, h, w)``; ``None`` where the real ones are equal.

    >>> real = torch.arange(20.0).reshape(20, 1, 1, 1)
    >>> spread(real, real).diversity, spread(real[:1].expand(20, 1, 1, 1), real).diversity
    (1.0, 0.0)
    """
    x, y = samples.flatten(1), real.flatten(1)
    among_real, among = torch.cdist(y, y), torch.cdist(x, x)
    unit = _mean_of_pairs(among_real)
    if not unit > 0:
        return None
    diversity = _mean_of_pairs(among) / unit
    distance = 2 * float(torch.cdist(x, y).mean()) / unit - diversity - 1
    count = min(len(x), len(y))
    usual = _to_nearest(among_real[:count, :count])
    fit = count >= _FEWEST_FOR_SPACING and usual > 0
    return Spread(diversity, _to_nearest(among[:count, :count]) / usual if fit else math.nan, distance)


def _mean_of_pairs(distances: Tensor) -> float:
    count = len(distances)
    return float((distances.sum() - distances.diagonal().sum()) / max(count * (count - 1), 1))


def _to_nearest(distances: Tensor) -> float:
    return float((distances + torch.diag(distances.new_full((len(distances),), math.inf))).amin(1).mean())


def adjusted(strength: float, sign: float, images: int) -> float:
    """The strength of augmentation after a step on ``images`` in which the critic's mean sign on them was ``sign``.

    Adaptive discriminator augmentation (Karras et al. 2020, section 3 and eq. 1): with r = E sign D(x), here from the
    middle of the scores (:func:`limner.objectives.adversarial.score_terms`), the strength rises by images / N where r
    is above 0.6, and falls by it where r is below; N = 30,000.

    >>> adjusted(0.5, 0.9, 300), adjusted(0.0, 0.2, 300)
    (0.51, 0.0)
    """
    moved = math.copysign(images / IMAGES_TO_FULL, sign - TARGET) if sign != TARGET else 0.0
    return min(max(strength + moved, 0.0), MOST_STRENGTH)


class Guard:
    """Watches one training, as the words of ``strategy.guard`` say. All that it remembers is in ``training.watched``.

    It takes part only in games, that is of learners with more than one player; of those that make no samples, such as
    translators, it watches losses and gradients alone. ``tell`` is called with each sentence.
    """

    def __init__(
        self, learner: Learner, task: Task, strategy: Strategy, seed: int, tell: Callable[[str], None]
    ) -> None:
        self.learner, self.task, self.strategy, self.seed, self.tell = learner, task, strategy, seed, tell
        self.words = strategy.guard
        self.active = len(learner.players) > 1 and "none" not in self.words
        self.makes_samples = self.active and "sample" in learner.answers
        if self.makes_samples:
            order = torch.randperm(len(task.support), generator=generator(seed, "guard", "support"))
            self.support = batch_of(task.support.select(order[:_REAL]))

    def begin(self, training: Training) -> None:
        """A first look, at the start: what training must not fall behind, and what can be gone back to."""
        if not self.active:
            return
        found = self._spread(training.params)
        if found is None or all(map(math.isfinite, (found.diversity, found.distance))):
            training.watched.begun = {} if found is None else _columns(found)
            self._keep(training, math.inf if found is None else found.distance)

    def extras(self, training: Training) -> Batch:
        """What the next batch tells the learner: ``strength`` of its augmentation, factor ``penalty`` on its R1."""
        told: Batch = {}
        if self.active and "raise-augmentation" in self.words:
            told["strength"] = torch.tensor(training.watched.strength)
        if self.active and "strengthen-r1" in self.words:
            told["penalty"] = torch.tensor(training.watched.penalty)
        return told

    def follow(self, training: Training, result: StepResult, images: int) -> None:
        """After each step on a batch of ``images``: adapt the augmentation; now and then look, and act on trouble."""
        if not self.active:
            return
        watched = training.watched
        if "raise-augmentation" in self.words:
            signs = [float(loss.terms["real sign"]) for loss in result.losses.values() if "real sign" in loss.terms]
            if signs:
                watched.strength = adjusted(watched.strength, statistics.fmean(signs), images)
        if training.step <= _FIRST:
            self._remember(training, _of(result))
        if training.step % EVERY == 0:
            self._look(training, result)

    def _look(self, training: Training, result: StepResult) -> None:
        watched, players, found = training.watched, _of(result), self._spread(training.params)
        values = ({} if found is None else _columns(found)) | self._overfitting(training, result)
        if not all(math.isfinite(value) for name, value in values.items() if name != "sample spacing"):
            return  # parameters that the next step finds unsound, and goes back from
        values |= {name: float(value) for name, value in self._told(training).items()}
        training.curve.append(
            CurvePoint(training.step, training.seconds, {k: v for k, v in values.items() if math.isfinite(v)})
        )
        gone = self._vanished(training, players)
        troubles = self._of_samples(training, found) + list(gone.values()) + self._burst(training, players)
        # A critic without a gradient may only be far ahead; another player without one learns no more.
        stuck = [told for player, told in gone.items() if "real score" not in result.losses[player].terms]
        watched.stuck = stuck[0] if stuck else ""
        if not troubles:
            watched.troubled = 0
            self._remember(training, players)
            if found is None or found.distance < watched.best_distance:
                self._keep(training, math.inf if found is None else found.distance)
            return
        watched.troubled += 1
        if watched.troubled >= PATIENCE:
            self._act(training, troubles[0])

    def final(self, training: Training) -> str:
        """How a training ended: ``finished`` or ``collapsed``, by a look at what predictions would use."""
        if not self.active:
            return "finished"
        watched = training.watched
        found = self._spread(training.average or training.params)
        troubles = self._of_samples(training, found)
        if _is_gone(found):
            troubles = troubles or [_same(found)]
        if watched.stuck and watched.troubled >= PATIENCE:
            troubles.append(watched.stuck)
        if not troubles:
            return "finished"
        if "restore-best" in self.words and watched.best is not None and watched.best.step > 0:
            self._restore(training)
            found = self._spread(training.average or training.params)
            if not _is_gone(found):
                told = f"at the end {troubles[0]}; the model is that of step {watched.best.step}, the best before"
                self._note(training, told)
                return "finished"
        if training.step >= EARLIEST and (_is_gone(found) or watched.stuck in troubles):
            self._note(training, f"collapsed: at the end {troubles[0]}, so this is no result; {_REMEDY}")
            return "collapsed"
        self._note(training, f"at the end {troubles[0]}; mind the scores")
        return "finished"

    def _act(self, training: Training, trouble: str) -> None:
        watched = training.watched
        if "watch" in self.words or watched.actions >= MOST_ACTIONS:
            if watched.troubled == PATIENCE:
                why = "" if "watch" in self.words else f", though it acted {MOST_ACTIONS} times"
                self._note(training, f"at step {training.step} {trouble}{why}; nothing was done")
            return
        done = []
        if "restore-best" in self.words and watched.best is not None:
            done.append(f"went back to the model of step {watched.best.step}")
            self._restore(training)
        if "lower-rate" in self.words:
            training.slowed /= 2
            done.append("halved the learning rate")
        if "strengthen-r1" in self.words:
            watched.penalty *= 2
            done.append(f"made the gradient penalty {watched.penalty:g} times as strong as at the start")
        if "raise-augmentation" in self.words:
            watched.strength = min(watched.strength + 0.1, MOST_STRENGTH)
            done.append(f"raised the augmentation to {watched.strength:.2g}")
        watched.actions += 1
        watched.troubled = 0
        self._note(training, f"at step {training.step} {trouble}; {' and '.join(done) or 'nothing was done'}")

    def _restore(self, training: Training) -> None:
        best = training.watched.best
        assert best is not None
        _, training.params, training.states, training.average = best
        training.sound = Sound(training.step, *best[1:])

    def _remember(self, training: Training, values: dict[str, float]) -> None:
        usual = training.watched.usual
        for name, value in values.items():
            usual[name] = [*usual.get(name, []), value][-_REMEMBERED:]

    def _keep(self, training: Training, distance: float) -> None:
        training.watched.best_distance = distance
        training.watched.best = Sound(training.step, training.params, training.states, training.average)

    def _note(self, training: Training, sentence: str) -> None:
        sentence = f"guard: {sentence}"
        training.notes.append(sentence)
        self.tell(sentence)

    def _told(self, training: Training) -> Batch:
        names = {"strength": "augmentation strength", "penalty": "penalty factor"}
        return {names[name]: value for name, value in self.extras(training).items()}

    def _spread(self, params: Params) -> Spread | None:
        """A few samples beside images learned from; ``None`` where the learner makes none, or these are all equal."""
        if not self.makes_samples:
            return None
        fitted = self.learner.finish(params, self.support, generator(self.seed, "guard", "finish"))
        samples = self.learner.predict(fitted, Request("sample", _SAMPLES), generator(self.seed, "guard", "samples"))
        return spread(samples, self.support["images"])

    def _overfitting(self, training: Training, result: StepResult) -> dict[str, float]:
        """r = (E D(x) − E D(held out)) / (E D(x) − E D(G(z))) (Karras et al. 2020, eq. 1) of each critic: 0 = it takes
        held-out images for real as much as those learned from, 1 = it takes them for generated ones."""
        critics = [player for player, loss in result.losses.items() if "real score" in loss.terms]
        if self.task.query is None or not critics or not self.makes_samples:
            return {}
        count = min(_SCORED, len(self.task.query), len(self.task.support))
        held_out = batch_of(self.task.query.select(torch.arange(count)))
        learned = {name: value[:count] for name, value in self.support.items()}
        values = {}
        for player in critics:
            terms = []
            for batch in (learned, held_out):
                batch = batch | {"strength": torch.tensor(0.0)}
                draws = self.learner.draw(batch, generator(self.seed, "guard", "critic"))
                with torch.no_grad():
                    terms.append(self.learner.loss(player, training.params, batch, draws).terms)
            own, other = terms
            between = float(own["real score"] - own["fake score"])
            if abs(between) > 1e-6:
                values[f"{player} overfitting"] = float(own["real score"] - other["real score"]) / between
        return values

    def _of_samples(self, training: Training, found: Spread | None) -> list[str]:
        """What is wrong with the samples, beside what they were at the start and at their best."""
        if found is None:
            return []
        begun, troubles = training.watched.begun, []
        fallen = {
            name: value < GONE and value < begun.get(name, math.inf) / 2 for name, value in _columns(found).items()
        }
        if fallen["sample diversity"] or fallen["sample spacing"]:
            troubles.append(_same(found))
        if found.distance > 1.5 * max(training.watched.best_distance, 0.0) + AWAY:
            troubles.append(
                f"the samples had gone away from the images (energy distance {found.distance:.2f}, at best "
                f"{training.watched.best_distance:.2f})"
            )
        return troubles

    def _usual(self, training: Training, name: str) -> float:
        known = training.watched.usual.get(name, [])
        return statistics.median(known) if len(known) >= 3 else math.nan

    def _vanished(self, training: Training, values: dict[str, float]) -> dict[str, str]:
        """Each player whose gradient has vanished beside its usual norm, and the words for it."""
        return {
            player: f"the {player}'s gradient had vanished"
            for player in self.learner.players
            if values[f"{player} gradient norm"] < VANISHED * self._usual(training, f"{player} gradient norm")
        }

    def _burst(self, training: Training, values: dict[str, float]) -> list[str]:
        """What of losses and gradients has burst beside its usual size."""
        return [
            f"the {name} had burst"
            for name, value in values.items()
            if value > BURST * (1 + self._usual(training, name))
        ]


def _of(result: StepResult) -> dict[str, float]:
    """Each player's gradient norm and the size of its loss."""
    values = {f"{player} gradient norm": float(norm) for player, norm in result.norms.items()}
    return values | {f"{player} loss": abs(float(loss.value)) for player, loss in result.losses.items()}


_REMEDY = "try a lower rate, another objective or a stronger gradient penalty"


def _columns(found: Spread) -> dict[str, float]:
    return {f"sample {name}": value for name, value in found._asdict().items()}


def _is_gone(found: Spread | None) -> bool:
    return found is not None and (found.diversity < GONE or found.spacing < GONE)


def _same(found: Spread | None) -> str:
    assert found is not None
    if found.diversity < GONE:
        return f"the samples were nearly all the same (diversity {found.diversity:.2g} of the images' own)"
    return f"the samples were a few images again and again (spacing {found.spacing:.2g} of the images' own)"

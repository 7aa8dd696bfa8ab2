"""What a training is while it runs: steps, looks at the query set, ways back, and the run that comes of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limner.config import ENDLESS, Strategy
from limner.engine import checkpoint, held_out
from limner.engine.adapters import Adapted
from limner.engine.augment import augmented
from limner.engine.checkpoint import Sound, Training
from limner.engine.checks import digest
from limner.engine.events import Listener, StopOnInterrupt
from limner.engine.guard import Guard
from limner.engine.held_out import Features, Limits
from limner.engine.optimisers import create
from limner.engine.pictures import pictured
from limner.engine.run import Run, curve_csv, sample_bytes
from limner.engine.step import StepResult, init_states, precision, step
from limner.learners import Learner, batch_of, describe
from limner.learners.base import Remembering
from limner.model_file import write_atomically
from limner.seeds import derive, generator
from limner.tasks import ImageSet, Pairs, Task, TwoSided, one_pass
from limner.types import Batch, Cost, CurvePoint, Params

Judge = Callable[[Params], dict[str, float]]


class Opening(NamedTuple):
    """What is done in place of the first steps, such as those that a start was meta-learned for.

    steps  how many of the strategy's steps it stands for
    take   the parameters after it, from the start's and the images to learn from; pure
    """

    steps: int
    take: Callable[[Params, ImageSet], Params]


_SNAPSHOT_STEPS = 25
_CHECKPOINT_SECONDS = 20.0
_MOST_ROLLBACKS = 8
_LOGGED_POINTS = 200
_IMAGES_LOOKED_AT = 256
_IMAGES_TRIED = 32


@dataclass
class Session:
    """What stays the same during a training."""

    learner: Learner
    task: Task
    strategy: Strategy
    seed: int
    start: Params
    judge: Judge | None
    listeners: Sequence[Listener]
    place: Path | None
    opening: Opening | None = None
    until: Limits | None = None

    @cached_property
    def guard(self) -> Guard:
        """What watches over the players of a game."""
        return Guard(self.learner, self.task, self.strategy, self.seed, lambda note: self.tell("on_note", note))

    @cached_property
    def plain(self) -> Learner:
        """The learner of the run, whatever is laid over its start while it is trained."""
        return self.learner.learner if isinstance(self.learner, Adapted) else self.learner

    @cached_property
    def begun(self) -> Params:
        """What training begins with: the start, what is laid over it, or what the opening makes of it."""
        if self.opening is not None:
            return self.opening.take(self.start, self.task.support)
        return self.learner.init(self.seed) if isinstance(self.learner, Adapted) else self.start

    def whole(self, params: Params) -> Params:
        """The parameters of the ``plain`` learner, of those that are trained."""
        return self.learner.merged(params) if isinstance(self.learner, Adapted) else params

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must have been written by to be gone on with here."""
        return {
            "learner": describe(self.learner),
            "task": self.task.sha256,
            "strategy": self.strategy.to_json(),
            "seed": self.seed,
            "start": digest(self.start),
        }

    def begin(self) -> Training:
        """The state before the first step."""
        states = init_states(self.learner, create(self.strategy), self.begun, self.strategy.frozen)
        average = dict(self.begun) if self.strategy.ema else {}
        nothing = torch.empty(0, dtype=torch.int64)
        taken = 0 if self.opening is None else self.opening.steps
        return Training(dict(self.begun), states, average, generator(self.seed, "fit"), nothing, taken)

    def decide(self, training: Training, interrupt: StopOnInterrupt, features: Features, from_start: bool) -> None:
        """Where early stopping is asked for, how many steps to take: by held-out shots, once, before the first step."""
        strategy, limits = self.strategy, Limits.of(training, self.strategy)
        if not strategy.early_stopping or training.held_out:
            return
        self.tell("on_note", "early stopping: finding out by held-out shots how many steps to take")

        def follow(learned: ImageSet, place: int, seconds: float) -> Iterator[tuple[int, Tensor]]:
            task, seed = replace(self.task, support=learned, query=None), derive(self.seed, "held out", place)
            fold = replace(self, task=task, seed=seed, judge=None, listeners=(), place=None, until=None)
            tried = fold.begin()
            fold.guard.begin(tried)
            for wanted in held_out.grid(limits.steps, from_start):
                if wanted < tried.step:  # the opening stands for these
                    continue
                state = fold.train(tried, interrupt, Limits(wanted, seconds))
                if tried.step < wanted or state != "finished":
                    return
                params = fold.finished(tried.average or tried.params)
                yield wanted, sample_bytes(self.plain, params, held_out.SAMPLES, derive(seed, "samples"))

        found = held_out.decide(self.task.support, follow, features, self.seed, limits.seconds)
        if interrupt.asked:
            return
        training.held_out = found.to_json()
        note = found.told(f"{strategy.steps:,} steps" if strategy.steps < ENDLESS else f"{strategy.seconds:g} seconds")
        training.notes.append(note)
        self.tell("on_note", note)
        self.save(training)

    def train(self, training: Training, interrupt: StopOnInterrupt, limits: Limits | None = None) -> str:
        """Steps until the budget is spent, and a last look at what the last of them led to; how it ended.

        limits  where it ends, if not where strategy and held-out shots say
        """
        limits = limits or Limits.of(training, self.strategy)
        while True:
            state = self._steps(training, interrupt, limits)
            if state == "failed" or self._is_sound(training):
                return state
            if not self._roll_back(training):
                return "failed"
            if state in ("stopped", "paused"):
                return state

    def _steps(self, training: Training, interrupt: StopOnInterrupt, limits: Limits) -> str:
        """Steps until the budget is spent; how it ended. ``training`` is the state all along."""
        strategy, optimiser = self.strategy, create(self.strategy)
        log_every = max(1, strategy.steps // _LOGGED_POINTS)
        begun = time.perf_counter() - training.seconds
        saved = time.monotonic()
        while training.step < limits.steps and not (limits.seconds and training.seconds >= limits.seconds):
            if self._pauses(training):
                training.seconds = time.perf_counter() - begun
                return "paused"
            batch = self._batch(training) | self.guard.extras(training)
            draws = self.learner.draw(batch, training.random)
            rate = strategy.learning_rate * training.slowed * self._schedule(training)
            with precision(strategy.precision, self.begun):
                result = step(
                    self.learner,
                    optimiser,
                    training.params,
                    training.states,
                    batch,
                    draws,
                    rate,
                    player_rates=strategy.player_rates,
                    frozen=strategy.frozen,
                    clip=strategy.clip,
                    anchor=strategy.anchor,
                    start=self.begun,
                )
            losses = {player: float(loss.value) for player, loss in result.losses.items()}
            if not _finite(losses, result):
                if not self._roll_back(training):
                    return "failed"
                continue
            if training.step % _SNAPSHOT_STEPS == 0:  # losses and gradients have just shown that these are sound
                training.sound = Sound(training.step, training.params, training.states, training.average)
            if isinstance(self.learner, Remembering):
                training.memory = self.learner.remember(training.params, batch, draws)
            training.params, training.states = result.params, result.states
            training.step += 1
            if strategy.ema:
                self._average(training)
            before, training.seconds = training.seconds, time.perf_counter() - begun
            if training.step % log_every == 0 or self._point(training.seconds) > self._point(before):
                self._log(training, losses, result, rate)
            self.guard.follow(training, result, len(next(iter(batch.values()))))
            self.tell("on_step", training.step, losses)
            due = strategy.evaluate_every and training.step % strategy.evaluate_every == 0
            if (due or self._pauses(training)) and training.step < limits.steps:
                self.evaluate(training)
            if time.monotonic() - saved > _CHECKPOINT_SECONDS:
                self.save(training)
                saved = time.monotonic()
            if interrupt.asked:
                return "stopped"
        return "finished"

    def _pauses(self, training: Training) -> bool:
        """Whether the training has come as far as it is to go now."""
        until = self.until
        return until is not None and (
            training.step >= until.steps or bool(until.seconds and training.seconds >= until.seconds)
        )

    def evaluate(self, training: Training) -> None:
        """Look at the query set: the learner's own loss there, and the judge's scores. Draw a grid of samples."""
        params = training.average or training.params
        if self.task.query is not None:
            losses = self._losses(params, self._few(self.task.query), "query")
            values = {f"{player} query loss": value for player, value in losses.items()}
            if not all(map(math.isfinite, values.values())):
                return  # parameters that no judge could score; the next step shows it and goes back
            score = values[f"{self.learner.players[0]} query loss"]
            if self.judge is not None:
                values |= self.judge(self.whole(params))
                score = values.get("kernel_distance", score)
            if score < training.best_score:
                training.best_score, training.best = score, params
            self._evaluated(training, values, self.whole(params))
        elif self.judge is not None:  # it can tell how near to the images learned from, but not what is best
            self._evaluated(training, self.judge(self.whole(params)), self.whole(params))
        if self.place is not None:
            picture = pictured(self.learner, params, self.task, self._few(self.task.support), self.seed)
            if picture is not None:
                write_atomically(self.place / "samples" / f"step-{training.step:06d}.png", picture)

    def _evaluated(self, training: Training, values: dict[str, float], params: Params) -> None:
        training.curve.append(CurvePoint(training.step, training.seconds, values))
        self.tell("on_evaluate", training.step, values, params)

    def save(self, training: Training) -> None:
        """Keep a checkpoint and the curve so far, where there is a directory."""
        if self.place is not None:
            checkpoint.save(training, self.identity, self.place)
            write_atomically(self.place / "curve.csv", curve_csv(training.curve).encode())

    def forget(self) -> None:
        """Delete the checkpoint of a run that needs it no more."""
        if self.place is not None:
            checkpoint.remove(self.place)

    def run(self, training: Training, state: str) -> Run:
        """The run, with what is fitted after training."""
        decided = held_out.Decision.from_json(training.held_out) if training.held_out else None

        def finish(params: Params) -> Params:
            if state == "failed" and not all(bool(value.isfinite().all()) for value in params.values()):
                return self.whole(params)  # a start that was unsound already: nothing can be fitted to it
            return self.finished(params)

        begun = time.perf_counter()
        fitted = finish(training.average or training.params)
        if not training.step:  # what was fitted is then all that it cost
            training.seconds += time.perf_counter() - begun
        return Run(
            learner=self.plain,
            task_name=self.task.name,
            source=self.task.source,
            strategy=self.strategy,
            seed=self.seed,
            params=fitted,
            best=finish(training.best) if training.best else None,
            state=state,
            curve=[*(decided.curve() if decided else ()), *training.curve],
            cost=Cost(training.seconds + (decided.seconds if decided else 0), training.step, torch.get_num_threads()),
            notes=training.notes,
            task={
                "sha256": self.task.sha256,
                "support": _described(self.task.support, self.task.goal),
                "query": None if self.task.query is None else _described(self.task.query, self.task.goal),
            },
            lineage={"classes": list(self.task.support.class_names)} if self.task.goal == "classify" else {},
            id=training.id,
        )

    def finished(self, params: Params) -> Params:
        """What predictions use, of the parameters that are trained: with what is fitted to the images learned from."""
        return self.plain.finish(self.whole(params), batch_of(self.task.support), generator(self.seed, "finish"))

    def tell(self, event: str, *details: Any) -> None:
        """Tell all listeners."""
        for listener in self.listeners:
            getattr(listener, event)(*details)

    def _few(self, images: ImageSet, most: int = _IMAGES_LOOKED_AT) -> Batch:
        return batch_of(images.select(torch.arange(min(len(images), most))))

    def _losses(self, params: Params, few: Batch, label: str) -> dict[str, float]:
        params, draws = self.whole(params), self.plain.draw(few, generator(self.seed, label))
        with torch.no_grad():
            return {player: float(self.plain.loss(player, params, few, draws).value) for player in self.plain.players}

    def _is_sound(self, training: Training) -> bool:
        """Whether the parameters, which no step has tried yet, give finite losses."""
        few = self._few(self.task.support, _IMAGES_TRIED)
        return all(map(math.isfinite, self._losses(training.params, few, "sound").values()))

    def _batch(self, training: Training) -> Batch:
        """The next images: passes through the support set in random order; all of it where the batch is larger.

        With augmentation a batch larger than the support set is filled up by further passes.
        """
        support, strategy = self.task.support, self.strategy
        size = strategy.batch or len(support)
        if size >= len(support) and not strategy.augmentation:
            indices = torch.arange(len(support))
        else:
            while len(training.order) < size:
                again = one_pass(support, training.random)
                training.order = torch.cat([training.order, again])
            indices, training.order = training.order[:size], training.order[size:]
        chosen = support.select(indices)
        batch = batch_of(chosen.again(training.random) if isinstance(chosen, Pairs) else chosen)
        if strategy.augmentation:
            batch = augmented(batch, strategy.augmentation, training.random)
        return batch | training.memory

    def _schedule(self, training: Training) -> float:
        """Linear warm-up, then constant or half a cosine over what of the budget is used, in steps or in seconds."""
        strategy = self.strategy
        if training.step < strategy.warmup:
            return (training.step + 1) / strategy.warmup
        if strategy.schedule == "constant":
            return 1.0
        used = training.step / strategy.steps
        if strategy.seconds:
            used = max(used, training.seconds / Limits.of(training, strategy).seconds)
        return 0.5 * (1 + math.cos(math.pi * min(used, 1.0)))

    def _point(self, seconds: float) -> int:
        """How many points of the curve a budget in seconds asks for until then."""
        return int(_LOGGED_POINTS * seconds / self.strategy.seconds) if self.strategy.seconds else 0

    def _average(self, training: Training) -> None:
        """The moving average; its decay rises from 0 so that the first steps do not weigh on it."""
        decay = min(self.strategy.ema, training.step / (training.step + 10))
        training.average = {
            name: value if training.average[name] is value else torch.lerp(value, training.average[name], decay)
            for name, value in training.params.items()
        }

    def _roll_back(self, training: Training) -> bool:
        """Back to the last sound state with half the rate; whether it is worth going on."""
        first = self.begin()
        sound = training.sound or Sound(first.step, first.params, first.states, first.average)
        training.rollbacks += 1
        training.slowed /= 2
        hopeless = training.rollbacks > _MOST_ROLLBACKS
        note = (
            f"training failed: losses stayed not finite at step {training.step + 1} though the learning rate was "
            f"halved {_MOST_ROLLBACKS} times; look for damaged images or begin with a rate below "
            f"{self.strategy.learning_rate * training.slowed:.2g}"
            if hopeless
            else f"step {training.step + 1} gave a loss or gradient that is not finite; went back to step {sound.step} "
            f"and halved the learning rate"
        )
        training.step, training.params, training.states, training.average = sound
        training.curve = [point for point in training.curve if point.step <= sound.step]
        training.notes.append(note)
        self.tell("on_note", note)
        return not hopeless

    def _log(self, training: Training, losses: dict[str, float], result: StepResult, rate: float) -> None:
        values = {f"{player} loss": value for player, value in losses.items()}
        for player, loss in result.losses.items():
            values |= {f"{player} {name}": float(term) for name, term in loss.terms.items()}
            values[f"{player} gradient norm"] = float(result.norms[player])
        training.curve.append(CurvePoint(training.step, training.seconds, {**values, "learning rate": rate}))


def _finite(losses: dict[str, float], result: StepResult) -> bool:
    return all(map(math.isfinite, losses.values())) and all(
        math.isfinite(float(norm)) for norm in result.norms.values()
    )


def _described(images: ImageSet, goal: str) -> dict[str, Any]:
    told = {"name": images.name, "count": len(images), "sha256": images.sha256, "licence": images.licence}
    if isinstance(images, TwoSided):
        pairs = isinstance(images, Pairs)
        inputs = len(images) if pairs else len(images.inputs)
        told |= {"count": len(images.targets), "inputs": inputs, "pairs": pairs}
    return told if goal != "classify" else told | {"classes": list(images.class_names)}

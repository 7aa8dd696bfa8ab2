"""Training: one learner, one task, one strategy."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from limner.config import Strategy
from limner.engine import checkpoint
from limner.engine.augment import augment
from limner.engine.checkpoint import Training
from limner.engine.events import Listener, StopOnInterrupt
from limner.engine.optimisers import create
from limner.engine.run import Run
from limner.engine.step import StepResult, init_states, owned, step
from limner.errors import LimnerError
from limner.learners import Learner, batch_of, describe
from limner.seeds import generator
from limner.tasks import ImageSet, Task
from limner.types import FITTED, Batch, Cost, CurvePoint, Params

Judge = Callable[[Params], dict[str, float]]

_SNAPSHOT_STEPS = 25
_CHECKPOINT_SECONDS = 20.0
_MOST_ROLLBACKS = 8
_LOGGED_POINTS = 200
_QUERY_IMAGES = 256


def fit(
    learner: Learner,
    task: Task,
    strategy: Strategy,
    *,
    seed: int = 0,
    start: Params | None = None,
    judge: Judge | None = None,
    directory: str | Path | None = None,
    listeners: Sequence[Listener] = (),
    resume: bool = False,
) -> Run:
    """Train ``learner`` on the task's support set under ``strategy``; the run.

    start      parameters to begin from (fresh ones where ``None``)
    judge      scores parameters on the query set; called every ``strategy.evaluate_every`` steps and at the end. The
               learner's own loss on the query set is measured beside it
    directory  where a checkpoint is kept every 20 seconds and at a stop (``None``: nowhere)
    resume     go on exactly where the checkpoint in ``directory`` is: a resumed run is the same, bit by bit, as one
               that was never stopped

    Ctrl-C ends it after the current step with state ``stopped``. A step whose losses or gradients are not finite is
    never taken: training goes back to a sound state with half the rate and says so; if that does not help, the run ends
    with state ``failed`` and the last sound parameters. Raises :class:`LimnerError` for what cannot be trained.
    """
    place = None if directory is None else Path(directory)
    if strategy.optimiser == "sgd" and not strategy.steps and not strategy.seconds:
        raise LimnerError("the strategy has neither steps nor seconds; give at least one step")
    start = _fitting_start(learner, start, seed, strategy)
    session = _Session(learner, task, strategy, seed, start, judge, listeners)
    identity = {
        "learner": describe(learner), "task": task.sha256, "strategy": strategy.to_json(), "seed": seed
    }  # fmt: skip
    training = checkpoint.load(place, identity) if resume and place is not None else session.begin()
    session.tell("on_start", strategy.steps, strategy.seconds, training.step)
    state = "failed"
    try:
        with StopOnInterrupt() as interrupt:
            state = session.train(training, interrupt, _saver(place, identity))
        if state != "stopped":
            session.evaluate(training)
        if place is not None:
            if state == "stopped":
                checkpoint.save(training, identity, place)
            else:
                checkpoint.remove(place)
    finally:
        session.tell("on_end", state)
    return session.run(training, state)


def _saver(place: Path | None, identity: dict[str, Any]) -> Callable[[Training], None]:
    """Saves a checkpoint when the last one is old enough."""
    last = time.monotonic()

    def save(training: Training) -> None:
        nonlocal last
        if place is not None and time.monotonic() - last > _CHECKPOINT_SECONDS:
            checkpoint.save(training, identity, place)
            last = time.monotonic()

    return save


@dataclass
class _Session:
    """What stays the same during a training."""

    learner: Learner
    task: Task
    strategy: Strategy
    seed: int
    start: Params
    judge: Judge | None
    listeners: Sequence[Listener]

    def begin(self) -> Training:
        states = init_states(self.learner, create(self.strategy), self.start, self.strategy.frozen)
        average = dict(self.start) if self.strategy.ema else {}
        nothing = torch.empty(0, dtype=torch.int64)
        return Training(dict(self.start), states, average, generator(self.seed, "fit"), nothing)

    def train(self, training: Training, interrupt: StopOnInterrupt, save: Callable[[Training], None]) -> str:
        """Steps until the budget is spent; how it ended. ``training`` is the state all along."""
        strategy, optimiser = self.strategy, create(self.strategy)
        log_every = max(1, strategy.steps // _LOGGED_POINTS)
        begun = time.perf_counter() - training.seconds
        sound = replace(training)
        while training.step < strategy.steps and not (strategy.seconds and training.seconds >= strategy.seconds):
            batch = self._batch(training)
            draws = self.learner.draw(batch, training.random)
            rate = strategy.learning_rate * training.slowed * self._schedule(training)
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
                start=self.start,
            )
            losses = {player: float(loss.value) for player, loss in result.losses.items()}
            if not _finite(losses, result):
                if not self._roll_back(training, sound):
                    return "failed"
                continue
            training.params, training.states = result.params, result.states
            training.step += 1
            if strategy.ema:
                self._average(training)
            if training.step % _SNAPSHOT_STEPS == 0:
                sound = replace(training)
            training.seconds = time.perf_counter() - begun
            if training.step % log_every == 0:
                self._log(training, losses, result, rate)
            self.tell("on_step", training.step, losses)
            due = strategy.evaluate_every and training.step % strategy.evaluate_every == 0
            if due and training.step < strategy.steps:
                self.evaluate(training)
            save(training)
            if interrupt.asked:
                return "stopped"
        return "finished"

    def evaluate(self, training: Training) -> None:
        """Look at the query set: the learner's own loss there, and the judge's scores."""
        if self.task.query is None:
            return
        params = training.average or training.params
        values: dict[str, float] = {}
        query = self.task.query
        few = batch_of(query.select(torch.arange(min(len(query), _QUERY_IMAGES))))
        draws = self.learner.draw(few, generator(self.seed, "query"))
        with torch.no_grad():
            for player in self.learner.players:
                values[f"{player} query loss"] = float(self.learner.loss(player, params, few, draws).value)
        score = values[f"{self.learner.players[0]} query loss"]
        if self.judge is not None:
            values |= self.judge(params)
            score = values.get("kernel_distance", score)
        if score < training.best_score:
            training.best_score, training.best = score, params
        training.curve.append(CurvePoint(training.step, training.seconds, values))
        self.tell("on_evaluate", training.step, values, params)

    def run(self, training: Training, state: str) -> Run:
        """The run, with what is fitted after training."""
        support = batch_of(self.task.support)

        def finish(params: Params) -> Params:
            return self.learner.finish(params, support, generator(self.seed, "finish"))

        return Run(
            learner=self.learner,
            task_name=self.task.name,
            source=self.task.source,
            strategy=self.strategy,
            seed=self.seed,
            params=finish(training.average or training.params),
            best=finish(training.best) if training.best else None,
            state=state,
            curve=training.curve,
            cost=Cost(training.seconds, training.step, torch.get_num_threads()),
            notes=training.notes,
            task={
                "sha256": self.task.sha256,
                "support": _described(self.task.support),
                "query": None if self.task.query is None else _described(self.task.query),
            },
        )

    def tell(self, event: str, *details: Any) -> None:
        """Tell all listeners."""
        for listener in self.listeners:
            getattr(listener, event)(*details)

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
                again = torch.randperm(len(support), generator=training.random)
                training.order = torch.cat([training.order, again])
            indices, training.order = training.order[:size], training.order[size:]
        batch = batch_of(support.select(indices))
        if strategy.augmentation:
            batch["images"] = augment(batch["images"], strategy.augmentation, training.random)
        return batch

    def _schedule(self, training: Training) -> float:
        """Linear warm-up, then constant or half a cosine over what of the budget is used, in steps or in seconds."""
        strategy = self.strategy
        if training.step < strategy.warmup:
            return (training.step + 1) / strategy.warmup
        if strategy.schedule == "constant":
            return 1.0
        used = training.step / max(strategy.steps, 1)
        if strategy.seconds:
            used = max(used, training.seconds / strategy.seconds)
        return 0.5 * (1 + math.cos(math.pi * min(used, 1.0)))

    def _average(self, training: Training) -> None:
        """The moving average; its decay rises from 0 so that the first steps do not weigh on it."""
        decay = min(self.strategy.ema, training.step / (training.step + 10))
        training.average = {
            name: value if training.average[name] is value else torch.lerp(value, training.average[name], decay)
            for name, value in training.params.items()
        }

    def _roll_back(self, training: Training, sound: Training) -> bool:
        """Back to the last sound state with half the rate; whether it is worth going on."""
        training.rollbacks += 1
        training.slowed /= 2
        note = (
            f"step {training.step + 1} gave a loss or gradient that is not finite; went back to step {sound.step} and "
            f"halved the learning rate"
        )
        hopeless = training.rollbacks > _MOST_ROLLBACKS
        if hopeless:
            note = (
                f"training failed: losses stayed not finite at step {training.step + 1} though the learning rate was "
                f"halved {_MOST_ROLLBACKS} times; look for damaged images or begin with a rate below "
                f"{self.strategy.learning_rate * training.slowed:.2g}"
            )
        training.params, training.states, training.average = sound.params, sound.states, sound.average
        training.step = sound.step
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


def _fitting_start(learner: Learner, start: Params | None, seed: int, strategy: Strategy) -> Params:
    """The parameters to begin from, checked against the learner's own names and shapes."""
    fresh = learner.init(seed)
    for name in strategy.frozen:
        if not any(own.startswith(name) for own in fresh):
            raise LimnerError(
                f"no parameter begins with {name!r}, so it cannot be frozen; there are: {', '.join(fresh)}"
            )
    if strategy.frozen and not any(owned(fresh, player, strategy.frozen) for player in learner.players):
        raise LimnerError("the strategy freezes every parameter, so nothing could be learned; freeze fewer")
    if start is None:
        return fresh
    start = {name: value for name, value in start.items() if not name.startswith(FITTED)}
    for name, value in fresh.items():
        found = tuple(start[name].shape) if name in start else None
        if found != tuple(value.shape):
            told = "lacks it" if found is None else f"has it with shape {found}"
            raise LimnerError(
                f"the start does not fit the {learner.kind}: parameter {name} has shape {tuple(value.shape)}, but the "
                f"start {told}; use a start made for {learner.kind} {learner.options} at {learner.image_shape}"
            )
    if extra := sorted(set(start) - set(fresh)):
        raise LimnerError(
            f"the start does not fit the {learner.kind}: it also holds {extra[0]}, which is not part of it"
        )
    return start


def _described(images: ImageSet) -> dict[str, Any]:
    return {"name": images.name, "count": len(images), "sha256": images.sha256, "licence": images.licence}

"""The outer loop: learn a start over a family of tasks."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limner.config import Strategy
from limner.engine import checkpoint
from limner.engine.allocator import keep_freed_memory
from limner.engine.checkpoint import Training
from limner.engine.checks import digest, fitting_start
from limner.engine.events import Listener, StopOnInterrupt
from limner.engine.optimisers import named
from limner.engine.step import States, norm_of, owned
from limner.errors import LimnerError
from limner.learners import Learner, describe
from limner.meta.algorithms import MetaGradient
from limner.meta.checks import check, check_twice
from limner.meta.episodes import device_of, episode_of
from limner.meta.execution import Processes, choose, mean_gradient
from limner.meta.inner import Episode, with_rates
from limner.meta.judge import Trajectory, trajectory
from limner.meta.plan import MetaPlan
from limner.model_file import RATES
from limner.seeds import generator
from limner.tasks import TaskFamily
from limner.types import Cost, CurvePoint, Params

_PATIENCE = 10
"""So many outer steps in a row without a finite meta-gradient end a meta-training."""

_CHECKPOINT_SECONDS = 20.0


@dataclass(frozen=True)
class Start:
    """What meta-training produces: parameters to begin a task from, and how they came about.

    rates       learned step sizes, as factors on the plan's ``inner_rate``; ``None`` where none are learned
    plan        as it was carried out: ``execution`` is what was chosen
    curve       each validation on held-out classes
    trajectory  what adaptation does, step by step, on held-out tasks; ``None`` where the family holds none back
    family      what rebuilds the family and so the split of its classes
    state       ``finished``, ``stopped`` (by hand; can be resumed from its directory) or ``failed``
    """

    learner: Learner
    params: Params
    plan: MetaPlan
    family: dict[str, Any]
    rates: Params | None = None
    curve: list[CurvePoint] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    notes: list[str] = field(default_factory=list)
    trajectory: Trajectory | None = None
    state: str = "finished"

    @property
    def learned(self) -> Params:
        """All that was learned, as :func:`learn` and ``trajectory`` take it: parameters, and ``rates.*``."""
        return {**self.params, **{RATES + name: value for name, value in (self.rates or {}).items()}}


def learn(
    learner: Learner,
    family: TaskFamily,
    plan: MetaPlan,
    *,
    seed: int = 0,
    start: Params | None = None,
    listeners: Sequence[Listener] = (),
    directory: str | Path | None = None,
    resume: bool = False,
) -> Start:
    """Meta-learns a start for ``learner`` over the train classes of ``family``.

    Each outer step draws ``plan.tasks`` tasks, adapts to each one's support, and moves the start along the mean
    meta-gradient (:func:`~limner.meta.algorithms.meta_gradient`). Validation measures each player's query loss after
    adaptation on held-out classes, always the same tasks with the same draws; the start with the lowest is kept
    (``plan.keep``).

    start      begin from these parameters (and learned step sizes, ``rates.*``) instead of fresh ones
    directory  where a checkpoint is kept, every 20 seconds and at a stop (``None``: nowhere)
    resume     go on exactly where the checkpoint in ``directory`` is

    Ctrl-C ends it early and keeps what was learned so far. Outer steps whose meta-gradient is not finite are left out
    and counted; ten in a row end it with what was learned before them. Under ``torchrun`` each process takes its share
    of the tasks, and all have the same start at all times.

    Raises :class:`LimnerError` where no outer step gives a finite meta-gradient, or plan, learner and family do not go
    together.
    """
    session = _Session(learner, family, plan, seed, start, listeners, directory)
    training = session.begin(resume)
    for listener in session.listeners:
        listener.on_start(plan.steps, plan.seconds, training.step)
    state = "failed"
    try:
        with StopOnInterrupt() as interrupt:
            state = session.train(training, interrupt)
        return session.start_of(training, state)
    finally:
        for listener in session.listeners:
            listener.on_end(state)


class _Session:
    """What stays the same during a meta-training."""

    def __init__(
        self,
        learner: Learner,
        family: TaskFamily,
        plan: MetaPlan,
        seed: int,
        start: Params | None,
        listeners: Sequence[Listener],
        directory: str | Path | None,
    ) -> None:
        self.learner, self.family, self.plan, self.seed = learner, family, plan, seed
        keep_freed_memory()
        self.processes = Processes()
        self.listeners = list(listeners) if self.processes.first else []
        self.place = None if directory is None else Path(directory)
        self.device = device_of(plan)
        self.optimiser = named(plan.optimiser, plan.betas)
        self.begun = time.perf_counter()
        self.failures = 0
        self.found: Trajectory | None = None
        check(learner, plan, self.processes.count)
        fresh = learner.init(seed) if start is None else _fitting(learner, start, seed)
        self.start = {name: value.to(self.device) for name, value in with_rates(learner, plan, fresh).items()}

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must have been written by to be gone on with here."""
        plan = {name: value for name, value in self.plan.to_json().items() if name != "execution"}
        return {
            "learner": describe(self.learner),
            "family": self.family.to_json(),
            "plan": plan,
            "seed": self.seed,
            "start": digest(self.start),
        }

    def begin(self, resume: bool) -> Training:
        """The state to go on from. The execution is chosen here, by the first tasks, unless the plan names it."""
        if resume and self.place is None:
            raise LimnerError("a meta-training can only be resumed from a directory; give the one with its checkpoint")
        if resume and self.place is not None:
            training = checkpoint.load(self.place, self.identity)
        else:
            if self.place is not None and (self.place / checkpoint.NAME).exists():
                raise LimnerError(
                    f"{self.place} holds a meta-training that was stopped; go on with resume, or choose another place"
                )
            groups = self._groups()
            states = {group: self.optimiser.init(owned(self.start, group)) for group in groups}
            random = generator(self.seed, "meta")
            training = Training(self.start, states, {}, random, torch.zeros(0, dtype=torch.int64))
        self._try(training)
        self.save(training)  # a place that cannot be written to shows before the work, not after it
        self.begun = time.perf_counter() - training.seconds
        return training

    def train(self, training: Training, interrupt: StopOnInterrupt) -> str:
        plan, saved = self.plan, time.perf_counter()
        while True:
            elapsed = time.perf_counter() - self.begun
            spent = max(training.step / plan.steps, elapsed / plan.seconds if plan.seconds else 0.0)
            spent = self.processes.agree(math.inf if interrupt.asked else spent)
            if spent >= 1:
                break
            episodes = [
                episode_of(self.learner, plan, self.family.sample("train", training.random), training.random)
                for _ in range(plan.tasks)
            ]
            own = self.processes.share(episodes)
            found = mean_gradient(self.learner, plan, training.params, own, plan.execution, progress=spent)
            found = self.processes.average(found, len(own), plan.tasks)
            self._move(training, found, 1 - 0.9 * spent)
            training.seconds = time.perf_counter() - self.begun
            values = {f"{player} query loss": float(loss) for player, loss in found.losses.items()}
            values |= {name: float(value) for name, value in found.terms.items() if name.endswith("accuracy")}
            for listener in self.listeners:
                listener.on_step(training.step, values)
            if self.failures > _PATIENCE:
                return "failed"
            if plan.validate_every and training.step % plan.validate_every == 0:
                self.validate(training)
            if time.perf_counter() - saved > _CHECKPOINT_SECONDS:
                self.save(training)
                saved = time.perf_counter()
        training.seconds = time.perf_counter() - self.begun
        if spent == math.inf:
            self.save(training)
            return "stopped"
        return "finished"

    def validate(self, training: Training) -> None:
        """Looks at held-out tasks, and keeps the parameters if they are the best so far."""
        if not self.processes.first or not self.family.size("validation"):
            return
        self.found = trajectory(
            self.learner, self.plan, training.params, self.family, tasks=self.plan.validate_tasks, seed=self.seed
        )
        values = self.found.summary()
        training.curve.append(CurvePoint(training.step, time.perf_counter() - self.begun, values))
        if len(self.learner.players) == 1:
            score = values[f"{self.learner.players[0]} query loss after"]
            if score < training.best_score:
                training.best, training.best_score = training.params, score
        for listener in self.listeners:
            listener.on_evaluate(training.step, values, training.params)

    def save(self, training: Training) -> None:
        """A checkpoint, by the first process only."""
        if self.place is not None and self.processes.first:
            checkpoint.save(training, self.identity, self.place)

    def start_of(self, training: Training, state: str) -> Start:
        """What the training came to."""
        notes = list(training.notes)
        if state == "stopped":
            notes.append(f"stopped by hand after {training.step} outer steps; the start is what was learned until then")
        if training.rollbacks:
            notes.append(f"{training.rollbacks} outer steps gave no finite meta-gradient and were left out")
        if state == "failed":
            if training.step <= training.rollbacks:
                raise LimnerError(
                    f"meta-training gave no finite gradient in {training.step} outer steps; lower inner_rate "
                    f"(now {self.plan.inner_rate}) or rate (now {self.plan.rate})"
                )
            notes.append(f"the last {self.failures} in a row: it ended at step {training.step}; lower the rates")
        if not training.curve or training.curve[-1].step != training.step:
            self.validate(training)
        params = training.params
        if self.plan.keep == "best" and training.best and training.best is not params:
            kept = min(
                training.curve,
                key=lambda point: point.values[f"{self.learner.players[0]} query loss after"],
            )
            if kept.step != training.step:
                params = training.best
                notes.append(f"the start kept is that of step {kept.step}, the best on held-out classes")
                self.found = trajectory(
                    self.learner, self.plan, params, self.family, tasks=self.plan.validate_tasks, seed=self.seed
                )
        if state == "finished" and self.place is not None and self.processes.first:
            checkpoint.remove(self.place)
        rates = {name.removeprefix(RATES): value.cpu() for name, value in params.items() if name.startswith(RATES)}
        return Start(
            self.learner,
            {name: value.cpu() for name, value in params.items() if not name.startswith(RATES)},
            self.plan,
            self.family.to_json(),
            rates or None,
            training.curve,
            Cost(training.seconds, training.step, torch.get_num_threads(), str(self.device)),
            notes,
            self.found,
            state,
        )

    def _groups(self) -> list[str]:
        """What has an optimiser state of its own: each player's parameters, and its learned step sizes."""
        both = [group for player in self.learner.players for group in (player, RATES + player)]
        return [group for group in both if owned(self.start, group)]

    def _try(self, training: Training) -> None:
        """Some tasks before the first step, for what only they can show."""
        random = generator(self.seed, "timing")
        episodes = [
            episode_of(self.learner, self.plan, self.family.sample("train", random), random)
            for _ in range(self.plan.tasks)
        ]
        check_twice(self.learner, self.plan, self.start, episodes[0])
        if self.plan.execution == "auto" and "execution" not in training.choices:
            self._choose(training, episodes)
        if self.plan.execution == "auto":
            self.plan = replace(self.plan, execution=training.choices["execution"])

    def _choose(self, training: Training, episodes: list[Episode]) -> None:
        found = choose(self.learner, self.plan, self.start, self.processes.share(episodes))
        names = ("loop", "threads", "vmap")
        chosen = names[int(self.processes.agree(float(names.index(found.execution))))]
        training.choices["execution"] = chosen
        training.notes.append(str(found))
        for listener in self.listeners:
            listener.on_note(str(found))

    def _move(self, training: Training, found: MetaGradient, share: float) -> None:
        """The start moved along the meta-gradient, group by group; left as it is where that is not finite."""
        moved: Params = {}
        states: States = {}
        training.step += 1
        for group, state in training.states.items():
            own = owned(training.params, group)
            towards: dict[str, Tensor] = {name: found.gradient[name].to(own[name].dtype) for name in own}
            norm = norm_of(towards)
            if not torch.isfinite(norm):
                training.rollbacks += 1
                self.failures += 1
                return
            if self.plan.clip:
                scale = (self.plan.clip / (norm + 1e-12)).clamp(max=1.0)
                towards = {name: value * scale for name, value in towards.items()}
            rate = self.plan.rates_rate if group.startswith(RATES) else self.plan.rate
            with torch.no_grad():
                after, states[group] = self.optimiser.update(own, towards, state, rate * share, None)
            moved |= after
        self.failures = 0
        training.params = {**training.params, **moved}
        training.states = states


def _fitting(learner: Learner, start: Params, seed: int) -> Params:
    """The given start, where it is one for this learner; learned step sizes are taken along."""
    rates = {name: value for name, value in start.items() if name.startswith(RATES)}
    rest = {name: value for name, value in start.items() if name not in rates}
    return fitting_start(learner, rest, seed, Strategy()) | rates

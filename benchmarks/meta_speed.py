"""Time and memory of one outer step of meta-learning: Limner beside learn2learn, higher, TorchOpt and a loop by hand.

All contenders get the same networks, tasks and start. First their meta-gradients are compared in float64; where one
disagrees, nothing is measured. Then they step in turn, in another order each round, and a ratio is that of two medians
over the rounds. Each has a process of its own, and memory is what two steps add to it at their peak.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import harness
import torch
from meta_cells import SEED, Cell, cells, players
from peers_meta import CONTENDERS, INNER_BETAS, OUTER_RATE, Contender, GameByHand, GameTask, Problem, Task
from torch import Tensor, nn

from limner.engine.allocator import keep_freed_memory
from limner.engine.optimisers import named
from limner.engine.step import init_states, owned
from limner.errors import LimnerError
from limner.learners import create
from limner.meta import Episode, MetaPlan, mean_gradient
from limner.networks import Template
from limner.seeds import derive
from limner.tasks import ImageSet, load
from limner.types import Batch, Draws, Loss, Params

SPEC = "npz:{data}/omniglot_background28.npz,images=x,labels=char"
THREADS = 2
CLOSE = 1e-7
"""So far, relative to its length, a meta-gradient may be from ours in float64."""
CHECKED = 2
"""So many of a cell's tasks the comparison in float64 is made on, where convolutions are slow."""

# ── Limner's side ─────────────────────────────────────────────────────────────────────────────────────────────────────


class NetworkLearner:
    """A network and a loss as a learner of one player."""

    kind, players = "network", ("net",)

    def __init__(self, problem: Problem) -> None:
        self.image_shape = tuple(problem.tasks[0].support.shape[1:])
        self.options: dict[str, Any] = {}
        self._net, self._loss = Template("net", problem.module), problem.loss

    def init(self, seed: int) -> Params:
        return self._net.init(seed)

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        return {}

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        return Loss(self._loss(self._net(params, batch["images"]), batch["targets"]), {})


class Ours(Contender):
    """The engine's step within a task and its optimiser outside, through :func:`limner.meta.mean_gradient`."""

    called = "Limner"
    orders = ("first", "second", "reptile")
    execution: ClassVar[str] = "threads"

    def __init__(self, problem: Problem, start: Params) -> None:
        keep_freed_memory()  # as limner.meta.learn does
        game = isinstance(problem.tasks[0], GameTask)
        self.prefix = "" if game else "net."
        self.learner: Any = create("gan", (1, 28, 28)) if game else NetworkLearner(problem)
        self.plan = MetaPlan(
            algorithm={"first": "fomaml", "second": "maml", "reptile": "reptile"}[problem.order],
            tasks=len(problem.tasks),
            inner_steps=problem.inner_steps,
            inner_rate=problem.inner_rate,
            inner_optimiser="adam" if problem.order == "reptile" else "sgd",
            inner_betas=INNER_BETAS,
        )
        self.episodes = [self.episode(task) for task in problem.tasks]
        self.params = {self.prefix + name: value for name, value in start.items()}
        self.optimiser = named("adam")
        self.states = init_states(self.learner, self.optimiser, self.params)

    def episode(self, task: Task | GameTask) -> Episode:
        def often(value: Tensor) -> Tensor:
            return value.expand(self.plan.inner_steps, *value.shape)

        if isinstance(task, Task):
            inner = {"images": often(task.support), "targets": often(task.support_targets)}
            return Episode(inner, {}, {"images": task.query, "targets": task.query_targets}, {})
        return Episode(
            {"images": often(task.support)},
            {f"{name}_latents": value for name, value in task.support_latents.items()},
            {"images": task.query},
            {f"{name}_latents": value for name, value in task.query_latents.items()},
        )

    def step(self) -> None:
        self.found = mean_gradient(self.learner, self.plan, self.params, self.episodes, self.execution).gradient
        for player in self.learner.players:
            own = owned(self.params, player)
            towards = {name: self.found[name] for name in own}
            with torch.no_grad():
                moved, self.states[player] = self.optimiser.update(own, towards, self.states[player], OUTER_RATE, None)
            self.params = {**self.params, **moved}

    def gradient(self) -> Params:
        return {name.removeprefix(self.prefix): value for name, value in self.found.items()}


class OneByOne(Ours):
    """The same without threads of its own."""

    called = "Limner, one by one"
    execution = "loop"


def contenders_of(cell: Cell) -> list[type[Contender]]:
    """Who can make the cell's outer step."""
    peers = (GameByHand,) if cell.module is players else CONTENDERS
    return [kind for kind in (Ours, OneByOne, *peers) if cell.order in kind.orders]


def start_of(problem: Problem, precision: torch.dtype = torch.float32) -> Params:
    """Fresh parameters, the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(SEED, "start"))
        module = problem.module().to(precision)
    return {name: value.detach() for name, value in module.named_parameters()}


def made(cell: Cell, problem: Problem, missing: dict[str, str]) -> dict[str, Contender]:
    """The contenders that can be imported, by what they are called; why not is put into ``missing``."""
    found = {}
    for kind in contenders_of(cell):
        try:
            found[kind.called] = kind(problem, start_of(problem))
        except ImportError as reason:
            missing[kind.called] = str(reason)
    return found


# ── What is measured ──────────────────────────────────────────────────────────────────────────────────────────────────


def as_doubles(value: Any) -> Any:
    """The same with every float32 tensor in float64."""
    return torch.utils._pytree.tree_map(
        lambda leaf: leaf.double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf, value
    )


def disagreement(cell: Cell, problem: Problem, contenders: Sequence[str]) -> dict[str, float]:
    """How far each one's meta-gradient is from ours in float64, relative to ours (Euclidean lengths).

    Raises :class:`LimnerError` where that is more than rounding.
    """
    exact = problem._replace(tasks=as_doubles(problem.tasks[:CHECKED]))
    flat = {}
    for kind in contenders_of(cell):
        if kind.called in contenders:
            contender = kind(exact, start_of(exact, torch.float64))
            contender.step()
            gradient = contender.gradient()
            flat[kind.called] = torch.cat([gradient[name].flatten() for name in sorted(gradient)])
    mine = flat[Ours.called]
    apart = {called: float((other - mine).norm() / mine.norm()) for called, other in flat.items()}
    for called, distance in apart.items():
        if not distance <= CLOSE:
            raise LimnerError(
                f"the meta-gradient of {called} is {distance:.1e} of its length away from Limner's on {cell.name}; "
                "one of them is wrong, and there is no use in timing them"
            )
    return apart


class Worker:
    """A contender in a process of its own, so that one's allocator and threads are not another's."""

    def __init__(self, index: int, called: str) -> None:
        asked = harness.arguments()
        told = {"DATA": asked.data, "LIMNER_DATA": asked.data_folder}
        command = f"import meta_speed; meta_speed.serve({index}, {called!r}, {bool(asked.quick)})"
        self.process = subprocess.Popen(
            [sys.executable, "-c", command],
            cwd=Path(__file__).parent,
            env=os.environ | {name: str(value) for name, value in told.items() if value},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.called, self.megabytes = called, float(self._answer())

    def step(self) -> float:
        """Seconds of one outer step."""
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return float(self._answer())

    def end(self) -> None:
        """Send the process home."""
        self.process.communicate()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise LimnerError(f"the process of {self.called} ended early; what it wrote is above")
        return line


def serve(index: int, called: str, quick: bool) -> None:
    """What a worker does: tell the megabytes that two outer steps add; then, for each line read, a step's seconds."""
    torch.set_num_threads(THREADS)
    cell = cells(quick)[index]
    problem = cell.problem(images_of())
    nn.Conv2d(1, 8, 3)(torch.zeros(2, 1, 8, 8)).sum().backward()  # loads what any convolution needs
    (kind,) = (kind for kind in contenders_of(cell) if kind.called == called)
    contender = kind(problem, start_of(problem))
    print(added_at_peak(lambda: [contender.step() for _ in range(2)] and None), flush=True)
    for _ in sys.stdin:
        gc.collect()
        begun = time.perf_counter()
        contender.step()
        print(time.perf_counter() - begun, flush=True)


def in_turn(workers: dict[str, Worker], rounds: int) -> dict[str, list[float]]:
    """Seconds of a step of each in each round.

    Each round begins with another contender and goes the other way round, so that none always follows the same one.
    """
    names = list(workers)
    seconds: dict[str, list[float]] = {called: [] for called in names}
    for index in range(rounds):
        first = index % len(names)
        for called in (names[first:] + names[:first])[:: (-1) ** index]:
            seconds[called].append(workers[called].step())
    return seconds


def ratio(one: Sequence[float], other: Sequence[float]) -> harness.Interval:
    """The ratio of two medians over the same rounds, with its 95% interval from the bootstrap over rounds."""
    import numpy as np

    both = np.array([one, other])
    chosen = np.random.default_rng(derive(SEED, "rounds")).integers(both.shape[1], size=(10_000, both.shape[1]))
    above, below = np.median(both[:, chosen], axis=2)
    low, high = np.quantile(above / below, (0.025, 0.975))
    return harness.Interval(float(np.divide(*np.median(both, axis=1))), float(low), float(high), len(one))


def resident(peak: bool) -> float:
    """Megabytes (10⁶ bytes) of this process in memory: the most there were, or those there are now (Linux)."""
    status = Path("/proc/self/status")
    if status.exists():  # not ru_maxrss, in which Linux counts the parent's memory at the fork
        field = "VmHWM:" if peak else "VmRSS:"
        return (
            next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(field)) * 1.024e-3
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1e-6 if sys.platform == "darwin" else 1.024e-3)


def added_at_peak(work: Callable[[], None]) -> float:
    """Megabytes that ``work`` adds to this process at its peak; what was freed before is first given back."""
    gc.collect()
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)
    forget = Path("/proc/self/clear_refs")
    if forget.exists():
        forget.write_text("5")  # the peak so far is forgotten
    before = resident(peak=not forget.exists())
    work()
    return resident(peak=True) - before


def images_of() -> ImageSet:
    return load(harness.spec(SPEC), size=28, colour="grey")


# ── What is told ──────────────────────────────────────────────────────────────────────────────────────────────────────


def main() -> None:
    started = time.perf_counter()
    torch.set_num_threads(THREADS)
    images, rounds = images_of(), 3 if harness.quick() else 5
    missing: dict[str, str] = {}
    rows, details, slower = [], [], []
    for index, cell in enumerate(cells(harness.quick())):
        problem = cell.problem(images)
        contenders = made(cell, problem, missing)
        apart = disagreement(cell, problem, list(contenders))
        workers = {called: Worker(index, called) for called in contenders}
        seconds = in_turn(workers, rounds)
        for worker in workers.values():
            worker.end()
        row: dict[str, Any] = {"cell": cell.name}
        for kind in (Ours, OneByOne, *CONTENDERS):
            row[kind.called] = "not importable" if kind.called in missing else None
        for called, taken in seconds.items():
            against, added = ratio(taken, seconds[Ours.called]), workers[called].megabytes
            median = 1000 * statistics.median(taken)
            mine = called == Ours.called
            row[called] = f"{harness.told(median)} ms" if mine else f"× {harness.told(against)}"
            row[called] += f", {round(added):,} MB"
            details.append(
                {
                    "cell": cell.name,
                    "contender": called,
                    "milliseconds": median,
                    "over_limner": against,
                    "megabytes": added,
                    "disagreement": apart[called],
                }
            )
            if against.high is not None and against.high < 1:
                slower.append(f"{cell.name}: {called}")
        details += [
            {"cell": cell.name, "contender": kind.called, "missing": missing[kind.called]}
            for kind in contenders_of(cell)
            if kind.called in missing
        ]
        rows.append(row)
        print(harness.table([row], list(row)), flush=True)
    harness.finish(
        "meta-speed",
        rows,
        columns={"cell": "cell", Ours.called: "Limner"}
        | {kind.called: kind.called for kind in (OneByOne, *CONTENDERS)},
        seed=SEED,
        started=started,
        threads=THREADS,
        details=details,
        story=story(rounds, details, slower, missing),
    )


def story(rounds: int, details: Sequence[dict[str, Any]], slower: Sequence[str], missing: dict[str, str]) -> str:
    """What the table means, who could not take part, and where others are faster."""
    packages = {kind.called: kind.package for kind in CONTENDERS if kind.package}
    farthest = max(detail.get("disagreement", 0.0) for detail in details)
    about = (
        "One outer step: adaptation to every task, the mean meta-gradient, Adam. The first column is Limner's median "
        f"over {rounds} rounds, its tasks shared by {THREADS} threads of one core each, and the memory that a step "
        "adds at its peak; the others are that many times Limner's time (above 1: slower), with the 95% interval from "
        f"the bootstrap over rounds. All others use {THREADS} threads within each operation. Contenders step in turn, "
        "each in a process of its own, in another order each round. A task is 5-way 1-shot with 15 queries a class at "
        "28×28 (Conv4), 16 noisy patches of 32×32 and 16 to be judged on (denoiser), or 5 images of a class and 10 to "
        "be judged on (GAN)."
    )
    parts = [
        "Before anything is timed, all meta-gradients are compared with Limner's in float64: the farthest is "
        f"{harness.told(farthest)} of its length away.",
        "A dash: TorchOpt's differentiable optimisers have no first-order form; Reptile needs no library, and "
        "learn2learn's own example of it is the loop by hand; none of them has a game of two players.",
    ]
    parts += [f"{called} could not be imported: {reason}." for called, reason in missing.items()]
    parts.append(
        "Faster than Limner with all of its interval: " + "; ".join(slower) + "."
        if slower
        else "Nothing is faster than Limner with all of its interval."
    )
    known = {called: package for called, package in packages.items() if called not in missing}
    parts.append("With " + ", ".join(f"{called} {_version(package)}" for called, package in known.items()) + ".")
    return about + "\n\n" + "\n".join(f"- {part}" for part in parts)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


if __name__ == "__main__":
    harness.run(main)

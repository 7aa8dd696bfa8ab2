"""Learning a start from a family of tasks: meta-train, remember, report."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from limner.errors import LimnerError
from limner.verbs import directories
from limner.verbs import meta_configuration as configurations
from limner.verbs.meta_configuration import Configuration
from limner.verbs.meta_prepare import Prepared, prepare
from limner.verbs.starts import refuse_taken

if TYPE_CHECKING:
    from limner.memory import Memory
    from limner.meta import Start, Trajectory

UNSEEN = 100
"""Test tasks that a start is measured on when it is done; a quarter of them where a task is to make images."""

STEPS_SHOWN = 10
"""Inner steps that adaptation is followed for on them, where it can go on so long."""

WEIGHTS = "start.safetensors"
RECORD = "start.json"
"""In a start's directory; the record is written last, so that one without it is known to be incomplete."""

FOREIGN = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".h5", ".onnx", ".npz")


class Learned(NamedTuple):
    """A start in the memory, and where it was written: its directory with its page, or only a file.

    state  ``finished``, ``stopped`` by hand (``directory`` can be resumed), ``failed``, or, in all but the first of
           several processes, ``elsewhere``: there ``sha256`` is empty, and nothing was written
    path   the file of the start
    plan   as it was carried out; ``configuration`` what was asked, resolved
    test   what adaptation does on tasks of classes never learned from, by inner step; empty where none were measured
    """

    sha256: str
    name: str
    path: Path | None
    shots: int
    notes: list[str]
    plan: dict[str, Any]
    family: dict[str, Any]
    cost: dict[str, Any]
    configuration: dict[str, Any]
    state: str = "finished"
    directory: Path | None = None
    page: Path | None = None
    test: dict[str, Any] = {}  # noqa: RUF012 (never changed)

    @property
    def use(self) -> str:
        """The command that adapts the start to new images; empty where there is none for such a learner."""
        from limner.memory.portfolio import goals_of

        goals = goals_of(self.configuration["learner"])
        shots = self.shots * (self.configuration.get("ways") or 1)
        alone = "--damaged DAMAGED" if self.configuration.get("alone") else '"DAMAGED => CLEAN"'
        data = alone if goals == ["restore"] else "DATA"
        return f"limner adapt {goals[0]} {data} --shots {shots} --start {self.sha256[:12]}" if goals else ""

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON types."""
        told = {name: None if place is None else str(place) for name, place in self._places().items()}
        return self._asdict() | told

    def _places(self) -> dict[str, Path | None]:
        return {"path": self.path, "directory": self.directory, "page": self.page}


def meta_train(
    algorithm: str | None = None,
    learner: str | None = None,
    family: str | None = None,
    *,
    goal: str | None = None,
    ways: int | None = None,
    shots: int | None = None,
    queries: int | None = None,
    turns: bool | None = None,
    degradation: str | None = None,
    alone: bool | None = None,
    start: str | None = None,
    budget: str | None = None,
    name: str | None = None,
    options: dict[str, Any] | None = None,
    fields: dict[str, Any] | None = None,
    config: str | Path | dict[str, Any] | None = None,
    out: str | Path | None = None,
    memory: str | None = None,
    seed: int | None = None,
    force: bool = False,
    progress: bool = False,
) -> Learned:
    """Meta-learn a start for ``learner`` by ``algorithm`` over the tasks of ``family``, remember it and report.

    algorithm  one of :data:`limner.meta.ALGORITHMS`
    family     a data spec with classes, clean images for a restorer, or ``sinusoid`` for a regressor
    degradation  for a restorer, what the damage of a task is drawn from: ``gaussian(5..50)`` (each task has one sigma)
    alone        a restorer adapts to a task by damaged images alone, in steps that see no clean ones; what is learned
                 is a start from which these steps lead to the clean ones
    goal       ``generate`` (a task is one class), ``classify`` or ``cluster`` (``ways`` classes), ``regress`` (a
               function), ``restore`` (one degradation); by default what the learner is for
    shots      images (of each class) to adapt to; ``queries`` others judge it
    turns      a class turned by 90, 180 or 270 degrees is a class of its own
    start      a model or start to go on from, ``scratch`` for fresh parameters
    budget     outer steps or time: ``1000steps``, ``10m``…; of a time alone all is used
    options    the learner's; ``fields`` those of :class:`limner.meta.MetaPlan`. What nobody says is as in
               :mod:`limner.meta.recipes`
    config     a file, directory or dictionary of all these; what is given here beside it goes first
    out        the start's directory (``None``: a new one in ``runs``), or a ``.safetensors`` file for the start alone

    The family's classes are split by ``seed`` into train, validation and test; what is recorded with the start rebuilds
    the split. Stopped by Ctrl-C it can be gone on with by :func:`resume`, if it has a directory. Under ``torchrun``
    only the first process writes and remembers. Raises :class:`LimnerError` where something given cannot be used; then
    nothing was written.
    """
    if name is not None and not name.strip():
        raise LimnerError("the name of the start is empty; give another --name, or leave it out")
    asked = _asked(vars(), options, fields, config)
    first = _first_process()
    with _opened(memory, first or asked.start != "scratch") as remembered:
        if remembered is not None and asked.name:
            refuse_taken(asked.name, remembered)
        place = _claim(asked, out, force)
        prepared = prepare(asked, remembered)
        directory = None if place.suffix == ".safetensors" else place
        if directory is not None and first:
            directories.begin(directory, {"verb": "meta-train", "memory": memory})
            directories.write_json(directory / configurations.NAME, prepared.asked.to_json())
        return _carry_out(prepared, place, remembered, first, progress=progress)


def configure(**asked: Any) -> dict[str, Any]:
    """The configuration that :func:`meta_train` would carry out, with nothing left open; nothing is done or written.

    It takes the same arguments, of which ``out``, ``force`` and ``progress`` say nothing here. As JSON in a file it can
    be given back as ``config``.
    """
    aside = ("options", "fields", "config", "memory")
    found = _asked(asked, *(asked.get(name) for name in aside[:3]))
    with _opened(asked.get("memory"), found.start != "scratch") as remembered:
        return prepare(found, remembered).asked.to_json()


def resume(directory: str | Path, *, memory: str | None = None, progress: bool = False) -> Learned:
    """Go on with the meta-training in ``directory`` exactly where it was stopped or killed.

    ``memory`` says where the memory lies now, if it was moved. Raises :class:`LimnerError` where there is nothing to go
    on with, or its images are no longer what they were.
    """
    place = Path(directory)
    told = directories.request_of(place)
    if told.get("verb") != "meta-train":
        raise LimnerError(f"{place} holds no meta-training; go on with a run by: limner train --resume {place}")
    if (place / RECORD).exists():
        raise LimnerError(f"the meta-training in {place} is over, so there is nothing to resume; begin a new one")
    asked = configurations.resolve({}, {}, {}, configurations.read(place))
    where = memory if memory is not None else told.get("memory")
    first = _first_process()
    with _opened(where, first or asked.start != "scratch") as remembered:
        return _carry_out(prepare(asked, remembered), place, remembered, first, resume=True, progress=progress)


def _carry_out(
    prepared: Prepared,
    place: Path,
    remembered: Memory | None,
    first: bool,
    *,
    resume: bool = False,
    progress: bool = False,
) -> Learned:
    """Meta-learn, measure, remember, report."""
    from limner.meta import learn
    from limner.verbs.line import listeners

    asked, family = prepared.asked, prepared.family
    directory = None if place.suffix == ".safetensors" else place
    made = learn(
        prepared.learner,
        family,
        asked.plan,
        seed=asked.seed,
        start=prepared.begun,
        listeners=listeners(progress, "meta-training"),
        directory=directory if first or resume else None,
        resume=resume,
    )
    learned = Learned(
        sha256="",
        name=asked.name,
        path=None,
        shots=asked.shots,
        notes=[*family.notes, *prepared.notes, *made.notes, *prepared.counted(), _spent(made)],
        plan=made.plan.to_json(),
        family=dict(made.family),
        cost=dataclasses.asdict(made.cost),
        configuration=asked.to_json(),
        state=made.state,
        directory=directory,
    )
    if not first or remembered is None:
        return learned._replace(state="elsewhere", directory=None)
    if made.state == "stopped" and directory is not None:
        # The execution that a timing chose stays, so that what follows is the same to the last bit.
        settled = asked.replaced(plan=made.plan)
        directories.write_json(directory / configurations.NAME, settled.to_json())
        learned.notes.append("in the memory it has no name until it is finished")
    seen = None if made.state == "stopped" else unseen(made, prepared)
    learned = _remember(learned, made, seen, prepared, remembered)
    data = remembered.artifacts.get(learned.sha256)
    return _write(learned, made, seen, prepared, place, data)


def unseen(made: Start, prepared: Prepared) -> Trajectory | None:
    """What adaptation from the start does on test tasks; ``None`` where the family holds none back.

    Of a closed form only what it comes to: before it there are no classes yet to be right or wrong about.
    """
    from limner.meta import trajectory
    from limner.meta.episodes import device_of

    if not prepared.family.size("test"):
        return None
    device = device_of(made.plan)
    found = trajectory(
        made.learner,
        made.plan,
        {name: value.to(device) for name, value in made.learned.items()},
        prepared.family,
        "test",
        tasks=UNSEEN // 4 if prepared.asked.goal == "generate" else UNSEEN,
        inner_steps=max(made.plan.inner_steps, STEPS_SHOWN),
        seed=prepared.asked.seed,
    )
    if made.plan.traits.outer != "closed form":
        return found
    ends = {name: [row[-1:] for row in rows] for name, rows in found.values.items()}
    return dataclasses.replace(found, values=ends)


def _remember(
    learned: Learned, made: Start, seen: Trajectory | None, prepared: Prepared, remembered: Memory
) -> Learned:
    from limner.learners import describe
    from limner.reports.start_words import scores_of

    resumable = made.state == "stopped" and learned.directory is not None
    test = {} if seen is None else seen.to_json()
    sha256 = remembered.put_model(
        made.params,
        describe(made.learner),
        role="start",
        name="" if resumable else learned.name,
        parent=prepared.parent,
        family=made.family,
        curve=made.curve,
        scores=None if seen is None else scores_of(made, seen, prepared.asked.shots, prepared.asked.queries),
        rates=made.rates,
        plan=learned.plan,
        about={"configuration": learned.configuration} | ({"test": test} if test else {}),
    )
    return learned._replace(sha256=sha256, test=test)


def _write(
    learned: Learned, made: Start, seen: Trajectory | None, prepared: Prepared, place: Path, data: bytes
) -> Learned:
    """The start's file or its directory."""
    from limner.engine.run import curve_csv
    from limner.memory.schema import plain
    from limner.model_file import write_atomically
    from limner.reports import start_page

    if learned.directory is None:
        write_atomically(place, data)
        return learned._replace(path=place)
    directory = learned.directory
    write_atomically(directory / WEIGHTS, data)
    write_atomically(directory / "curve.csv", curve_csv(made.curve).encode())
    learned = learned._replace(path=directory / WEIGHTS)
    if made.state == "stopped":
        return learned
    page = start_page.write(directory, made, seen, prepared.family, learned)
    learned = learned._replace(page=page)
    validation = None if made.trajectory is None else made.trajectory.to_json()
    directories.write_json(directory / RECORD, plain(learned.to_json() | {"validation": validation}))
    return learned


def _asked(
    given: dict[str, Any],
    options: dict[str, Any] | None,
    fields: dict[str, Any] | None,
    config: str | Path | dict[str, Any] | None,
) -> Configuration:
    apart = ("options", "plan")
    named = {name: given.get(name) for name in configurations.LIKE if name not in apart}
    file = configurations.checked(config, "configuration") if isinstance(config, dict) else {}
    if config is not None and not isinstance(config, dict):
        file = configurations.read(config)
    return configurations.resolve(named, options or {}, fields or {}, file)


def _claim(asked: Configuration, out: str | Path | None, force: bool) -> Path:
    """Where to write, checked and not yet touched: a directory, or a ``.safetensors`` file."""
    if out is None or Path(out).suffix not in (".safetensors", *FOREIGN):
        return directories.claim(out, asked.name or f"{asked.algorithm}-{asked.learner}", force)
    path = Path(out)
    if path.suffix in FOREIGN:
        raise LimnerError(f"{path} does not end in .safetensors, as the file of a start must; or give a directory")
    if path.exists() and not force:
        raise LimnerError(f"{path} exists already; choose another --out, or add --force to replace it")
    if path.exists():
        from limner.model_file import decode

        decode(path.read_bytes(), str(path))
    return path


def _spent(made: Start) -> str:
    return f"{made.cost.steps:,} outer steps in {made.cost.seconds:.0f} s"


def _first_process() -> bool:
    """Whether this is the process that writes: the only one, or the first that ``torchrun`` started."""
    from limner.meta.execution import Processes

    return Processes().first


@contextmanager
def _opened(location: str | None, needed: bool) -> Iterator[Memory | None]:
    from limner.memory import Memory

    with Memory.open(location) if needed else nullcontext() as remembered:
        yield remembered

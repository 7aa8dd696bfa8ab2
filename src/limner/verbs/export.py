"""A run as an ONNX file, which other programs can run without Limner and without PyTorch."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from limner.errors import LimnerError
from limner.seeds import generator
from limner.verbs.classes import names_of
from limner.verbs.load import load

if TYPE_CHECKING:
    from torch import Tensor

    from limner.engine import Run
    from limner.learners.base import Coded
    from limner.types import Params

TOLERANCE = 1e-4
"""What an exported file may differ from PyTorch, at most."""

CHECKED = (1, 2, 5)
"""The batch sizes that an exported file is checked on; none of them is the one that it was traced with."""

TRACED = 3
ANSWERS = {"logits": "logits", "translate": "translated"}
"""What can be asked of images and exported, with the name of the output."""


class Exported(NamedTuple):
    """The file, its inputs and outputs with their shapes, and how far at most it differs from PyTorch."""

    path: Path
    inputs: dict[str, list[str | int]]
    outputs: dict[str, list[str | int]]
    difference: float
    metadata: dict[str, str]


@dataclass(frozen=True)
class Graph:
    """What is exported: a pure function of parameters and named inputs.

    function  ``(params, *inputs) -> output``
    inputs    for each name a function that draws ``n`` rows of it
    output    its name
    meaning   of the inputs and the output, in a sentence or two
    """

    function: Callable[..., Tensor]
    inputs: dict[str, Callable[[int], Tensor]]
    output: str
    meaning: str


def export(
    model: str,
    *,
    onnx: bool = True,
    out: str | Path | None = None,
    memory: str | None = None,
    force: bool = False,
) -> Exported:
    """Write a run to an ONNX file and check it against PyTorch, in onnxruntime, on batches of several sizes.

    A generator or decoder takes latents, a flow noise, a VQ-VAE's decoder codes, a classifier or translator images;
    batches may be of any size. The file's metadata tells what each input means, which run it came from, and the shape
    and range of its images.

    model  a run directory, a run or model of the memory, or ``hf:NAME``
    out    the file (``None``: ``model.onnx`` in the run's directory, or ``NAME.onnx`` here)

    Raises :class:`LimnerError` where the learner has no export, onnx or onnxruntime is not installed, ``out`` exists,
    or what onnxruntime computes differs by more than 1e-4: then no file is left.
    """
    from limner.model_file import write_atomically

    if not onnx:
        raise LimnerError("an export needs a form; the one that there is: --onnx")
    _refuse_missing()
    run = load(model, memory=memory)
    path = _claim(out, run, model, force)
    graph = graph_of(run)
    data, metadata = _traced(run, graph)
    difference = _checked(run, graph, data)
    write_atomically(path, data)
    return Exported(path, *_signature(data), difference, metadata)


def graph_of(run: Run) -> Graph:
    """What of the run can be exported. Raises :class:`LimnerError` where nothing can."""
    from limner.inside import has_latents
    from limner.learners.base import Coded
    from limner.types import Request

    learner = run.learner
    if isinstance(learner, Coded):
        return _from_codes(run, learner)
    if has_latents(learner):
        return _from_latents(run)
    answer = next((answer for answer in ANSWERS if answer in learner.answers), None)
    if answer is None:
        raise LimnerError(
            f"{run.task_name} was learned by a {learner.kind}, which has no export; there is one for generators and "
            "decoders (latents to images), classifiers and translators"
        )
    shape = _shape_of_inputs(run)

    def function(params: Params, images: Tensor) -> Tensor:
        return learner.predict(params, Request(answer, images=images), generator(0, "export"))  # type: ignore[arg-type]

    return Graph(
        function,
        {"images": lambda count: _uniform(count, *shape)},
        ANSWERS[answer],
        f"images are float32 (n, {_sides(shape)}) with intensities from 0 to 1; "
        + (
            "translated is the same of each"
            if answer == "translate"
            else "logits has a column for each class, in the order of classes"
        ),
    )


def _from_latents(run: Run) -> Graph:
    """Latents to images, with what was fitted to place them."""
    import torch

    from limner.inside.latents import latent_learner, latent_shape
    from limner.learners.latents import LatentMixture, sampler_of

    learner, random = latent_learner(run), generator(0, "export")
    shape, classes = latent_shape(learner), int(learner.options.get("classes", 1))
    name = "latents" if len(shape) == 1 else "noise"
    sampler = sampler_of(run.params)
    components = len(sampler.weights) if isinstance(sampler, LatentMixture) else 1
    inputs: dict[str, Callable[[int], Tensor]] = {name: lambda count: torch.randn(count, *shape, generator=random)}
    meaning = (
        f"{name} {'are' if name == 'latents' else 'is'} float32 (n, {_sides(shape)}), to be drawn from N(0, 1) for "
    )
    meaning += "new images"
    if components > 1:
        inputs["choice"] = lambda count: torch.rand(count, generator=random)
        meaning += "; choice is float32 (n,), to be drawn evenly from 0 to 1: it picks a part of the fitted mixture"
    if classes > 1:
        inputs["labels"] = lambda count: torch.randint(classes, (count,), generator=random)
        meaning += f"; labels are int64 (n,), the class of each image, from 0 to {classes - 1}"

    def function(params: Params, latents: Tensor, *others: Tensor) -> Tensor:
        labels = others[-1] if classes > 1 else None
        fitted, latents = sampler_of(params), latents.flatten(1)
        if isinstance(fitted, LatentMixture):
            placed = _placed(fitted, latents, others[0] if components > 1 else None)
        else:
            placed = fitted.place(latents, torch.Generator())
        return learner.decode(params, placed, labels)

    meaning += f"; images are float32 (n, {_sides(learner.image_shape)}) with intensities from 0 to 1"
    return Graph(function, inputs, "images", meaning)


def _from_codes(run: Run, learner: Coded) -> Graph:
    """Codes to images."""
    import torch

    random, count_of_codes = generator(0, "export"), int(run.learner.options["codes"])
    return Graph(
        learner.decode_codes,
        {"codes": lambda count: torch.randint(count_of_codes, (count, *learner.code_shape), generator=random)},
        "images",
        f"codes are int64 (n, {_sides(learner.code_shape)}), which of the {count_of_codes} codes stands at each place, "
        f"from 0; images are float32 (n, {_sides(run.learner.image_shape)}) with intensities from 0 to 1",
    )


def _sides(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))


def _placed(mixture: Any, noise: Tensor, choice: Tensor | None) -> Tensor:
    """Noise ``(n, d)`` to draws from a mixture, the component of each picked by ``choice (n,)`` in [0, 1)."""
    import torch

    if choice is None:
        return mixture.means[0] + noise @ mixture.factors[0].T  # type: ignore[no-any-return]
    ends = mixture.weights.cumsum(0)[:-1]
    chosen = (choice[:, None] >= ends[None]).sum(1)
    return mixture.means[chosen] + torch.einsum("nij,nj->ni", mixture.factors[chosen], noise)  # type: ignore[no-any-return]


def _shape_of_inputs(run: Run) -> tuple[int, ...]:
    """The shape of an image that the run takes: its own, but with as many channels as its inputs had."""
    channels, *sides = run.learner.image_shape
    return (int(run.learner.options.get("input_channels", channels)), *sides)


def _uniform(count: int, *shape: int) -> Tensor:
    import torch

    return torch.rand(count, *shape, generator=generator(count, "export"))


def _refuse_missing() -> None:
    """Raises :class:`LimnerError` unless all that an export needs is installed."""
    from importlib.util import find_spec

    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]:
        raise LimnerError(
            f"an export to ONNX needs {' and '.join(missing)}; install what it needs with: pip install 'limner[export]'"
        )


def _claim(out: str | Path | None, run: Run, model: str, force: bool) -> Path:
    """The file to write. Raises :class:`LimnerError` where there is something already, unless Limner exported it."""
    if out is not None:
        path = Path(out)
    elif Path(model).is_dir():
        path = Path(model) / "model.onnx"
    else:
        path = Path(f"{Path(model.replace(':', '-')).name}.onnx")
    if path.suffix != ".onnx":
        raise LimnerError(f"{path} does not end in .onnx, by which other programs know such a file; name it so")
    if path.exists():
        if not force:
            raise LimnerError(f"{path} exists already; choose another --out, or add --force to replace it")
        if not _wrote(path):
            raise LimnerError(f"{path} was not written by Limner, so --force does not replace it; choose another --out")
    return path


def _wrote(path: Path) -> bool:
    """Whether Limner exported the file."""
    import onnx

    try:
        told = onnx.load(str(path), load_external_data=False)
    except Exception:  # what is no ONNX file fails in many ways, and was in no case written by Limner
        return False
    return str(told.producer_name) == "limner"


def _traced(run: Run, graph: Graph) -> tuple[bytes, dict[str, str]]:
    """The ONNX file's bytes and its metadata."""
    import onnx
    import torch

    names = list(run.params)

    class Module(torch.nn.Module):
        """The function with the run's parameters."""

        def __init__(self) -> None:
            super().__init__()
            self.held = torch.nn.ParameterList([torch.nn.Parameter(run.params[name], False) for name in names])

        def forward(self, *inputs: Tensor) -> Tensor:
            return graph.function(dict(zip(names, self.held, strict=True)), *inputs)

    inputs = tuple(draw(TRACED) for draw in graph.inputs.values())
    try:
        with _quiet():
            proto = _proto(Module().eval(), graph, inputs)
    except (torch.onnx.OnnxExporterError, torch.onnx.errors.OnnxExporterError) as problem:
        raise LimnerError(
            f"the network of {run.task_name} holds something that ONNX cannot express: "
            f"{str(problem.__cause__ or problem).strip().splitlines()[0][:200]}; there is no export of it"
        ) from problem
    with torch.no_grad():
        sides = graph.function(run.params, *inputs).shape[1:]
    for place, side in enumerate(sides, 1):
        proto.graph.output[0].type.tensor_type.shape.dim[place].dim_value = side
    metadata = _metadata(run, graph)
    proto.producer_name, proto.producer_version = "limner", version("limner")
    proto.doc_string = metadata["meaning"]
    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto)
    return proto.SerializeToString(), metadata


def _proto(module: Any, graph: Graph, inputs: tuple[Tensor, ...]) -> Any:
    """The module as an ONNX model whose first dimensions are free."""
    import torch

    rows = torch.export.Dim("n", min=1, max=64)
    program = torch.onnx.export(
        module,
        inputs,
        input_names=list(graph.inputs),
        output_names=[graph.output],
        dynamo=True,
        verbose=False,
        dynamic_shapes=(tuple({0: rows} for _ in inputs),),
    )
    if program is None:
        raise RuntimeError("torch.onnx.export gave nothing back")
    proto = program.model_proto
    for nodes in (proto.graph.node, *(function.node for function in proto.functions)):
        for node in nodes:
            del node.metadata_props[:]  # the exporter's notes, among them where on this machine the code lies
    return proto


def _metadata(run: Run, graph: Graph) -> dict[str, str]:
    """What the file tells of itself: words only, and no paths of this machine."""
    import hashlib

    from limner.learners import describe
    from limner.model_file import encode

    description = describe(run.learner)
    told = {
        "limner": version("limner"),
        "run": str(run.lineage.get("run", run.id)),
        "sha256": hashlib.sha256(
            encode(run.params, description, "model", about={"run": run.id, "task": run.task_name})
        ).hexdigest(),
        "learner": json.dumps(description, sort_keys=True),
        "task": run.task_name,
        "image_shape": json.dumps(list(run.learner.image_shape)),
        "value_range": "[0, 1]",
        "meaning": graph.meaning,
    }
    names = list(names_of(run) or (run.task.get("support") or {}).get("classes", ()))
    return told | ({"classes": json.dumps(names, ensure_ascii=False)} if names else {})


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of its inner workings, which help nobody here."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _checked(run: Run, graph: Graph, data: bytes) -> float:
    """How far at most onnxruntime differs from PyTorch. Raises :class:`LimnerError` where that is too far."""
    import numpy
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = max(1, (os.cpu_count() or 2) // 2), 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for count in CHECKED:
        inputs = {name: draw(count) for name, draw in graph.inputs.items()}
        with torch.no_grad():
            right = graph.function(run.params, *inputs.values()).numpy()
        (made,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        if made.shape != right.shape:
            raise LimnerError(
                f"the export gives {made.shape} for {count} inputs where PyTorch gives {right.shape}; no file is left"
            )
        difference = float(numpy.abs(made - right).max())
        worst = max(worst, difference if difference == difference else float("inf"))
    if worst > TOLERANCE:
        raise LimnerError(
            f"the export differs from PyTorch by {worst:.2g}, more than {TOLERANCE:g}, so no file is left; "
            "the network holds something that onnxruntime computes otherwise"
        )
    return worst


def _signature(data: bytes) -> tuple[dict[str, list[str | int]], dict[str, list[str | int]]]:
    """The shapes of the file's inputs and outputs, by name."""
    import onnx

    graph = onnx.load_from_string(data).graph

    def shapes(values: Any) -> dict[str, list[str | int]]:
        return {
            value.name: [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
            for value in values
        }

    return shapes(graph.input), shapes(graph.output)

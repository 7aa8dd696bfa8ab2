"""The model card: a README.md beside the model, in the form that the Hugging Face Hub reads."""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.model_file import write_atomically
from limner.reports import words
from limner.types import Scores

if TYPE_CHECKING:
    from limner.engine import Run

HERE = "path/to/this/folder"

PIPELINES = {
    "sample": "unconditional-image-generation",
    "logits": "image-classification",
    "translate": "image-to-image",
    "restore": "image-to-image",
}
"""What the Hub calls a learner's main task, by the first of these that it answers."""


def write(directory: str | Path, run: Run, scores: Scores | None, licence: str = "unknown", place: str = HERE) -> Path:
    """Write ``README.md`` into the run's directory; its path.

    licence  of the weights, as the Hub names it (``mit``, ``cc0-1.0``…); it is the user's to choose, and depends on the
             images learned from, whose own licence the card tells
    place    what loads the run: its directory, or ``hf:NAME/NAME``
    """
    path = Path(directory) / "README.md"
    write_atomically(path, text(run, scores, licence, place).encode())
    return path


def text(run: Run, scores: Scores | None, licence: str = "unknown", place: str = HERE) -> str:
    """The card's Markdown, with its YAML front matter."""
    kind = run.learner.kind
    generates = "sample" in run.learner.answers
    pipeline = next((PIPELINES[answer] for answer in PIPELINES if answer in run.learner.answers), None)
    front = {
        "license": licence,
        "library_name": "limner",
        **({} if pipeline is None else {"pipeline_tag": pipeline}),
        "tags": ["limner", kind, "few-shot", "image-generation" if generates else pipeline or kind],
        **_measured(run, scores, pipeline or kind),
    }
    learned = run.task.get("support") or {}
    parts = [
        "---\n" + "\n".join(f"{name}: {_quoted(value)}" for name, value in front.items()) + "\n---",
        f"# {_plain(words.title(run.task_name))}",
        f"{_sentence(words.learner_in_words(run.learner))} that learned from {_counted(learned)} with Limner, "
        f"{_plain(words.start_in_words(run.strategy, run.lineage))}.",
        "## How to use it",
        _usage(run, place),
        "## What it learned from",
        _data(run, learned),
        "## How it learned",
        f"{_plain(words.strategy_in_words(run.strategy))} It took {words.cost_in_words(run.cost)}; seed {run.seed}.",
        "## How good it is",
        _scores(scores),
        "## Limits",
        _limits(run, scores, generates),
    ]
    return "\n\n".join(parts) + "\n"


def _measured(run: Run, scores: Scores | None, pipeline: str) -> dict[str, Any]:
    """The scores as the Hub reads them: the names of the ``metrics``, and their values in a ``model-index``."""
    finite = {} if scores is None else {name: score for name, score in scores.plain().items() if isfinite(score)}
    if scores is None or not finite:
        return {}
    name = words.without_folders(run.task_name)
    data = words.without_folders(run.source) or name
    result = {
        "task": {"type": pipeline},
        "dataset": {"type": data, "name": name, "split": "held back"},
        "metrics": [
            {"type": name, "name": f"{words.label(name)} ({scores.extractor})", "value": value}
            for name, value in finite.items()
        ],
    }
    return {"metrics": list(finite), "model-index": [{"name": name, "results": [result]}]}


def _usage(run: Run, place: str) -> str:
    channels, side, _ = run.learner.image_shape
    load = f'run = limner.load("{place}")\n'
    weights = (
        "The weights are `model.safetensors`; `run.json` tells how they came to be. Nothing in them can be executed."
    )
    command = ""
    if "sample" in run.learner.answers:
        code = f"import limner\n\n{load}images = run.sample(16)    # uint8 tensor, (16, channels, height, width)"
        command = f"limner sample {place} --count 64 --out samples"
    elif "restore" in run.learner.answers:
        code = (
            f"import torch\n\nimport limner\nfrom limner.types import Request\n\n{load}"
            f"images = torch.rand(1, {channels}, 100, 80)    # damaged, of any size, in [0, 1]\n"
            'mended = run.learner.predict(run.params, Request("restore", images=images), torch.Generator())'
        )
        command = f"limner restore {place} folder:my-images --out restored"
    elif "translate" in run.learner.answers:
        code = f'import limner\n\nlimner.translate("{place}", "folder:my-images", out="translated")'
        command = f"limner translate {place} folder:my-images --out translated"
    else:
        code = (
            f"import torch\n\nimport limner\nfrom limner.types import Request\n\n{load}"
            f'images = limner.data("folder:my-images,size={side},colour={"grey" if channels == 1 else "rgb"}")\n'
            'request = Request("logits", images=images.floats())\n'
            "places = run.learner.predict(run.params, request, torch.Generator()).argmax(1)\n"
            'print([run.task["support"]["classes"][place] for place in places])'
        )
    shown = f"\n\n```console\n{command}\n```" if command else ""
    return f"```python\n{code}\n```{shown}\n\n{weights}"


def _data(run: Run, learned: dict[str, Any]) -> str:
    rows = [("data", f"`{words.without_folders(run.source).replace('`', '')}`" if run.source else "not told")]
    if "count" in learned:
        rows.append(("images", f"{learned['count']:,}"))
    rows += [(name, str(learned[name])) for name in ("sha256", "licence") if name in learned]
    if "classes" in learned:
        rows.append(("classes", ", ".join(learned["classes"])))
    return "\n".join(f"- {name}: {_plain(value) if name != 'data' else value}" for name, value in rows)


def _scores(scores: Scores | None) -> str:
    if scores is None:
        return "It was not scored: no image was held back to judge it on."
    lines = ["| score | value | 95% interval | real images | better |", "| :--- | ---: | ---: | ---: | :--- |"]
    for name, score in scores.values.items():
        value, interval, floor = words.shown(score)
        better = words.ARROWS.get(words.MEANINGS.get(name, ("", ""))[0], "")
        lines.append(f"| {words.label(name)} | {value} | {interval or '–'} | {floor or '–'} | {better} |")
    against = (
        f"{scores.samples} samples against {scores.query} real images that were held back, after learning from "
        f"{scores.support}; distances in the features of `{scores.extractor}`. “Real images” is what real images score "
        f"against other real ones."
        if scores.samples
        else f"On {scores.query} images that were held back."
    )
    return "\n".join(lines) + "\n\n" + against


def _limits(run: Run, scores: Scores | None, generates: bool) -> str:
    lines = []
    if run.state == "collapsed":
        lines.append(f"**{words.COLLAPSED}**")
    elif run.state != "finished":
        lines.append(f"**This run is {run.state}, not finished.**")
    if scores is not None and words.copies(scores.values.get("nearest_training_ratio")):
        lines.append(
            "**Samples may be near-copies of the images learned from**: they lie closer to them than other real images "
            "do. Mind the rights in those images."
        )
    if generates:
        lines.append("It knows only what it learned from: its images vary as those did, and share their one-sidedness.")
    lines.append("Scores on few images are coarse; the interval does not tell how far another seed would move them.")
    lines += [*run.notes, *(scores.notes if scores is not None else ())]
    return "\n".join(f"- {_plain(line) if not line.startswith('**') else line}" for line in lines)


def _quoted(value: Any) -> str:
    """A value as JSON, which YAML reads too, on one line and without what HTML would take as its own."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")


def _counted(learned: dict[str, Any]) -> str:
    count = learned.get("count")
    return "images" if count is None else "1 image" if count == 1 else f"{count:,} images"


def _sentence(words_: str) -> str:
    return words_[:1].upper() + words_[1:]


def _plain(told: str) -> str:
    """Text from outside on one line, with what Markdown or HTML would take as its own made harmless."""
    line = " ".join(told.split())
    for sign in "\\<>[]|*#":
        line = line.replace(sign, {"<": "&lt;", ">": "&gt;"}.get(sign, "\\" + sign))
    return line

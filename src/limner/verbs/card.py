"""The card of any model that the memory keeps, also where its run's directory is long gone."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from limner.errors import LimnerError

if TYPE_CHECKING:
    from limner.model_file import StoredModel


def card(reference: str, *, memory: str | None = None, licence: str = "unknown") -> str:
    """The model card, as Markdown, of the run or model that ``reference`` names; see :func:`limner.load`.

    memory   where the memory lies (``None``: in the user's data folder)
    licence  of the weights, as the Hugging Face Hub names it

    Raises :class:`LimnerError` where there is no such thing.
    """
    from limner.memory import Memory
    from limner.reports.card import text
    from limner.verbs.load import load

    if not reference.startswith(("hf:", "shipped:")) and not Path(reference).is_dir():
        with Memory.open(memory) as remembered, suppress(LimnerError):  # what nothing is called is told by load
            model = remembered.get_model(reference)
            if model.metadata.get("role") == "start" and "configuration" in model.metadata:
                return _of_start(model)
    run = load(reference, memory=memory)
    return text(run, run.scores, licence, place=reference)


def _of_start(model: StoredModel) -> str:
    """The card of a start that was meta-learned here."""
    from limner.learners import rebuild
    from limner.meta import MetaPlan
    from limner.meta.judge import Kept
    from limner.reports import start_page
    from limner.verbs.meta_train import Learned

    about = model.metadata
    test, asked = about.get("test") or {}, about["configuration"]
    seen = Kept.from_json(test) if test else None
    learned = Learned(
        model.sha256, about.get("name") or "", None, asked["shots"], [], about["plan"], about["family"], {}, asked,
        test=test,
    )  # fmt: skip
    return start_page.card(MetaPlan.from_json(about["plan"]), rebuild(model.learner_description), seen, learned)

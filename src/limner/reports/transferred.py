"""The page of a transfer: the table, the scores drawn, what was carried over, and the images of both sides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from limner.reports import words

if TYPE_CHECKING:
    from limner.tasks import ImageSet, Task
    from limner.verbs.transfer import Transferred
    from limner.verbs.transfer_classify import Target

SHOWN = 48
"""Images of each side, at most."""


def write(made: Transferred, source: ImageSet | None, draw: Target | Task) -> Path:
    """Write the page of a transfer; its path.

    source  the images of the source, where they are at hand; ``draw``: the target's images of the first repeat
    """
    from limner.model_file import write_atomically
    from limner.reports.figures import score_plot
    from limner.reports.page import environment, gallery, versions
    from limner.verbs.transfer import cells

    record, share = made.record, made.record["metric"] == "accuracy"
    name = "Accuracy on images held back" if share else words.label(record["metric"])
    plot = score_plot({row.label: row.score for row in made.rows}, name)
    page = (
        environment()
        .get_template("transferred.html")
        .render(
            title=f"{words.title(record['source'])} to {words.title(record['target'])}",
            made=made,
            record=record,
            metric=words.label(record["metric"]),
            cells=list(zip(cells(made), made.rows, strict=True)),
            plot=plot.svg(),
            source=None
            if source is None
            else gallery(source.images[:: max(1, len(source) // SHOWN)], "source images", SHOWN),
            target=gallery(draw.support.images, "target images learned from", SHOWN),
            judged=0 if draw.query is None else len(draw.query),
            versions=versions(),
        )
    )
    write_atomically(made.page, page.encode())
    return made.page

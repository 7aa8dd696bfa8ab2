"""Thumbnails: what is kept of a task's images, that it goes with the task, and leaves only where it is asked to."""

from pathlib import Path

import pytest
import torch
from made_up import VAE, a_run, a_task, bars, some_scores
from sqlalchemy import func, select

from limner.config import Strategy
from limner.memory import Fingerprint, Memory, fingerprint
from limner.memory.schema import ThumbnailRow
from limner.memory.tables import table_fingerprint
from limner.memory.thumbnails import MOST, SIDE, pictures, thumbnails
from limner.tasks import Task
from limner.tasks.tables import load_table, split_table

HERE = Fingerprint({"intensity": {"mean": 0.5}})


def kept(memory: Memory) -> int:
    with memory.database.reading() as session:
        return session.scalar(select(func.count()).select_from(ThumbnailRow)) or 0


@pytest.mark.parametrize("channels", [1, 3])
def test_thumbnails_are_means_over_areas_of_the_first_images(channels):
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (MOST + 3, channels, 2 * SIDE, 3 * SIDE), dtype=torch.uint8, generator=random)
    means = images[:MOST].float().unfold(2, 2, 2).unfold(3, 3, 3).mean((-1, -2)).round()
    assert torch.equal(pictures(thumbnails(images)).float(), means)


@pytest.mark.parametrize("nothing", [None, torch.zeros(3, 4), torch.zeros(3, 2, 8, 8, dtype=torch.uint8)])
def test_what_is_no_picture_has_no_thumbnails(nothing):
    assert thumbnails(nothing) == ""


def test_a_task_is_kept_with_thumbnails_where_it_is_described_and_has_images(tmp_path: Path):
    with Memory.open(tmp_path) as memory:
        memory.add_task(a_task(1))
        assert kept(memory) == 0
        for _ in range(2):
            memory.add_task(a_task(1), HERE)
        assert kept(memory) == 1
        table = load_table("sklearn:iris")
        task = split_table(table, "classify", None, 0, "sklearn:iris")
        memory.add_task(task, table_fingerprint(task.support))
        assert kept(memory) == 1
        one = bars()
        memory.add_task(Task("classify", "bars", one, None), fingerprint(Task("classify", "bars", one, None), None))
        with memory.database.reading() as session:
            strips = list(session.scalars(select(ThumbnailRow.strip)))
        assert any(torch.equal(pictures(strip), one.images[:MOST]) for strip in strips)  # 16 × 16 pixels as they are


@pytest.mark.parametrize("reference", ["task", "dots"])
def test_what_is_forgotten_leaves_no_picture_behind(tmp_path: Path, reference: str):
    with Memory.open(tmp_path) as memory:
        task = memory.add_task(a_task(1), HERE)
        run = memory.begin_run(task, VAE, Strategy(), 0)
        memory.finish_run(run, a_run(), some_scores())
        assert kept(memory) == 1
        assert memory.forget(task if reference == "task" else reference)["remains"] == []
        assert kept(memory) == 0


def test_pictures_are_given_to_others_only_where_they_are_asked_for(tmp_path: Path):
    with Memory.open(tmp_path / "mine") as memory:
        task = memory.add_task(a_task(1), HERE)
        assert "thumbnails" not in memory.export(tmp_path / "without.zip")
        assert memory.export(tmp_path / "with.zip", task, thumbnails=True)["thumbnails"] == 1
    with Memory.open(tmp_path / "yours") as memory:
        assert "thumbnails" not in memory.import_(tmp_path / "without.zip")
        assert memory.import_(tmp_path / "with.zip") == {"thumbnails": 1}
        assert kept(memory) == 1

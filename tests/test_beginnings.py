"""Of several starts that fit a task, the one that does best on it before any step comes first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import discs

from limner.config import Strategy
from limner.engine import fit
from limner.learners import create, describe
from limner.memory import Adviser, Memory
from limner.memory.beginnings import beginnings, first_loss
from limner.memory.shipped import load_shipped
from limner.tasks import ImageSet, Pairs
from limner.tasks.task import Task

LEARNER = create("set-vae", (1, 16, 16), latents=4, width=4, code=8)


@pytest.fixture
def memory(tmp_path: Path) -> Any:
    with Memory.open(tmp_path / "memory") as opened:
        yield opened


def task_of(images: ImageSet) -> Task:
    return Task("generate", images.name, images, discs(1000), 0, images.name)


def put(memory: Memory, steps: int, images: ImageSet, name: str, learner: Any = LEARNER) -> str:
    """A start that has learned from images for so many steps."""
    strategy = Strategy(learning_rate=4e-3, batch=0, steps=max(steps, 1))
    params = fit(learner, task_of(images), strategy, seed=0).params if steps else learner.init(0)
    return memory.put_model(params, describe(learner), role="start", name=name)


def negative(images: ImageSet) -> ImageSet:
    return ImageSet(255 - images.images, "bright")


def test_a_start_that_learned_comes_before_a_newer_one_that_did_not(memory: Memory) -> None:
    learned = put(memory, 60, discs(1), "learned")
    put(memory, 60, negative(discs(1)), "of others")
    put(memory, 0, discs(1), "toy")
    found = Adviser(memory).recommend(task_of(discs(2)), extractor=None, learner="set-vae")
    assert found[0].strategy.start == learned
    assert "and of 3 starts tried it does best on these before any step" in found[0].reason
    assert {item.strategy.start for item in found if "does best on these" in item.reason} == {learned}
    of_others = beginnings(memory, task_of(negative(discs(2))), "set-vae")
    assert [each.about["name"] for each in of_others] == ["of others", "toy", "learned"]


def test_where_losses_are_not_alike_the_newest_comes_first(memory: Memory) -> None:
    put(memory, 60, discs(1), "learned")
    other = create("set-vae", (1, 16, 16), latents=4, width=4, code=8, beta=0.5)
    put(memory, 0, discs(1), "toy", other)
    found = beginnings(memory, task_of(discs(2)), "set-vae")
    assert [(each.about["name"], each.best) for each in found] == [("toy", ""), ("learned", "")]


def test_games_have_no_loss_that_tells() -> None:
    assert first_loss(load_shipped("shipped:glyphs-gan"), task_of(discs(2))) is None


def test_a_damaged_start_is_passed_over_for_one_that_can_be_read(memory: Memory, tmp_path: Path) -> None:
    learned = put(memory, 30, discs(1), "learned")
    damaged = put(memory, 60, discs(1), "damaged")
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file() and damaged in str(path))
    file.write_bytes(file.read_bytes()[:-8])
    (left,) = beginnings(memory, task_of(discs(2)), "set-vae")
    assert left.reference == learned
    assert left.best.endswith(", 1 could not be read (limner memory verify tells why)")


def test_an_own_restorer_that_knows_nothing_comes_after_the_shipped_one(memory: Memory) -> None:
    clean = discs(3).images.float() / 255
    random = torch.Generator().manual_seed(0)
    noisy = (clean + 0.1 * torch.randn(clean.shape, generator=random)).clamp(0, 1)
    pairs = Pairs(ImageSet((255 * noisy).byte(), "noisy"), ImageSet((255 * clean).byte(), "clean"))
    learner = create("restorer", (1, 16, 16), network="unet", width=4, depth=5)
    memory.put_model(learner.init(0), describe(learner), role="start", name="toy")
    found = beginnings(memory, Task("restore", "pairs", pairs, None), "restorer")
    assert [each.about["name"] for each in found] == ["restorer", "toy"]
    assert found[0].best.startswith("of 2 starts tried")

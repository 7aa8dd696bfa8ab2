"""A GAN with the default strategy neither fails nor collapses on real images, grey and colour, many and few."""

import os
from pathlib import Path

import pytest
import torch

from limner.config import Strategy
from limner.engine import fit
from limner.engine import guard as guards
from limner.learners import create
from limner.tasks import load, split

FOLDER = Path(os.environ.get("LIMNER_DATA", "nowhere"))
SETS = (
    "npz:{}/mnist12k.npz,images=train_x",
    "npz:{}/fashion12k.npz,images=train_x",
    "npz:{}/omniglot_background28.npz,images=x",
    "npz:{}/coil20_32.npz,images=x",
    "zip:{}/cifar10_6k_jpg.zip,size=32",
    "zip:{}/clothing2k_64_cc0.zip,size=32",
    "zip:{}/crawl_tiles32.zip,size=32",
)


@pytest.mark.skipif(not FOLDER.is_dir(), reason="LIMNER_DATA names no folder of benchmark data")
@pytest.mark.parametrize("spec", SETS, ids=lambda spec: spec.partition("/")[2].partition(".")[0])
def test_a_default_game_is_sound_on_real_images(spec, monkeypatch):
    monkeypatch.setattr(guards, "EVERY", 10)
    task = split(load(spec.format(FOLDER)), shots=200, seed=0)
    learner = create("gan", task.support.shape, width=4)
    run = fit(learner, task, Strategy(steps=30, batch=8))
    assert (run.state, run.notes) == ("finished", [])
    spread = guards.spread(run.sample(32).float() / 255, task.support.select(torch.arange(64)).floats())
    begun = guards.spread(
        fit(learner, task, Strategy(steps=1, batch=8, learning_rate=1e-9)).sample(32).float() / 255,
        task.support.select(torch.arange(64)).floats(),
    )
    assert spread.distance < begun.distance + 0.05  # so few steps of so small a network may gain little, but not lose

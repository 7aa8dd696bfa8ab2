"""Trains the starts that ship with the package, on what it draws itself alone: ``python tools/train_starts.py``.

Writes ``src/limner/data/NAME.safetensors``: ``glyphs-gan``, ``glyphs-vae``, ``glyphs-set`` (a VAE that reads a set,
for 0.7 of the time) and ``sprites-set`` (another in colour, for 0.6), meta-learned over the train classes, and
``glyphs-gan-pooled``, the same GAN pre-trained on all train classes together for the same time (what the demo compares
with). Nothing is trained on a family's test classes. About three quarters of an hour on one core; ``--seconds`` makes
it shorter.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from limner.config import Strategy
from limner.engine import ProgressBar, fit
from limner.learners import Learner, create, describe
from limner.meta import MetaPlan, learn
from limner.model_file import encode, write_atomically
from limner.tasks import Family, Task, load
from limner.types import Params

DATA = Path(__file__).resolve().parent.parent / "src" / "limner" / "data"
GLYPHS, SPRITES = "glyphs,size=32,characters=1500", "sprites,size=32,kinds=1200"
SEED = 0

VAE = {"latents": 24, "width": 32, "prior": "class"}
SET = {"latents": 32, "width": 32}
GAN = {"latents": 32, "width": 32}
JOINT = MetaPlan(algorithm="fomaml", tasks=1, inner_steps=0, rate=1e-3)
SETS = MetaPlan(algorithm="fomaml", tasks=1, inner_steps=0, rate=2e-3, inner_betas=(0.5, 0.9))
COLOUR_SETS = replace(SETS, rate=1e-3, inner_rate=4e-3, inner_betas=(0.7, 0.9))
"""Nothing is adapted while they learn; ``inner_rate`` and ``inner_betas`` are how they are adapted afterwards."""
FOMAML = MetaPlan(algorithm="fomaml", tasks=2, inner_steps=4, inner_rate=1e-3, rate=5e-4)
REPTILE = MetaPlan(algorithm="reptile", tasks=1, inner_steps=15, inner_rate=4e-3, inner_batch=10, rate=5e-4)
POOLED = Strategy(learning_rate=1e-3, betas=(0.0, 0.99), schedule="cosine", batch=32, steps=10**9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="for each")
    parser.add_argument("--only", choices=["gan", "vae", "set", "colour"], help="train only this learner's")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    glyphs, sprites = (partial(family_of, spec) for spec in (GLYPHS, SPRITES))
    trainers = {
        "gan": (train_gan, glyphs), "vae": (train_vae, glyphs), "set": (train_set, glyphs),
        "colour": (train_colour, sprites),
    }  # fmt: skip
    for name in [asked.only] if asked.only else trainers:
        train, family = trainers[name]
        train(family(), asked.seconds)


def family_of(spec: str) -> Family:
    return Family(load(spec), shots=10, queries=10, seed=SEED)


def train_gan(family: Family, seconds: float) -> None:
    learner = create("gan", family.images.shape, **GAN)
    begun = pooled(learner, family, 0.4 * seconds)
    met = learn(
        learner, family, timed(REPTILE, 0.6 * seconds), seed=SEED, start=begun, listeners=[ProgressBar("reptile")]
    )
    write("glyphs-gan", learner, met.params, "start", family, met.plan)
    write("glyphs-gan-pooled", learner, pooled(learner, family, seconds), "model", family)


def train_vae(family: Family, seconds: float) -> None:
    learner = create("vae", family.images.shape, **VAE)
    joint = learn(learner, family, timed(JOINT, 0.6 * seconds), seed=SEED, listeners=[ProgressBar("joint")])
    plan = timed(FOMAML, 0.4 * seconds)
    met = learn(learner, family, plan, seed=SEED, start=joint.params, listeners=[ProgressBar("fomaml")])
    write("glyphs-vae", learner, met.params, "start", family, met.plan)


def train_set(family: Family, seconds: float) -> None:
    reading("glyphs-set", create("set-vae", family.images.shape, **SET), family, timed(SETS, 0.7 * seconds))


def train_colour(family: Family, seconds: float) -> None:
    reading("sprites-set", create("set-vae", family.images.shape, **SET), family, timed(COLOUR_SETS, 0.6 * seconds))


def reading(name: str, learner: Learner, family: Family, plan: MetaPlan) -> None:
    """A learner that reads sets, learned by the plan."""
    met = learn(learner, family, plan, seed=SEED, listeners=[ProgressBar(name)])
    write(name, learner, met.params, "start", family, met.plan)


def pooled(learner: Learner, family: Family, seconds: float) -> Params:
    """The learner trained on all train classes together."""
    task = Task("generate", "all train classes together", family.pool("train"), None)
    return fit(learner, task, POOLED.replace(seconds=seconds), seed=SEED, listeners=[ProgressBar("pooled")]).params


def timed(plan: MetaPlan, seconds: float) -> MetaPlan:
    return replace(plan, seconds=seconds, steps=10**9)


def write(name: str, learner: Learner, params: Params, role: str, family: Family, plan: MetaPlan | None = None) -> None:
    """One shipped file, in half precision; its header tells the family, and so which classes it never saw."""
    about = {"family": family.to_json(), "licence": "Apache-2.0"} | ({"plan": plan.to_json()} if plan else {})
    half = {key: value.half() for key, value in params.items()}
    data = encode(half, describe(learner), role, about=about)
    write_atomically(DATA / f"{name}.safetensors", data)
    print(f"{name}: {len(data):,} bytes")


if __name__ == "__main__":
    main()

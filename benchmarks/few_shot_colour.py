"""Few-shot generation in colour: Dungeon Crawl tiles, 32 pixels, folders that meta-learning never saw, 5 tiles each."""

from __future__ import annotations

import time

import few_shot
import harness

from limner.config import Strategy
from limner.meta import MetaPlan

SPEC = "zip:{data}/crawl_tiles32.zip,size=32,colour=rgb"

VAE = few_shot.Recipe(
    kind="vae",
    meta_options={"latents": 32, "width": 32, "prior": "class"},
    begin=MetaPlan(algorithm="fomaml", tasks=1, inner_steps=0, rate=1e-3, augmentation=("flip",)),
    begin_share=0.6,
    plan=MetaPlan(algorithm="fomaml", tasks=2, inner_steps=4, inner_rate=1e-3, rate=5e-4),
    pooled_options={"latents": 32, "width": 32},
    pooled=Strategy(learning_rate=1e-3, schedule="cosine", batch=32, augmentation=("flip",)),
    adaptation=Strategy(betas=(0.0, 0.99), steps=200, batch=0, schedule="cosine"),
)
GAN = few_shot.Recipe(
    kind="gan",
    meta_options={"latents": 32, "width": 32},
    begin_share=0.4,
    plan=MetaPlan(algorithm="reptile", tasks=1, inner_steps=15, inner_rate=4e-3, inner_batch=5, rate=5e-4),
    pooled_options={"latents": 32, "width": 32},
    pooled=Strategy(learning_rate=1e-3, betas=(0.0, 0.99), schedule="cosine", batch=32, augmentation=("flip",)),
    adaptation=Strategy(betas=(0.0, 0.99), steps=50, batch=0, ema=0.9),
)


def main() -> None:
    started = time.perf_counter()
    spec = harness.spec(SPEC)
    setting = few_shot.Setting(spec, shots=5, queries=15, seed=0, extractor="efficientnet-lite0")
    scale = few_shot.Scale(20, 4, 2) if harness.quick() else few_shot.Scale(150, 13, 3)
    few_shot.report("few-shot-colour", [VAE, GAN], setting, scale, started)


if __name__ == "__main__":
    harness.run(main)

"""Few-shot generation on Omniglot: 32 characters of alphabets that meta-learning never saw, 5 drawings each."""

from __future__ import annotations

import time

import few_shot
import harness

from limner.config import Strategy
from limner.meta import MetaPlan

SPEC = "npz:{data}/omniglot_background28.npz,images=x,labels=char,groups=alphabet"

VAE = few_shot.Recipe(
    kind="vae",
    meta_options={"latents": 24, "width": 32, "prior": "class"},
    plan=MetaPlan(algorithm="fomaml", tasks=1, inner_steps=0, rate=4e-3, turns=True),
    pooled_options={"latents": 24, "width": 32},
    pooled=Strategy(learning_rate=2e-3, schedule="cosine", batch=32),
    adaptation=Strategy(betas=(0.0, 0.99), steps=200, batch=0, schedule="cosine"),
)
GAN = few_shot.Recipe(
    kind="gan",
    meta_options={"latents": 32, "width": 32},
    plan=MetaPlan(algorithm="reptile", tasks=1, inner_steps=15, inner_rate=4e-3, inner_batch=5, rate=5e-4, turns=True),
    pooled_options={"latents": 32, "width": 32},
    pooled=Strategy(learning_rate=1e-3, betas=(0.0, 0.99), schedule="cosine", batch=32),
    adaptation=Strategy(betas=(0.0, 0.99), steps=50, batch=0, ema=0.9),
    begin_share=0.4,
    share=1.5,
)


def main() -> None:
    started = time.perf_counter()
    spec = harness.spec(SPEC)
    setting = few_shot.Setting(spec, shots=5, queries=15, seed=0, extractor="glyph-net")
    scale = few_shot.Scale(20, 4, 2) if harness.quick() else few_shot.Scale(240, 32, 6)
    few_shot.report("few-shot-omniglot", [VAE, GAN], setting, scale, started)


if __name__ == "__main__":
    harness.run(main)

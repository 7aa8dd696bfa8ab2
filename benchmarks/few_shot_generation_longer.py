"""Few-shot generation from longer beginnings: the set VAE and the best plain fine-tuning, 24 minutes each."""

from __future__ import annotations

from dataclasses import replace

import few_shot_generation as generation
import harness

from limner.memory.portfolio import READING

SET_VAE = replace(generation.SET_VAE, plan=replace(generation.NO_STEPS, rate=1e-3))
LITTLE, MOMENTUM = generation.ADAPT.replace(betas=(0.5, 0.9)), generation.ADAPT.replace(betas=(0.7, 0.9))
KEPT = MOMENTUM.replace(frozen=READING)

WAYS_TO_GO = (
    generation.Way("set VAE, all of it refined", SET_VAE, LITTLE),
    generation.Way("set VAE, its encoder kept", SET_VAE, KEPT, generation.LEARNED, rates=(2e-3, 4e-3, 6e-3)),
    generation.Way("fine-tuned, flow matching", generation.FLOW_POOLED, generation.ADAPT),
    generation.Way("fine-tuned, flow matching, momentum", generation.FLOW_POOLED, MOMENTUM, generation.LEARNED),
)


def main() -> None:
    generation.measure("few-shot-generation-longer", WAYS_TO_GO, harness.minutes(24))


if __name__ == "__main__":
    harness.run(main)

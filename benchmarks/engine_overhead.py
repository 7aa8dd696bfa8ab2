"""What the engine costs over a bare PyTorch loop with the same networks, losses, data and optimiser."""

from __future__ import annotations

import time

import harness
import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.config import Strategy
from limner.engine import fit
from limner.learners import create
from limner.networks import Decoder, Encoder
from limner.tasks import ImageSet, Task, load

SHAPE, BATCH, RATE, BETAS = (1, 28, 28), 32, 1e-3, (0.9, 0.999)
SPEC = "npz:{data}/mnist12k.npz,images=train_x,labels=train_y"


class BareVAE:
    """The VAE as one would write it by hand: modules, torch.optim.Adam, no engine."""

    kind = "vae"

    def __init__(self) -> None:
        self.encoder, self.decoder = Encoder(SHAPE, 32, 32), Decoder(SHAPE, 16, 32)
        self.optimiser = torch.optim.Adam([*self.encoder.parameters(), *self.decoder.parameters()], RATE, BETAS)

    def step(self, images: Tensor) -> None:
        mean, log_variance = self.encoder(2 * images - 1).chunk(2, 1)
        log_variance = log_variance.clamp(-10, 10)
        maps = self.decoder(mean + (0.5 * log_variance).exp() * torch.randn_like(mean))
        reconstruction = functional.binary_cross_entropy_with_logits(maps, images, reduction="sum") / len(images)
        kl = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1).mean()
        self.optimiser.zero_grad()
        (reconstruction + kl).backward()
        self.optimiser.step()


class BareGAN:
    """The relativistic GAN with R1 and R2 by hand: ``autograd.grad`` with ``create_graph`` for the penalties."""

    kind = "gan"

    def __init__(self) -> None:
        self.generator, self.critic = Decoder(SHAPE, 32, 32), Encoder(SHAPE, 1, 32, normalised=False)
        self.for_generator = torch.optim.Adam(self.generator.parameters(), RATE, BETAS)
        self.for_critic = torch.optim.Adam(self.critic.parameters(), RATE, BETAS)

    def step(self, images: Tensor) -> None:
        with torch.no_grad():
            fake = torch.sigmoid(self.generator(torch.randn(len(images), 32)))
        both = torch.cat([images, fake]).requires_grad_()
        scores = self.critic(2 * both - 1)[:, 0]
        real, made = scores.chunk(2)
        (slopes,) = torch.autograd.grad(scores.sum(), both, create_graph=True)
        penalty = slopes.square().sum((1, 2, 3)).mean()  # the mean over both halves is (R1 + R2) / 2
        self.for_critic.zero_grad()
        (functional.softplus(made - real).mean() + penalty).backward()
        self.for_critic.step()
        fake = torch.sigmoid(self.generator(torch.randn(len(images), 32)))
        real, made = self.critic(2 * images - 1)[:, 0], self.critic(2 * fake - 1)[:, 0]
        self.for_generator.zero_grad()
        functional.softplus(real - made).mean().backward()
        self.for_generator.step()


def bare_seconds(make: type[BareVAE] | type[BareGAN], images: ImageSet, steps: int) -> float:
    """Seconds of a bare loop, shuffled passes through the data as the engine makes them."""
    model: nn.Module | BareVAE | BareGAN = make()
    begun, done = time.perf_counter(), 0
    while done < steps:
        for indices in torch.randperm(len(images)).split(BATCH)[: steps - done]:
            model.step(images.images[indices].float() / 255)
            done += 1
    return time.perf_counter() - begun


def engine_seconds(kind: str, task: Task, steps: int, **extra: object) -> float:
    """Seconds of ``fit`` with the same steps."""
    options = {"latents": 16, "width": 32} if kind == "vae" else {"latents": 32, "width": 32}
    strategy = Strategy(learning_rate=RATE, betas=BETAS, steps=steps, batch=BATCH, **extra)
    return fit(create(kind, SHAPE, **options), task, strategy).cost.seconds


def main() -> None:
    started = time.perf_counter()
    images = load(harness.spec(SPEC), size=28, colour="grey")
    task = Task("generate", "speed", images.select(torch.arange(min(len(images), 4096))), None)
    torch.set_num_threads(1)
    pairs = 3 if harness.quick() else 9
    rows = []
    for make in (BareVAE, BareGAN):
        steps = (60 if make is BareVAE else 25) * (1 if harness.quick() else 2)
        for features, extra in (("as is", {}), ("average and clipping", {"ema": 0.99, "clip": 10.0})):
            bare_seconds(make, task.support, 5), engine_seconds(make.kind, task, 5, **extra)
            measured = []
            for turn in range(pairs):
                order = ("bare", "engine") if turn % 2 else ("engine", "bare")
                measured.append(
                    {
                        who: bare_seconds(make, task.support, steps)
                        if who == "bare"
                        else engine_seconds(make.kind, task, steps, **extra)
                        for who in order
                    }
                )
            rows.append(
                {
                    "learner": make.kind,
                    "strategy": features,
                    "steps": steps,
                    "bare": 1000 * sorted(pair["bare"] for pair in measured)[pairs // 2] / steps,
                    "engine": 1000 * sorted(pair["engine"] for pair in measured)[pairs // 2] / steps,
                    "ratio": harness.interval([pair["engine"] / pair["bare"] for pair in measured]),
                }
            )
    columns = {
        "learner": "learner",
        "strategy": "strategy",
        "bare": "bare loop, ms a step",
        "engine": "engine, ms a step",
    }
    harness.finish(
        "engine-overhead",
        rows,
        columns=columns | {"ratio": "engine / bare"},
        seed=0,
        started=started,
        threads=1,
        story=f"Time of a step of `fit` over a loop by hand (`nn.Module`, `torch.optim.Adam`, `backward`), 28×28 grey, "
        f"batches of {BATCH}, one thread. {pairs} pairs in turn; the ratio is taken pair by pair, with the 95% "
        "interval of its mean. `average and clipping` adds a moving average and clipping on the engine's side only.",
    )


if __name__ == "__main__":
    harness.run(main)

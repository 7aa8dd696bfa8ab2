"""What the engine costs over a bare PyTorch loop with the same networks, losses, data and optimiser."""

from __future__ import annotations

import statistics
import time

import harness
import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.config import Strategy
from limner.engine import Listener, fit
from limner.learners import create
from limner.networks import Decoder, Encoder
from limner.tasks import ImageSet, Task, load

SHAPE, BATCH, RATE, BETAS = (1, 28, 28), 32, 1e-3, (0.9, 0.999)
SPEC = "npz:{data}/mnist12k.npz,images=train_x,labels=train_y"


DECAY, LARGEST, WARM_UP = 0.99, 10.0, 5


class Extras:
    """Averaging and clipping as one would write them by hand, where they are asked for."""

    def __init__(self, modules: list[nn.Module], wanted: bool) -> None:
        self.parameters = [value for module in modules for value in module.parameters()]
        self.average = [value.detach().clone() for value in self.parameters] if wanted else []

    def clip(self, parameters: list[nn.Parameter]) -> None:
        if self.average:
            nn.utils.clip_grad_norm_(parameters, LARGEST)

    @torch.no_grad()
    def follow(self) -> None:
        for average, value in zip(self.average, self.parameters, strict=False):
            average.lerp_(value, 1 - DECAY)


class BareVAE:
    """The VAE as one would write it by hand: modules, torch.optim.Adam, no engine."""

    kind = "vae"

    def __init__(self, extras: bool) -> None:
        self.encoder, self.decoder = Encoder(SHAPE, 32, 32), Decoder(SHAPE, 16, 32)
        self.extras = Extras([self.encoder, self.decoder], extras)
        self.optimiser = torch.optim.Adam(self.extras.parameters, RATE, BETAS)

    def step(self, images: Tensor) -> None:
        mean, log_variance = self.encoder(2 * images - 1).chunk(2, 1)
        log_variance = log_variance.clamp(-10, 10)
        maps = self.decoder(mean + (0.5 * log_variance).exp() * torch.randn_like(mean))
        reconstruction = functional.binary_cross_entropy_with_logits(maps, images, reduction="sum") / len(images)
        kl = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1).mean()
        self.optimiser.zero_grad()
        (reconstruction + kl).backward()
        self.extras.clip(self.extras.parameters)
        self.optimiser.step()
        self.extras.follow()


class BareGAN:
    """The relativistic GAN with R1 and R2 by hand: ``autograd.grad`` with ``create_graph`` for the penalties."""

    kind = "gan"

    def __init__(self, extras: bool) -> None:
        self.generator, self.critic = Decoder(SHAPE, 32, 32), Encoder(SHAPE, 1, 32, normalised=False)
        self.extras = Extras([self.generator, self.critic], extras)
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
        (functional.softplus(made - real).mean() + penalty).backward(inputs=list(self.critic.parameters()))
        self.extras.clip(list(self.critic.parameters()))
        self.for_critic.step()
        self.critic.requires_grad_(False)  # the generator's turn needs no gradient in the critic's weights
        fake = torch.sigmoid(self.generator(torch.randn(len(images), 32)))
        real, made = self.critic(2 * images - 1)[:, 0], self.critic(2 * fake - 1)[:, 0]
        self.for_generator.zero_grad()
        functional.softplus(real - made).mean().backward()
        self.critic.requires_grad_(True)
        self.extras.clip(list(self.generator.parameters()))
        self.for_generator.step()
        self.extras.follow()


class Beside(Listener):
    """Makes one step of the bare loop after each step of the engine, and times both: neighbours in time meet the same
    load of the machine, so that their ratio does not depend on it.
    """

    def __init__(self, bare: BareVAE | BareGAN, images: ImageSet) -> None:
        self.bare, self.images = bare, images
        self.order: list[Tensor] = []
        self.engine_seconds: list[float] = []
        self.bare_seconds: list[float] = []

    def on_start(self, steps: int, seconds: float, done: int = 0) -> None:
        self.begun = time.perf_counter()

    def on_step(self, step: int, values: dict[str, float]) -> None:
        between = time.perf_counter()
        self.engine_seconds.append(between - self.begun)
        if not self.order:
            self.order = list(torch.randperm(len(self.images)).split(BATCH))
        self.bare.step(self.images.images[self.order.pop()].float() / 255)
        self.begun = time.perf_counter()
        self.bare_seconds.append(self.begun - between)


def measure(make: type[BareVAE] | type[BareGAN], task: Task, steps: int, extras: bool) -> tuple[float, float]:
    """Median seconds of a step, bare and in the engine; the first few, which warm up, are left out."""
    options = {"latents": 16, "width": 32} if make is BareVAE else {"latents": 32, "width": 32}
    more = {"ema": DECAY, "clip": LARGEST} if extras else {}
    strategy = Strategy(learning_rate=RATE, betas=BETAS, steps=steps + WARM_UP, batch=BATCH, **more)
    beside = Beside(make(extras), task.support)
    fit(create(make.kind, SHAPE, **options), task, strategy, listeners=[beside])
    return statistics.median(beside.bare_seconds[WARM_UP:]), statistics.median(beside.engine_seconds[WARM_UP:])


def prepared() -> Task:
    """Images to time steps on, by one thread: whole batches, so that each step sees as many on both sides."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images = load(harness.spec(SPEC), size=28, colour="grey")
    return Task("generate", "speed", images.select(torch.arange(min(len(images), 1024) // BATCH * BATCH)), None)


def main() -> None:
    started = time.perf_counter()
    task = prepared()
    repeats = 4 if harness.quick() else 12
    rows = []
    for make, steps in ((BareVAE, 60), (BareGAN, 25)):
        for features in ("as is", "average and clipping"):
            medians = [measure(make, task, steps, features != "as is") for _ in range(repeats)]
            rows.append(
                {
                    "learner": make.kind,
                    "strategy": features,
                    "steps": steps,
                    "bare": 1000 * statistics.median(bare for bare, _ in medians),
                    "engine": 1000 * statistics.median(engine for _, engine in medians),
                    "ratio": harness.interval([engine / bare for bare, engine in medians]),
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
        f"batches of {BATCH}, one thread. Steps of the two are made in turn; a ratio is that of a run's medians, "
        f"with the 95% interval of its mean over {repeats} runs. With `average and clipping` both sides keep a "
        "moving average and clip gradients.",
    )


if __name__ == "__main__":
    harness.run(main)

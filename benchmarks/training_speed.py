"""Images a second of ordinary training: the VAE beside Pythae's trainer, the DCGAN beside a bare PyTorch loop."""

from __future__ import annotations

import logging
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import harness
import torch
from engine_overhead import BATCH, BETAS, RATE, SHAPE, WARM_UP, BareGAN, Beside, prepared
from torch import Tensor
from torch.nn import functional

from limner.config import Strategy
from limner.engine import Listener, fit
from limner.errors import LimnerError
from limner.learners import create
from limner.networks import Decoder, Encoder
from limner.tasks import Task

LATENTS, WIDTH = 16, 32


class Turns:
    """Two loops in two threads, of which one step of one is made after one step of the other; each step is timed.

    Neighbours in time meet the same load of the machine, and what is counted are the processor's seconds that each
    thread takes, so that their ratio does not depend on the load.
    """

    def __init__(self, names: tuple[str, str]) -> None:
        self.seconds: dict[str, list[float]] = {name: [] for name in names}
        self._others = dict(zip(names, reversed(names), strict=True))
        self._allowed = {name: threading.Semaphore(0) for name in names}
        self._begun = 0.0
        self._allowed[names[0]].release()

    def begin(self, name: str) -> None:
        """Wait for the first turn."""
        self._allowed[name].acquire()
        self._begun = time.thread_time()

    def end(self, name: str) -> None:
        """A step is over: note its time, let the other make one, and wait for the next turn."""
        self.seconds[name].append(time.thread_time() - self._begun)
        self._allowed[self._others[name]].release()
        self.begin(name)

    def leave(self, name: str) -> None:
        """This loop is over: the other may go on without waiting."""
        self._allowed[self._others[name]].release(1_000_000)


class OurTurn(Listener):
    """Ends a turn after each step of ``fit``."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def on_start(self, steps: int, seconds: float, done: int = 0) -> None:
        self.turns.begin("limner")

    def on_step(self, step: int, values: dict[str, float]) -> None:
        self.turns.end("limner")

    def on_end(self, state: str) -> None:
        self.turns.leave("limner")


def pythae_trainer(images: Tensor, epochs: int, turns: Turns, folder: str) -> Callable[[], None]:
    """Pythae's trainer of the same VAE: the same encoder and decoder, Bernoulli likelihood, Adam, batches, rate."""
    try:
        from pythae.data.datasets import BaseDataset
        from pythae.models import VAE, VAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
        from pythae.trainers import BaseTrainer, BaseTrainerConfig
        from pythae.trainers.training_callbacks import TrainingCallback
    except ImportError as problem:
        raise LimnerError("Pythae is not installed; make bench NAME=training-speed installs it") from problem

    class TheirEncoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = Encoder(SHAPE, 2 * LATENTS, WIDTH)

        def forward(self, images: Tensor) -> Any:
            mean, log_variance = self.net(2 * images - 1).chunk(2, 1)
            return ModelOutput(embedding=mean, log_covariance=log_variance.clamp(-10, 10))

    class TheirDecoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = Decoder(SHAPE, LATENTS, WIDTH)

        def forward(self, latents: Tensor) -> Any:
            return ModelOutput(reconstruction=torch.sigmoid(self.net(latents)))

    class TheirTurn(TrainingCallback):  # type: ignore[misc]
        def on_epoch_begin(self, training_config: Any, **rest: Any) -> None:
            if rest.get("epoch") == 1:
                turns.begin("pythae")

        def on_train_step_end(self, training_config: Any, **rest: Any) -> None:
            turns.end("pythae")

    logging.disable(logging.WARNING)
    config = VAEConfig(input_dim=SHAPE, latent_dim=LATENTS, reconstruction_loss="bce")
    trainer = BaseTrainer(
        VAE(config, encoder=TheirEncoder(), decoder=TheirDecoder()),
        BaseDataset(images.float() / 255, torch.zeros(len(images))),
        training_config=BaseTrainerConfig(
            output_dir=folder, num_epochs=epochs, learning_rate=RATE, optimizer_cls="Adam",
            optimizer_params={"betas": BETAS}, per_device_train_batch_size=BATCH, no_cuda=True,
        ),
        callbacks=[TheirTurn()],
    )  # fmt: skip

    def train() -> None:
        try:
            trainer.train()
        finally:
            turns.leave("pythae")

    return train


def beside_pythae(task: Task, steps: int) -> tuple[float, float]:
    """Median seconds of a step: Pythae's trainer's, ours."""
    turns = Turns(("limner", "pythae"))
    epochs = -(-(steps + WARM_UP) // (len(task.support) // BATCH))
    with tempfile.TemporaryDirectory() as folder:
        theirs = threading.Thread(target=pythae_trainer(task.support.images, epochs, turns, folder))
        theirs.start()
        strategy = Strategy(learning_rate=RATE, betas=BETAS, steps=steps + WARM_UP, batch=BATCH)
        fit(create("vae", SHAPE, latents=LATENTS, width=WIDTH), task, strategy, listeners=[OurTurn(turns)])
        theirs.join()
    their, our = (turns.seconds[name][WARM_UP : steps + WARM_UP] for name in ("pythae", "limner"))
    return statistics.median(their), statistics.median(our)


class BareDCGAN(BareGAN):
    """The non-saturating GAN by hand (Goodfellow et al. 2014, section 3), without penalties."""

    def step(self, images: Tensor) -> None:
        with torch.no_grad():
            fake = torch.sigmoid(self.generator(torch.randn(len(images), 32)))
        real, made = self.critic(2 * torch.cat([images, fake]) - 1)[:, 0].chunk(2)
        self.for_critic.zero_grad()
        (functional.softplus(-real).mean() + functional.softplus(made).mean()).backward()
        self.for_critic.step()
        self.critic.requires_grad_(False)
        fake = torch.sigmoid(self.generator(torch.randn(len(images), 32)))
        self.for_generator.zero_grad()
        functional.softplus(-self.critic(2 * fake - 1)[:, 0]).mean().backward()
        self.critic.requires_grad_(True)
        self.for_generator.step()


def beside_bare(task: Task, steps: int) -> tuple[float, float]:
    """Median seconds of a step: the bare loop's, the engine's."""
    beside = Beside(BareDCGAN(extras=False), task.support)
    learner = create("gan", SHAPE, latents=32, width=WIDTH, objective="non-saturating", gamma=0.0)
    strategy = Strategy(learning_rate=RATE, betas=BETAS, steps=steps + WARM_UP, batch=BATCH)
    fit(learner, task, strategy, listeners=[beside])
    return statistics.median(beside.bare_seconds[WARM_UP:]), statistics.median(beside.engine_seconds[WARM_UP:])


def main() -> None:
    started = time.perf_counter()
    task = prepared()
    repeats = 3 if harness.quick() else 10
    rows = []
    for network, peer, measure in (
        ("VAE", "Pythae's trainer", beside_pythae),
        ("DCGAN, non-saturating", "a bare PyTorch loop", beside_bare),
    ):
        medians = [measure(task, 60) for _ in range(repeats)]
        rows.append(
            {
                "network": network,
                "peer": peer,
                "their_rate": BATCH / statistics.median(their for their, _ in medians),
                "our_rate": BATCH / statistics.median(our for _, our in medians),
                "ratio": harness.interval([their / our for their, our in medians]),
            }
        )
    harness.finish(
        "training-speed",
        rows,
        columns={
            "network": "network",
            "peer": "peer",
            "their_rate": "peer, images a second",
            "our_rate": "Limner, images a second",
            "ratio": "Limner / peer",
        },
        seed=0,
        started=started,
        threads=1,
        story=(
            f"28×28 grey, batches of {BATCH}, Adam, the same encoder and decoder (critic and generator) on both sides, "
            "one thread. Steps of the two are made in turn, those beside Pythae's counted in the processor's seconds; "
            "a ratio is that of a run's median steps, with the 95% "
            f"interval of its mean over {repeats} runs. Above 1 Limner is the faster."
        ),
    )


if __name__ == "__main__":
    harness.run(main)

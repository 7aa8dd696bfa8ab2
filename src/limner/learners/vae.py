"""The variational autoencoder and its kin: one pair of networks, an objective, a likelihood and a sampler by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from limner.errors import LimnerError
from limner.learners.autoencoder import Autoencoding
from limner.learners.checks import check_latents, check_words
from limner.learners.labels import decoded_labels, learned_labels
from limner.learners.latents import SAMPLERS, LatentMixture, check_sampler, sampler_of
from limner.networks import Template
from limner.networks.autoencoder import Autoencoder
from limner.objectives.variational import (
    LIKELIHOODS,
    class_predictive,
    importance_bound,
    kl_to_normal,
    kl_to_standard_normal,
    log_normal,
    mean_discrepancy,
    nll_of_each,
    reparameterise,
)
from limner.types import Batch, Draws, Loss, Params


class _Networks(Autoencoder):
    def __init__(self, image_shape: tuple[int, int, int], latents: int, width: int, prior: str, classes: int) -> None:
        super().__init__(image_shape, latents, width, classes)
        self.log_variance = nn.Parameter(torch.tensor(-2.0))
        if prior == "class":
            self.between_log_variance = nn.Parameter(torch.full((latents,), math.log(0.5)))
            self.within_log_variance = nn.Parameter(torch.full((latents,), math.log(0.5)))


class VAE(Autoencoding):
    """Convolutional variational autoencoder (Kingma & Welling 2014), with the weight β of Higgins et al. 2017.

    Its one player ``net`` minimises, in nats for one image, by ``objective``:

    elbo         −log p(x|z) + β·KL(q(z|x) ‖ N(0, 1)), the evidence lower bound where β = 1
    importance   −log (1/K) Σₖ p(x|zₖ)·p(zₖ)/q(zₖ|x), which is nearer to −log p(x) (Burda et al. 2016, eq. 8)
    wasserstein  −log p(x|z) + λ·MMD²(q(z), N(0, 1)): latents match the prior together, not image by image
                 (Tolstikhin et al. 2018, algorithm 2)

    latents     dimensions of z
    width       channels at full resolution; doubled at each halving, at most four-fold
    beta        β (``elbo`` only)
    likelihood  ``bernoulli`` (ink on paper), ``gaussian`` (photographs; one learned variance) or ``logistic`` (256
                levels; one learned variance); the empty word chooses the first for grey images, the second for colour
    prior       ``normal``: N(0, 1) for every image. ``class``: a batch holds images of one class, and each image's
                prior is what the other latents of the batch predict (``class_predictive``); how much classes differ
                and how much images of a class differ is learned, dimension by dimension. For few-shot tasks
    temperature  T of what is shown where pixels are Bernoulli: sigmoid(logits / T). At 1 it is the likelihood's mean,
                which greys what is uncertain; towards 0 its mode, ink or paper. It has no part in the loss
    sampler     ``prior``: z ~ N(0, 1). ``mixture``, ``flow``: z from a Gaussian mixture, or a small normalising flow,
                fitted to the latents after training
    classes     1, or how many: then q(z|x, y) and p(x|z, y) are given the label y (Sohn, Lee & Yan 2015). It is added
                to the encoder's head and stands beside the decoder's latents
    importance_samples  K (``importance`` only)
    penalty     λ (``wasserstein`` only)

    >>> from limner.types import Request
    >>> vae = VAE((1, 28, 28), latents=4, width=8)
    >>> params = vae.init(seed=0)
    >>> vae.predict(params, Request("sample", count=2), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 28, 28])
    """

    kind, name = "vae", "VAE"
    players = ("net",)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latents: int = 16,
        width: int = 16,
        beta: float = 1.0,
        likelihood: str = "",
        prior: str = "normal",
        sampler: str = "mixture",
        temperature: float = 0.5,
        objective: str = "elbo",
        importance_samples: int = 5,
        penalty: float = 100.0,
        classes: int = 1,
    ) -> None:
        likelihood = likelihood or ("bernoulli" if image_shape[0] == 1 else "gaussian")
        self._losses: dict[str, Callable[[Params, Batch, Draws], Loss]] = {
            "elbo": self._evidence, "importance": self._importance, "wasserstein": self._wasserstein
        }  # fmt: skip
        check_words(
            "VAE",
            likelihood=(likelihood, LIKELIHOODS),
            sampler=(sampler, SAMPLERS),
            prior=(prior, ("normal", "class")),
            objective=(objective, self._losses),
        )
        if not temperature > 0:
            raise LimnerError(f"a VAE's temperature cannot be {temperature}; give a number above 0")
        if prior == "class" and (objective != "elbo" or sampler == "flow" or classes > 1):
            raise LimnerError(
                "a VAE with prior=class is for tasks of one class, whose latents are Gaussian: it goes with "
                "objective=elbo, classes=1 and the sampler prior or mixture"
            )
        if beta != 1.0 and objective != "elbo":
            raise LimnerError(f"a VAE with objective={objective} has no β; leave beta at 1, or use objective=elbo")
        check_sampler(sampler, latents)
        self.image_shape = image_shape
        self.options: dict[str, Any] = {
            "latents": latents, "width": width, "beta": beta, "likelihood": likelihood, "prior": prior,
            "sampler": sampler, "temperature": temperature, "objective": objective,
            "importance_samples": importance_samples, "penalty": penalty, "classes": classes
        }  # fmt: skip
        self._likelihood = LIKELIHOODS[likelihood]
        self._net = Template("net", lambda: _Networks(image_shape, latents, width, prior, classes))

    def init(self, seed: int) -> Params:
        """Fresh parameters ``net.*``."""
        return self._net.init(seed)

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """``noise``: ε of the reparameterisation, ``(n, latents)``, or ``(K, n, latents)`` with importance weights.
        ``prior``: z ~ N(0, 1), ``(n, latents)``, where the two are to match (``wasserstein``)."""
        shape = (len(batch["images"]), self.options["latents"])
        leading = (self.options["importance_samples"],) if self.options["objective"] == "importance" else ()
        draws = {"noise": torch.randn(leading + shape, generator=generator, device=generator.device)}
        if self.options["objective"] == "wasserstein":
            draws["prior"] = torch.randn(shape, generator=generator, device=generator.device)
        return draws

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """The objective, in nats for one image; terms ``reconstruction``, and ``kl`` or ``discrepancy``."""
        return self._losses[self.options["objective"]](params, batch, draws)

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """Fits the sampler to the posterior of the batch: keys ``fitted.*``; nothing for ``sampler="prior"``."""
        if self.options["prior"] == "normal" or self.options["sampler"] == "prior":
            return super().finish(params, batch, generator)
        means, _ = self._posterior(params, batch)
        centre, variance = self._class_predictive(params, means.sum(0), len(means))
        return {**params, **LatentMixture.gaussian(centre, variance).to_params()}

    def decode(self, params: Params, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``(n, c, h, w)`` in [0, 1] of ``latents`` ``(n, latents)``, as they are shown; can be differentiated.

        ``labels (n,)`` are their classes where the VAE has some (``None``: all classes in turn).
        """
        check_latents("VAE", latents, self.options["latents"])
        labels = decoded_labels(latents, labels, self.options["classes"], "VAE")
        scale = self.options["temperature"] if self.options["likelihood"] == "bernoulli" else 1.0
        return torch.sigmoid(self._net(params, latents, labels, method="decode") / scale)

    def log_weights(self, params: Params, batch: Batch, generator: torch.Generator, count: int) -> Tensor:
        """log wₖ = log p(x|zₖ) + log p(zₖ) − log q(zₖ|x), ``(count, n)``, with zₖ ~ q(z|x); without gradients.

        p(z) is the density that samples are drawn from: the fitted sampler's where there is one, else N(0, 1).
        """
        labels, prior = learned_labels(batch, self.options["classes"], "VAE"), sampler_of(params)
        images, rows = batch["images"], []
        with torch.no_grad():
            mean, log_variance = self.encode(params, images, labels)
            for _ in range(count):
                noise = torch.randn(mean.shape, generator=generator, device=generator.device).to(mean.dtype)
                latents = reparameterise(mean, log_variance, noise)
                maps = self._net(params, latents, labels, method="decode")
                seen = -nll_of_each(self._likelihood, maps, params["net.log_variance"], images)
                rows.append(seen + prior.log_density(latents) - log_normal(latents, mean, log_variance))
        return torch.stack(rows)

    def _coded(self, params: Params, batch: Batch, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """−log p(x|z) averaged over the batch, one draw z each, and the posteriors' means and log variances."""
        labels = learned_labels(batch, self.options["classes"], "VAE")
        mean, log_variance = self.encode(params, batch["images"], labels)
        latents = reparameterise(mean, log_variance, noise)
        maps = self._net(params, latents, labels, method="decode")
        return self._likelihood(maps, params["net.log_variance"], batch["images"]), mean, log_variance, latents

    def _evidence(self, params: Params, batch: Batch, draws: Draws) -> Loss:
        reconstruction, mean, log_variance, _ = self._coded(params, batch, draws["noise"])
        if self.options["prior"] == "normal":
            kl = kl_to_standard_normal(mean, log_variance)
        else:
            others = mean.sum(0) - mean
            kl = kl_to_normal(mean, log_variance, *self._class_predictive(params, others, len(mean) - 1))
        return Loss(reconstruction + self.options["beta"] * kl, {"reconstruction": reconstruction, "kl": kl})

    def _importance(self, params: Params, batch: Batch, draws: Draws) -> Loss:
        labels, noise = learned_labels(batch, self.options["classes"], "VAE"), draws["noise"]
        mean, log_variance = self.encode(params, batch["images"], labels)
        latents = reparameterise(mean, log_variance, noise)
        again = None if labels is None else labels.repeat(len(noise))
        maps = self._net(params, latents.flatten(0, 1), again, method="decode")
        images = batch["images"].repeat(len(noise), 1, 1, 1)
        seen = -nll_of_each(self._likelihood, maps, params["net.log_variance"], images).view(noise.shape[:2])
        zero = torch.zeros_like(mean)
        weights = seen + log_normal(latents, zero, zero) - log_normal(latents, mean, log_variance)
        terms = {"reconstruction": -seen.mean(), "kl": kl_to_standard_normal(mean, log_variance)}
        return Loss(-importance_bound(weights).mean(), terms)

    def _wasserstein(self, params: Params, batch: Batch, draws: Draws) -> Loss:
        reconstruction, _, _, latents = self._coded(params, batch, draws["noise"])
        apart = mean_discrepancy(latents, draws["prior"])
        terms = {"reconstruction": reconstruction, "discrepancy": apart}
        return Loss(reconstruction + self.options["penalty"] * apart, terms)

    def _class_predictive(self, params: Params, total: Tensor, count: int) -> tuple[Tensor, Tensor]:
        between, within = (params[f"net.{name}_log_variance"].exp() for name in ("between", "within"))
        return class_predictive(total, count, between, within)

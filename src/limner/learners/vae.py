"""The variational autoencoder."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from limner.errors import LimnerError
from limner.learners.latents import LatentMixture
from limner.networks import Decoder, Encoder, Template
from limner.objectives.variational import (
    bernoulli_nll,
    class_predictive,
    gaussian_nll,
    kl_to_normal,
    kl_to_standard_normal,
    reparameterise,
)
from limner.types import Batch, Draws, Loss, Params, Request


class _Networks(nn.Module):
    def __init__(self, image_shape: tuple[int, int, int], latents: int, width: int, prior: str) -> None:
        super().__init__()
        self.encoder = Encoder(image_shape, 2 * latents, width)
        self.decoder = Decoder(image_shape, latents, width)
        self.log_variance = nn.Parameter(torch.tensor(-2.0))
        if prior == "class":
            self.between_log_variance = nn.Parameter(torch.full((latents,), math.log(0.5)))
            self.within_log_variance = nn.Parameter(torch.full((latents,), math.log(0.5)))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(2 * images - 1).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 10)

    def decode(self, latents: Tensor) -> Tensor:
        return self.decoder(latents)  # type: ignore[no-any-return]

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, log_variance = self.encode(images)
        maps = self.decode(reparameterise(mean, log_variance, noise))
        return maps, mean, log_variance, self.log_variance


class VAE:
    """Convolutional variational autoencoder (Kingma & Welling 2014), with the weight β of Higgins et al. 2017.

    Its one player ``net`` minimises −log p(x|z) + β·KL(q(z|x) ‖ N(0, 1)), in nats for one image.

    latents     dimensions of z
    width       channels at full resolution; doubled at each halving, at most four-fold
    beta        β; 1 is the evidence lower bound
    likelihood  ``bernoulli`` (ink on paper) or ``gaussian`` (photographs; one learned variance)
    prior       ``normal``: N(0, 1) for every image. ``class``: a batch holds images of one class, and each image's
                prior is what the other latents of the batch predict (``class_predictive``); how much classes differ
                and how much images of a class differ is learned, dimension by dimension. For few-shot tasks
    temperature  T of what is shown where pixels are Bernoulli: sigmoid(logits / T). At 1 it is the likelihood's mean,
                which greys what is uncertain; towards 0 its mode, ink or paper. It has no part in the loss
    sampler     ``prior``: z ~ N(0, 1). ``mixture``: z from a Gaussian mixture fitted to the latents after training

    >>> vae = VAE((1, 28, 28), latents=4, width=8)
    >>> params = vae.init(seed=0)
    >>> vae.predict(params, Request("sample", count=2), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 28, 28])
    """

    kind = "vae"
    players = ("net",)
    answers = ("sample", "reconstruct", "features")

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
    ) -> None:
        likelihood = likelihood or ("bernoulli" if image_shape[0] == 1 else "gaussian")
        if likelihood not in ("bernoulli", "gaussian"):
            raise LimnerError(f"a VAE has no likelihood {likelihood!r}; it has: bernoulli, gaussian")
        if sampler not in ("prior", "mixture"):
            raise LimnerError(f"a VAE has no sampler {sampler!r}; it has: prior, mixture")
        if prior not in ("normal", "class"):
            raise LimnerError(f"a VAE has no prior {prior!r}; it has: normal, class")
        if not temperature > 0:
            raise LimnerError(f"a VAE's temperature cannot be {temperature}; give a number above 0")
        self.image_shape = image_shape
        self.options: dict[str, Any] = {
            "latents": latents, "width": width, "beta": beta, "likelihood": likelihood,
            "prior": prior, "sampler": sampler, "temperature": temperature
        }  # fmt: skip
        self._net = Template("net", lambda: _Networks(image_shape, latents, width, prior))

    def init(self, seed: int) -> Params:
        """Fresh parameters ``net.*``."""
        return self._net.init(seed)

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """``noise``: ε of the reparameterisation, ``(n, latents)``."""
        shape = (len(batch["images"]), self.options["latents"])
        return {"noise": torch.randn(shape, generator=generator, device=generator.device)}

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """−ELBO with weight β; terms ``reconstruction`` and ``kl``, in nats for one image."""
        images = batch["images"]
        maps, mean, log_variance, pixel_log_variance = self._net(params, images, draws["noise"])
        if self.options["likelihood"] == "bernoulli":
            reconstruction = bernoulli_nll(maps, images)
        else:
            reconstruction = gaussian_nll(torch.sigmoid(maps), pixel_log_variance, images)
        kl = self._kl(params, mean, log_variance)
        return Loss(reconstruction + self.options["beta"] * kl, {"reconstruction": reconstruction, "kl": kl})

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """Samples, reconstructions or features (posterior means), without gradients."""
        with torch.no_grad():
            if request.what == "sample":
                latents = torch.randn(
                    (request.count, self.options["latents"]), generator=generator, device=generator.device
                )
                if mixture := LatentMixture.of(params):
                    latents = mixture.place(latents, generator)
                return self._decode(params, latents)
            if request.images is None or request.what not in self.answers:
                raise LimnerError(f"a VAE cannot answer {request.what!r} here; ask it for samples, or give images")
            mean, _ = self._net(params, request.images, method="encode")
            return mean if request.what == "features" else self._decode(params, mean)

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """With ``sampler="mixture"``, fits it to the posterior of the batch: keys ``fitted.mixture_*``."""
        if self.options["sampler"] == "prior":
            return params
        with torch.no_grad():
            means, log_variances = zip(
                *(self._net(params, images, method="encode") for images in torch.split(batch["images"], 256)),
                strict=True,
            )
        if self.options["prior"] == "class":
            centre, variance = self._class_predictive(params, torch.cat(means).sum(0), len(batch["images"]))
            return {**params, **LatentMixture.gaussian(centre, variance).to_params()}
        mixture = LatentMixture.fit(torch.cat(means), torch.cat(log_variances).exp(), generator)
        return {**params, **mixture.to_params()}

    def encode(self, params: Params, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z|x), ``(n, latents)`` each, of ``images`` in [0, 1]; differentiable."""
        found: tuple[Tensor, Tensor] = self._net(params, images, method="encode")
        return found

    def decode(self, params: Params, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``(n, c, h, w)`` in [0, 1] of ``latents`` ``(n, latents)``, as they are shown; differentiable."""
        scale = self.options["temperature"] if self.options["likelihood"] == "bernoulli" else 1.0
        return torch.sigmoid(self._net(params, latents, method="decode") / scale)

    def _kl(self, params: Params, mean: Tensor, log_variance: Tensor) -> Tensor:
        if self.options["prior"] == "normal":
            return kl_to_standard_normal(mean, log_variance)
        others = mean.sum(0) - mean
        return kl_to_normal(mean, log_variance, *self._class_predictive(params, others, len(mean) - 1))

    def _class_predictive(self, params: Params, total: Tensor, count: int) -> tuple[Tensor, Tensor]:
        between, within = (params[f"net.{name}_log_variance"].exp() for name in ("between", "within"))
        return class_predictive(total, count, between, within)

    def _decode(self, params: Params, latents: Tensor) -> Tensor:
        images = [self.decode(params, part) for part in torch.split(latents, 256)]
        return torch.cat(images) if images else torch.empty(0, *self.image_shape)

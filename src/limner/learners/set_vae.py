"""The amortised answer: a variational autoencoder that reads the shots and needs no step to make images like them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from limner.errors import LimnerError
from limner.learners.checks import check_latents, check_words
from limner.learners.latents import LatentMixture, sampler_of
from limner.learners.sets import kept_code, together, with_code
from limner.networks import Template
from limner.networks.modulated import ModulatedDecoder
from limner.networks.set_encoder import POOLINGS, SetEncoder, SetReader, random_contexts
from limner.objectives.variational import LIKELIHOODS, class_predictive, kl_to_normal, reparameterise
from limner.types import Batch, Draws, Loss, Params, Request

Pair = tuple[Tensor, Tensor]


class _Networks(SetReader):
    def __init__(self, image_shape: tuple[int, int, int], latents: int, width: int, code: int, pooling: str) -> None:
        super().__init__()
        self.encoder = SetEncoder(image_shape, width, code, pooling)
        known = self.encoder.tokens * code
        self.seen = nn.Linear(self.encoder.body.features, 2 * latents)
        self.told = nn.Linear(known, 2 * latents, bias=False)
        self.prior = nn.Linear(known, 2 * latents, bias=False)
        for layer in (self.told, self.prior):
            nn.init.zeros_(layer.weight)
        self.between_log_variance = nn.Parameter(torch.full((latents,), math.log(0.5)))
        self.within_log_variance = nn.Parameter(torch.full((latents,), math.log(0.5)))
        self.decoder = ModulatedDecoder(image_shape, latents, known, width)
        self.log_variance = nn.Parameter(torch.tensor(-2.0))

    def alone(self, images: Tensor) -> Tensor:
        """What each image says of z by itself, mean and log variance side by side, ``(n, 2·latents)``."""
        return self.seen(self.encoder.body(2 * images - 1))  # type: ignore[no-any-return]

    def posterior(self, alone: Tensor, code: Tensor) -> Pair:
        """Mean and log variance of q(z | x, c), ``(n, latents)`` each."""
        return _gaussian(alone + self.told(code.flatten(1)))

    def expected(self, total: Tensor, count: Tensor, code: Tensor) -> Pair:
        """Mean and variance of p(z | c) for sets of ``count (n, 1)`` images whose means alone add up to ``total``."""
        between, within = self.between_log_variance.exp(), self.within_log_variance.exp()
        centre, variance = class_predictive(total, count, between, within)
        shift, stretch = _gaussian(self.prior(code.flatten(1)))
        return centre + variance.sqrt() * shift, variance * stretch.exp()

    def among_others(self, images: Tensor, context: Tensor) -> tuple[Tensor, Pair, Pair]:
        """Each image's code given its context, its posterior, and its prior; the body runs once."""
        seen = self.encoder.body(2 * images - 1)
        alone = self.seen(seen)
        code = self.encoder.pool(self.encoder.found(seen), context)
        total = context @ _gaussian(alone)[0]
        return code, self.posterior(alone, code), self.expected(total, context.sum(1, keepdim=True), code)

    def decode(self, latents: Tensor, code: Tensor) -> Tensor:
        """Image maps, unbounded."""
        return self.decoder(latents, code.flatten(1))  # type: ignore[no-any-return]


def _gaussian(found: Tensor) -> Pair:
    mean, log_variance = found.chunk(2, dim=1)
    return mean, log_variance.clamp(-10, 10)


class SetVAE:
    """A variational autoencoder conditioned on a set: given 1 or more images it makes others of their kind at once.

    The Neural Statistician (Edwards & Storkey 2017) with a code that is computed, not drawn: the set S is read into
    c = f(S), the same in whatever order; then z ~ p(z | c) and x ~ p(x | z, c). So that it learns what new images of a
    class are like, an image is never in the set that it is explained by (Hewitt et al. 2018, the variational
    homoencoder, section 2): each image's set is a random part of the others in its batch, which holds one class. Its
    one player ``net`` minimises, in nats for one image,

        −log p(xᵢ | z, cᵢ) + β·KL(q(z | xᵢ, cᵢ) ‖ p(z | cᵢ)),  cᵢ = f(Sᵢ), xᵢ ∉ Sᵢ

    The prior is what the set's latents predict in closed form (``class_predictive``, as in a VAE with ``prior=class``),
    moved and stretched by the code. All that the code does begins at nothing, so that it begins as that VAE. A batch of
    one image is its own set. ``finish`` keeps the code of all images it is given, and what p(z | c) is for it, so that
    sampling is one forward pass; further training on the shots refines it.

    latents     dimensions of z: what differs among images of a class
    width       channels at full resolution; doubled at each halving, at most four-fold
    code        numbers in a token of the code: what images of a class share
    pooling     ``mean``: one token, the mean over images. ``attention``: four tokens, each a learned query over all
                places of all images. Which is better was not clear in short trainings; the mean is the cheaper
    beta        β
    likelihood  ``bernoulli``, ``gaussian`` or ``logistic``, as for the VAE; the empty word chooses the first for grey
                images, the second for colour
    temperature  T of what is shown where pixels are Bernoulli: sigmoid(logits / T). It has no part in the loss

    >>> learner = SetVAE((1, 28, 28), latents=4, width=8)
    >>> shots = {"images": torch.zeros(3, 1, 28, 28)}
    >>> params = learner.finish(learner.init(seed=0), shots, torch.Generator())
    >>> learner.predict(params, Request("sample", count=2), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 28, 28])
    """

    kind = "set-vae"
    players = ("net",)
    answers = ("sample", "reconstruct", "features")

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latents: int = 16,
        width: int = 16,
        code: int = 64,
        pooling: str = "mean",
        beta: float = 1.0,
        likelihood: str = "",
        temperature: float = 0.5,
    ) -> None:
        likelihood = likelihood or ("bernoulli" if image_shape[0] == 1 else "gaussian")
        check_words("set-vae", likelihood=(likelihood, LIKELIHOODS), pooling=(pooling, POOLINGS))
        if not temperature > 0:
            raise LimnerError(f"a set-vae's temperature cannot be {temperature}; give a number above 0")
        self.image_shape = image_shape
        self.options: dict[str, Any] = {
            "latents": latents, "width": width, "code": code, "pooling": pooling, "beta": beta,
            "likelihood": likelihood, "temperature": temperature
        }  # fmt: skip
        self._likelihood = LIKELIHOODS[likelihood]
        self._net = Template("net", lambda: _Networks(image_shape, latents, width, code, pooling))

    def init(self, seed: int) -> Params:
        """Fresh parameters ``net.*``."""
        return self._net.init(seed)

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """``noise``: ε of the reparameterisation, ``(n, latents)``; ``context``: which others each image's set is of,
        ``(n, n)`` (:func:`~limner.networks.set_encoder.random_contexts`)."""
        count = len(batch["images"])
        noise = torch.randn(count, self.options["latents"], generator=generator, device=generator.device)
        return {"noise": noise, "context": random_contexts(count, generator)}

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """The negative evidence bound of each image given its set, in nats; terms ``reconstruction`` and ``kl``."""
        code, (mean, log_variance), expected = self._net(
            params, batch["images"], draws["context"], method="among_others"
        )
        maps = self._net(params, reparameterise(mean, log_variance, draws["noise"]), code, method="decode")
        reconstruction = self._likelihood(maps, params["net.log_variance"], batch["images"])
        kl = kl_to_normal(mean, log_variance, *expected)
        return Loss(reconstruction + self.options["beta"] * kl, {"reconstruction": reconstruction, "kl": kl})

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """Samples, reconstructions or features (posterior means), given the set kept by ``finish``; no gradients."""
        with torch.no_grad():
            if request.what == "sample":
                shape = (request.count, self.options["latents"])
                latents = torch.randn(shape, generator=generator, device=generator.device)
                return self.decode(params, sampler_of(params).place(latents, generator))
            if request.images is None or request.what not in self.answers:
                raise LimnerError(f"a set-vae cannot answer {request.what!r} here; ask for samples, or give images")
            mean, _ = self.encode(params, request.images)
            return mean if request.what == "features" else self.decode(params, mean)

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """Keeps the code of all images of the batch, ``fitted.code``, and p(z | code), ``fitted.mixture_*``."""
        params = with_code(self._net, params, batch["images"])
        with torch.no_grad():
            code, images = kept_code(params, 1, self.kind), batch["images"]
            total = sum(self._net(params, part, method="alone").chunk(2, dim=1)[0].sum(0) for part in together(images))
            mean, variance = self._net(params, total, images.new_full((1, 1), len(images)), code, method="expected")
        return {**params, **LatentMixture.gaussian(mean[0], variance[0]).to_params()}

    def encode(self, params: Params, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z | x, code) with the code kept, ``(n, latents)`` each; can be differentiated."""
        code = kept_code(params, len(images), self.kind)
        alone = self._net(params, images, method="alone")
        found: Pair = self._net(params, alone, code, method="posterior")
        return found

    def decode(self, params: Params, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``(n, c, h, w)`` in [0, 1] of ``latents (n, latents)`` with the code kept; can be differentiated."""
        check_latents("set-vae", latents, self.options["latents"])
        scale = self.options["temperature"] if self.options["likelihood"] == "bernoulli" else 1.0
        code = kept_code(params, len(latents), self.kind)
        return torch.sigmoid(self._net(params, latents, code, method="decode") / scale)

"""The vector-quantised autoencoder, and beside it the small causal network that learns which codes follow which."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import LimnerError
from limner.learners.checks import check_latents, check_words
from limner.learners.labels import asked_labels, in_turn, learned_labels
from limner.networks import Template
from limner.networks.causal import Causal
from limner.networks.convolutional import Body, groups, scale_weights, widths_of
from limner.networks.critic import one_hot
from limner.objectives.variational import LIKELIHOODS, nll_of_each
from limner.types import Batch, Draws, Loss, Params, Request


class _Networks(nn.Module):
    def __init__(self, image_shape: tuple[int, int, int], codes: int, numbers: int, width: int) -> None:
        super().__init__()
        widths = widths_of(image_shape, width)[::-1]
        self.side = image_shape[1] // 2 ** len(widths)
        self.body = Body(image_shape, width, normalised=True)
        self.head = nn.Conv2d(widths[0], numbers, 1)
        layers: list[nn.Module] = [nn.Conv2d(numbers, widths[0], 3, padding=1)]
        for before, after in zip(widths, [*widths[1:], image_shape[0]], strict=True):
            layers += [nn.GroupNorm(groups(before), before), nn.SiLU(), nn.ConvTranspose2d(before, after, 4, 2, 1)]
        scale_weights(layers[:-1])
        self.decoder = nn.Sequential(*layers)
        self.codebook = nn.Parameter(functional.layer_norm(torch.randn(codes, numbers), (numbers,)))
        self.log_variance = nn.Parameter(torch.tensor(-2.0))

    def encode(self, images: Tensor) -> Tensor:
        maps = self.head(self.body(2 * images - 1).unflatten(1, (-1, self.side, self.side)))
        places = maps.movedim(1, -1)
        return functional.layer_norm(places, places.shape[-1:])  # length √numbers, as codes begin

    def decode(self, places: Tensor) -> Tensor:
        return self.decoder(places.movedim(-1, 1))  # type: ignore[no-any-return]


class VQVAE:
    """Autoencoder with a map of discrete codes (VQ-VAE, van den Oord, Vinyals & Kavukcuoglu 2017).

    The encoder gives a vector z at each place of a map (7×7 for 28×28 pixels); the decoder sees the nearest code e
    in its stead. The player ``net`` minimises, in nats for one image, their eq. 3 and a term that keeps codes alive:

        −log p(x|e) + Σ ‖sg(z) − e‖²/d + β Σ ‖z − sg(e)‖²/d + mean over codes of minᵢ ‖e − sg(zᵢ)‖²/d

    with sums over places, and gradients passed from e to z as they are (straight-through). sg holds its argument. The
    last term draws each code to the nearest place of the batch, so that none is out of reach for good: with z and
    codes of one length from the start the codebook does not collapse; ``perplexity`` tells how many codes are in use.

    The player ``prior`` minimises −log p(codes) in nats for one image: a causal network reads the codes row by
    row. A sample is codes drawn from it one by one, decoded.

    codes, code_size   how many codes there are, and of how many numbers each
    width, prior_width channels of the autoencoder at full resolution, and of the causal network
    commitment         β
    likelihood         ``bernoulli``, ``gaussian`` or ``logistic``, as of the VAE; the empty word chooses by colour
    temperature        of what is shown where pixels are Bernoulli, as of the VAE
    classes            1, or how many: then the prior is given the label

    >>> vae = VQVAE((1, 16, 16), codes=8, code_size=4, width=4, prior_width=4)
    >>> vae.predict(vae.init(seed=0), Request("sample", count=2), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 16, 16])
    """

    kind = "vq-vae"
    players = ("net", "prior")
    answers = ("sample", "reconstruct", "features")

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        codes: int = 128,
        code_size: int = 16,
        width: int = 16,
        prior_width: int = 48,
        commitment: float = 0.25,
        likelihood: str = "",
        temperature: float = 0.5,
        classes: int = 1,
    ) -> None:
        likelihood = likelihood or ("bernoulli" if image_shape[0] == 1 else "gaussian")
        check_words("VQ-VAE", likelihood=(likelihood, LIKELIHOODS))
        if not temperature > 0:
            raise LimnerError(f"a VQ-VAE's temperature cannot be {temperature}; give a number above 0")
        if codes < 2 or code_size < 2:
            raise LimnerError("a VQ-VAE needs 2 codes of 2 numbers at least; give codes=128,code_size=16, for example")
        self.image_shape = image_shape
        self.options: dict[str, Any] = {
            "codes": codes, "code_size": code_size, "width": width, "prior_width": prior_width,
            "commitment": commitment, "likelihood": likelihood, "temperature": temperature, "classes": classes
        }  # fmt: skip
        self._likelihood = LIKELIHOODS[likelihood]
        self._net = Template("net", lambda: _Networks(image_shape, codes, code_size, width))
        self._prior = Template("prior", lambda: Causal(code_size, codes, prior_width, classes))
        self._side = image_shape[1] // 2 ** len(widths_of(image_shape, width))
        self.code_shape = (self._side, self._side)
        self.latent_shape = (*self.code_shape, code_size)

    def init(self, seed: int) -> Params:
        """Fresh parameters ``net.*`` (``net.codebook (codes, code_size)``) and ``prior.*``."""
        return {**self._net.init(seed), **self._prior.init(seed)}

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """Nothing random happens in a step."""
        return {}

    def held(self, params: Params, batch: Batch) -> Draws:
        """What the straight-through estimator holds: ``held_places`` z and ``held_codes`` e, ``(n, s, s, code_size)``,
        and ``held_indices`` ``(n, s, s)``, which code each e is."""
        places = self._net(params, batch["images"], method="encode").detach()
        indices = self._nearest(params, places)
        return {"held_places": places, "held_codes": params["net.codebook"].detach()[indices], "held_indices": indices}

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """The player's loss. Terms of ``net``: ``reconstruction``, ``codebook``, ``commitment``, ``reach`` and
        ``perplexity``, e to the entropy of the codes in the batch: the number of codes in use. Of ``prior``:
        ``codes``."""
        held = draws if "held_indices" in draws else self.held(params, batch)
        if player == "prior":
            value = self._codes_nll(params, held["held_indices"], held["held_codes"], batch).mean()
            return Loss(value, {"codes": value})
        places, codebook = self._net(params, batch["images"], method="encode"), params["net.codebook"]
        maps = self._net(params, places + (held["held_codes"] - held["held_places"]), method="decode")
        reconstruction = self._likelihood(maps, params["net.log_variance"], batch["images"])

        def apart(left: Tensor, right: Tensor) -> Tensor:
            return (left - right).square().mean(-1).sum((1, 2)).mean()

        used = one_hot(held["held_indices"].flatten(), len(codebook), codebook)
        drawn_to = apart((used @ codebook).view(places.shape), held["held_places"])
        commitment = apart(places, held["held_codes"])
        reach = self._distances(codebook, held["held_places"].flatten(0, 2)).amin(1).mean() / codebook.shape[1]
        shares = used.mean(0)
        perplexity = torch.exp(-torch.xlogy(shares, shares).sum())
        terms = {"reconstruction": reconstruction, "codebook": drawn_to, "commitment": commitment, "reach": reach}
        value = reconstruction + drawn_to + self.options["commitment"] * commitment + reach
        return Loss(value, terms | {"perplexity": perplexity})

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """Samples, reconstructions or features (z at each place, flat), without gradients; samples of the classes
        ``request.labels``, or of all classes in turn."""
        with torch.no_grad():
            if request.what == "sample":
                labels = asked_labels(request, self.options["classes"], "VQ-VAE", generator.device)
                latents = self.draw_latents(params, request.count, labels, generator)
                codes = latents.reshape(-1, *self.latent_shape)
                return torch.cat([self._show(params, part) for part in torch.split(codes, 256)])
            if request.images is None or request.what not in self.answers:
                raise LimnerError(f"a VQ-VAE cannot answer {request.what!r} here; ask it for samples, or give images")
            held = [self.held(params, {"images": part}) for part in torch.split(request.images, 256)]
            if request.what == "features":
                return torch.cat([part["held_places"].flatten(1) for part in held])
            return torch.cat([self._show(params, part["held_codes"]) for part in held])

    def draw_latents(self, params: Params, count: int, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        """Maps of codes drawn from the prior row by row, as the codes' numbers, ``(count, s·s·code_size)``, without
        gradients; of the classes ``labels``, or of all in turn."""
        labels = in_turn(count, self.options["classes"], generator.device) if labels is None else labels
        codes = torch.zeros((count, *self.latent_shape), device=generator.device)
        with torch.no_grad():
            for row in range(self._side):
                for column in range(self._side):
                    logits = self._prior(params, codes[:, : row + 1].movedim(-1, 1), labels)[:, :, row, column]
                    chance = torch.rand(logits.shape, generator=generator, device=generator.device)
                    drawn = (logits - torch.log(-torch.log(chance))).argmax(1)  # a draw by Gumbel's trick
                    codes[:, row, column] = params["net.codebook"][drawn]
        return codes.flatten(1)

    def decode(self, params: Params, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Places z, ``(n, s·s·code_size)``, to images ``(n, c, h, w)`` in [0, 1], by way of the nearest codes;
        gradients pass these as they are (straight-through). Labels say nothing more: classes differ in their codes.

        Raises :class:`LimnerError` for latents of the wrong length.
        """
        check_latents("VQ-VAE", latents, math.prod(self.latent_shape))
        places = latents.reshape(-1, *self.latent_shape)
        codes = params["net.codebook"][self._nearest(params, places.detach())]
        return self._show(params, places + (codes - places).detach())

    def decode_codes(self, params: Params, codes: Tensor) -> Tensor:
        """Which code stands at each place, int64 ``(n, s, s)``, to images ``(n, c, h, w)`` in [0, 1]."""
        return self._show(params, params["net.codebook"][codes])

    def encode(self, params: Params, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Places z of ``images``, ``(n, s·s·code_size)``, and the log variance of it: −∞, as nothing here is random."""
        places = self._net(params, images, method="encode").flatten(1)
        return places, torch.full_like(places, -torch.inf)

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """Nothing is fitted afterwards."""
        return params

    def log_weights(self, params: Params, batch: Batch, generator: torch.Generator, count: int) -> Tensor:
        """log p(x|codes) + log p(codes) with the codes that the encoder gives, ``(count, n)``, all rows alike: q is
        certain of its codes, so this is a lower bound of log p(x) that further draws do not raise."""
        with torch.no_grad():
            held = self.held(params, batch)
            maps = self._net(params, held["held_codes"], method="decode")
            seen = -nll_of_each(self._likelihood, maps, params["net.log_variance"], batch["images"])
            return (seen - self._codes_nll(params, held["held_indices"], held["held_codes"], batch)).expand(count, -1)

    def _codes_nll(self, params: Params, indices: Tensor, codes: Tensor, batch: Batch) -> Tensor:
        """−log p(codes) of each image, ``(n,)``."""
        labels = learned_labels(batch, self.options["classes"], "VQ-VAE")
        logits = self._prior(params, codes.movedim(-1, 1), labels).movedim(1, -1)
        chances = functional.log_softmax(logits, -1)
        return -torch.gather(chances, -1, indices[..., None])[..., 0].sum((1, 2))

    def _nearest(self, params: Params, places: Tensor) -> Tensor:
        flat = places.flatten(0, 2)
        return self._distances(params["net.codebook"].detach(), flat).argmin(0).view(places.shape[:3])

    @staticmethod
    def _distances(codebook: Tensor, places: Tensor) -> Tensor:
        """Squared distances ``(codes, places)``."""
        lengths = codebook.square().sum(1)[:, None] + places.square().sum(1)
        return lengths - 2 * codebook @ places.T

    def _show(self, params: Params, codes: Tensor) -> Tensor:
        scale = self.options["temperature"] if self.options["likelihood"] == "bernoulli" else 1.0
        return torch.sigmoid(self._net(params, codes, method="decode") / scale)

"""Where latents are drawn from: the prior, or a density fitted to the latents of the data after training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from limner.errors import LimnerError
from limner.objectives.variational import log_normal
from limner.seeds import derive
from limner.types import FITTED, Params

_PRIOR_COUNT = 2.0
"""With how many pseudo-observations the prior N(0, 1) enters the moments of a single Gaussian."""

_FOR_EACH_COMPONENT = 50
"""A mixture gets a further component for every so many images (at most 10)."""

_FLOW_STEPS, _FLOW_BATCH, _FLOW_PASSES = 600, 256, 60
"""A flow's training: so many steps of so many latents, but at most so many passes through them."""

_COUPLINGS, _HIDDEN = 6, 64


class LatentSampler(Protocol):
    """A density over latents that can be drawn from."""

    def place(self, noise: Tensor, generator: torch.Generator) -> Tensor:
        """Standard normal ``noise (n, d)`` to draws ``(n, d)``."""

    def log_density(self, latents: Tensor) -> Tensor:
        """log p(z) of ``latents (…, d)``, ``(…,)``."""


class StandardNormal:
    """z ~ N(0, 1): the prior itself.

    >>> round(StandardNormal().log_density(torch.zeros(1, 2)).item(), 4)  # −log 2π
    -1.8379
    """

    def place(self, noise: Tensor, generator: torch.Generator) -> Tensor:
        """The noise as it is."""
        return noise

    def log_density(self, latents: Tensor) -> Tensor:
        """log N(z; 0, 1)."""
        zeros = torch.zeros_like(latents[..., :1])
        return log_normal(latents, zeros, zeros)


@dataclass(frozen=True)
class LatentMixture:
    """A mixture of Gaussians: ``weights (k,)``, ``means (k, d)`` and lower Cholesky factors ``factors (k, d, d)``.

    >>> mixture = LatentMixture.fit(torch.zeros(5, 2), torch.ones(5, 2), torch.Generator().manual_seed(0))
    >>> mixture.place(torch.zeros(3, 2), torch.Generator().manual_seed(0)).tolist()
    [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    @classmethod
    def fit(cls, means: Tensor, variances: Tensor, generator: torch.Generator) -> LatentMixture:
        """Fits the aggregate posterior (1/n) Σ N(μᵢ, σᵢ²), given as ``(n, d)`` each.

        With fewer than 100 images: one Gaussian with diagonal covariance, its moments (E[μ], Var[μ] + E[σ²]) shrunk
        to the prior by pseudo-observations. With more: a mixture by expectation–maximisation on draws from it.
        """
        count, dimensions = means.shape
        components = min(10, count // _FOR_EACH_COMPONENT)
        if components < 2:
            return cls.moments(means, variances)
        from sklearn.mixture import GaussianMixture

        draws = means + variances.sqrt() * torch.randn(means.shape, generator=generator)
        kind = "full" if count >= 20 * dimensions * components else "diag"
        seed = derive(generator.initial_seed(), "mixture") % 2**32
        fitted = GaussianMixture(components, covariance_type=kind, reg_covar=1e-4, random_state=seed).fit(draws.numpy())
        covariances = torch.from_numpy(fitted.covariances_).float()
        factors = torch.linalg.cholesky(covariances if kind == "full" else torch.diag_embed(covariances))
        return cls(torch.from_numpy(fitted.weights_).float(), torch.from_numpy(fitted.means_).float(), factors)

    @classmethod
    def moments(cls, means: Tensor, variances: Tensor) -> LatentMixture:
        """One Gaussian with the moments of the aggregate posterior, shrunk to the prior by pseudo-observations."""
        share = len(means) / (len(means) + _PRIOR_COUNT)
        centre = share * means.mean(0)
        second = share * (means.square() + variances).mean(0) + (1 - share)
        return cls.gaussian(centre, (second - centre.square()).clamp(min=1e-6))

    @classmethod
    def gaussian(cls, centre: Tensor, variance: Tensor) -> LatentMixture:
        """One component with the given centre and diagonal covariance, both ``(d,)``."""
        return cls(torch.ones(1), centre[None], torch.diag(variance.sqrt())[None])

    @classmethod
    def of(cls, params: Params) -> LatentMixture | None:
        """The mixture stored in ``params``, if there is one."""
        if FITTED + "mixture_weights" not in params:
            return None
        return cls(*(params[f"{FITTED}mixture_{part}"] for part in ("weights", "means", "factors")))

    def to_params(self) -> Params:
        """As the keys ``fitted.mixture_*``."""
        parts = {"weights": self.weights, "means": self.means, "factors": self.factors}
        return {f"{FITTED}mixture_{name}": value for name, value in parts.items()}

    def place(self, noise: Tensor, generator: torch.Generator) -> Tensor:
        """Standard normal ``noise (n, d)`` to draws from the mixture, each from a component drawn by weight."""
        if not len(noise):
            return noise
        chosen = torch.multinomial(self.weights, len(noise), replacement=True, generator=generator)
        return self.means[chosen] + (self.factors[chosen] @ noise[:, :, None])[:, :, 0]

    def log_density(self, latents: Tensor) -> Tensor:
        """log Σₖ wₖ·N(z; μₖ, LₖLₖᵀ)."""
        apart = (latents[..., None, :] - self.means)[..., None]
        scaled = torch.linalg.solve_triangular(self.factors.to(apart), apart, upper=False)[..., 0]
        shrunk = torch.diagonal(self.factors, dim1=-2, dim2=-1).log().sum(-1)
        return torch.logsumexp(self.weights.log() + StandardNormal().log_density(scaled) - shrunk, -1)


@dataclass(frozen=True)
class LatentFlow:
    """A normalising flow of affine couplings (Dinh, Sohl-Dickstein & Bengio 2017, eq. 4–8) over a Gaussian.

    ``base`` is the Gaussian of the latents' moments. Each coupling leaves every other dimension as it is and, by a
    small network of those, shifts and scales the rest: u' = u·exp(tanh s(u_kept)) + t(u_kept). ``parts`` holds the
    couplings' weights, stacked: ``first (l, h, d)``, ``first_bias (l, h)``, ``second (l, 2d, h)``, ``second_bias``.

    >>> random = torch.Generator().manual_seed(0)
    >>> flow = LatentFlow.fit(torch.randn(200, 2, generator=random), torch.full((200, 2), 0.01), random)
    >>> latents = flow.place(torch.ones(3, 2), random)
    >>> latents.shape, flow.log_density(latents).shape
    (torch.Size([3, 2]), torch.Size([3]))
    """

    base: LatentMixture
    parts: Params

    @classmethod
    def fit(cls, means: Tensor, variances: Tensor, generator: torch.Generator) -> LatentFlow:
        """Fits the aggregate posterior (1/n) Σ N(μᵢ, σᵢ²) by maximum likelihood on draws from it.

        With fewer than 100 images the couplings stay the identity: what they could learn is noise.
        """
        count, dimensions = means.shape
        base = LatentMixture.moments(means, variances)
        random = torch.Generator().manual_seed(derive(generator.initial_seed(), "flow"))
        shapes = {"first": (_HIDDEN, dimensions), "first_bias": (_HIDDEN,), "second": (2 * dimensions, _HIDDEN)}
        parts = {name: torch.zeros(_COUPLINGS, *shape) for name, shape in shapes.items()}
        parts["second_bias"] = torch.zeros(_COUPLINGS, 2 * dimensions)
        parts["first"] = torch.randn(parts["first"].shape, generator=random) / math.sqrt(dimensions)
        steps = 0 if count < 2 * _FOR_EACH_COMPONENT else min(_FLOW_STEPS, _FLOW_PASSES * count // _FLOW_BATCH)
        with torch.enable_grad():
            leaves = {name: value.requires_grad_() for name, value in parts.items()}
            flow, optimiser = cls(base, leaves), torch.optim.Adam(leaves.values(), lr=2e-3)
            for step in range(steps):
                chosen = torch.randint(count, (_FLOW_BATCH,), generator=random)
                noise = torch.randn(_FLOW_BATCH, dimensions, generator=random)
                loss = -flow.log_density(means[chosen] + variances[chosen].sqrt() * noise).mean()
                optimiser.param_groups[0]["lr"] = 2e-3 * 0.5 * (1 + math.cos(math.pi * step / steps))
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        return cls(base, {name: value.detach() for name, value in leaves.items()})

    @classmethod
    def of(cls, params: Params) -> LatentFlow | None:
        """The flow stored in ``params``, if there is one."""
        prefix = FITTED + "flow_"
        base = LatentMixture.of(params)
        parts = {name.removeprefix(prefix): value for name, value in params.items() if name.startswith(prefix)}
        return cls(base, parts) if base is not None and parts else None

    def to_params(self) -> Params:
        """As the keys ``fitted.mixture_*`` (the base) and ``fitted.flow_*``."""
        return self.base.to_params() | {f"{FITTED}flow_{name}": value for name, value in self.parts.items()}

    def place(self, noise: Tensor, generator: torch.Generator) -> Tensor:
        """Standard normal ``noise (n, d)`` through the couplings' inverses, last to first, then the base."""
        points = noise
        for layer in reversed(range(len(self.parts["first"]))):
            shift, log_scale = self._coupling(layer, points)
            points = (points - shift) * torch.exp(-log_scale)
        return self.base.means[0] + points * torch.diagonal(self.base.factors[0])

    def log_density(self, latents: Tensor) -> Tensor:
        """log p(z) by the change of variables: log N(u; 0, 1) + log |du/dz|."""
        spread = torch.diagonal(self.base.factors[0])
        points, stretched = (latents - self.base.means[0]) / spread, -spread.log().sum()
        for layer in range(len(self.parts["first"])):
            shift, log_scale = self._coupling(layer, points)
            points, stretched = points * torch.exp(log_scale) + shift, stretched + log_scale.sum(-1)
        return StandardNormal().log_density(points) + stretched

    def _coupling(self, layer: int, points: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and log scale of a coupling, 0 in the dimensions that it keeps, of which alone they depend."""
        first, first_bias, second, second_bias = (
            self.parts[name][layer] for name in ("first", "first_bias", "second", "second_bias")
        )
        kept = (torch.arange(points.shape[-1], device=points.device) % 2 == layer % 2).to(points.dtype)
        hidden = functional.silu(functional.linear(points * kept, first, first_bias))
        shift, log_scale = functional.linear(hidden, second, second_bias).chunk(2, dim=-1)
        return shift * (1 - kept), torch.tanh(log_scale) * (1 - kept)


SAMPLERS: dict[str, Callable[[Tensor, Tensor, torch.Generator], Params]] = {
    "prior": lambda means, variances, generator: {},
    "mixture": lambda means, variances, generator: LatentMixture.fit(means, variances, generator).to_params(),
    "flow": lambda means, variances, generator: LatentFlow.fit(means, variances, generator).to_params(),
}
"""What each sampler fits to posteriors given as means and variances ``(n, d)``: the keys ``fitted.*``."""


def check_sampler(sampler: str, latents: int) -> None:
    """Raises :class:`LimnerError` where so few latents cannot have that sampler."""
    if sampler == "flow" and latents < 2:
        raise LimnerError("a flow couples latents with each other, and here is but one; give latents=2 or more")


def sampler_of(params: Params) -> LatentSampler:
    """The sampler stored in ``params``, or the prior where none is.

    >>> type(sampler_of({})).__name__
    'StandardNormal'
    """
    return LatentFlow.of(params) or LatentMixture.of(params) or StandardNormal()

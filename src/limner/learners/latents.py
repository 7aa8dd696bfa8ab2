"""A Gaussian mixture fitted to latents after training: sampling from where the data are, not from the whole prior."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from limner.seeds import derive
from limner.types import FITTED, Params

_PRIOR_COUNT = 2.0
"""With how many pseudo-observations the prior N(0, 1) enters the moments of a single Gaussian."""

_FOR_EACH_COMPONENT = 50
"""A mixture gets a further component for every so many images (at most 10)."""


@dataclass(frozen=True)
class LatentMixture:
    """``weights (k,)``, ``means (k, d)`` and lower Cholesky factors ``factors (k, d, d)``.

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
            share = count / (count + _PRIOR_COUNT)
            centre = share * means.mean(0)
            second = share * (means.square() + variances).mean(0) + (1 - share)
            return cls.gaussian(centre, (second - centre.square()).clamp(min=1e-6))
        from sklearn.mixture import GaussianMixture

        draws = means + variances.sqrt() * torch.randn(means.shape, generator=generator)
        kind = "full" if count >= 20 * dimensions * components else "diag"
        seed = derive(generator.initial_seed(), "mixture") % 2**32
        fitted = GaussianMixture(components, covariance_type=kind, reg_covar=1e-4, random_state=seed).fit(draws.numpy())
        covariances = torch.from_numpy(fitted.covariances_).float()
        factors = torch.linalg.cholesky(covariances if kind == "full" else torch.diag_embed(covariances))
        return cls(torch.from_numpy(fitted.weights_).float(), torch.from_numpy(fitted.means_).float(), factors)

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

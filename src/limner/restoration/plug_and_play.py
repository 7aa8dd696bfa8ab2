"""Plug-and-play: any denoiser as the prior of blur, lost pixels and down-sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from limner.degradations.base import shape_of
from limner.errors import LimnerError
from limner.restoration.base import Knowledge, Restorer, check, needs_noise
from limner.restoration.deconvolution import beginning
from limner.restoration.inpainting import Biharmonic
from limner.restoration.shipped import Denoiser, Starter
from limner.restoration.solvers import convolution_of, near, roughly, smooth
from limner.restoration.trained import Trained

FIRST = 49 / 255
"""The strength of noise that the prior takes away in the first step (Zhang et al. 2021, section 4.2)."""
LEAST = 0.255 / 255
"""Noise is taken to be at least this strong, as in the authors' schedule."""


class Filling(NamedTuple):
    """The strengths from first to least where pixels were lost and nothing blurred, and ``times`` as many steps.

    Filled in smoothly they are nearly right, so that less is taken away than of a blur.
    """

    first: float
    least: float
    times: int


BY_NETWORK, BY_OTHERS = Filling(12 / 255, 1 / 255, 4), Filling(10 / 255, 0.255 / 255, 2)
"""By what the prior is, a network or another denoiser."""
EXACT = 2
"""So many last steps towards the data are solved exactly; those before need not be, so they are few and fast."""
SCHEMES = ("half-quadratic", "proximal-gradient")


@dataclass(frozen=True)
class PlugAndPlay:
    """argmin_x ‖M A x − y‖² / 2σ² + prior(x), the prior being what the denoiser ``prior`` takes for likely.

    ``half-quadratic`` splitting (DPIR: Zhang et al. 2021, algorithm 1) goes to and fro between the data and the prior,

        x ← argmin ‖M A x − y‖² + λ (σ/σₖ)² ‖x − z‖²,   z ← denoised(x, σₖ),

    σₖ falling evenly in its logarithm from 49/255 to σ; ``trust`` = λ, 0.23 there. For a blur that ends at the border
    all but the last two steps towards the data are solved roughly (:func:`limner.restoration.solvers.roughly`).
    ``proximal-gradient``, the same with a step of gradient descent on the data, x ← z − Aᵀ(A z − y) / ‖A‖², is for
    operators far from any inverse. Both begin from Tikhonov's solution, or its like for such a blur, or where pixels
    were only lost from the biharmonic one, the noise then taken away being less (:class:`Filling`), or σ where that is
    more. Where nothing was blurred and there is no noise, what was seen is kept exactly.

    A network makes other mistakes of an image that is turned. So that none of them adds up, each step shows it another
    of the eight turned and mirrored forms (DPIR's periodical geometric self-ensemble, section 4.3).

    A prior that is ``blind`` finds out how strong the noise is by itself, and would find little in x. It is shown
    what it is to take away: noise of strength σₖ is added to x first (Kadkhodaie & Simoncelli 2021, section 2.3).

    prior  a restorer that handles noise of known strength
    steps  how often to and fro; two or four times as often where pixels were only lost
    """

    prior: Restorer
    steps: int = 8
    trust: float = 0.23
    scheme: str = "half-quadratic"
    name = "plug-and-play"

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise LimnerError(f"{self.name} has no scheme {self.scheme!r}; there are: {', '.join(SCHEMES)}")
        if why := self.prior.handles(Knowledge(noise=FIRST)):
            raise LimnerError(f"the prior of {self.name} must take away noise of known strength: {why}")

    def handles(self, knowledge: Knowledge) -> str:
        """Everything linear with noise of known strength."""
        return needs_noise(self.name, knowledge)

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """What the last step gives: of the prior, or of the data where there was no noise and no operator."""
        check(self, images, knowledge)
        assert knowledge.noise is not None
        noise = knowledge.noise
        exact = knowledge.operator is None and noise == 0
        weight = images.new_full((len(images), 1, 1, 1), 1e-3)
        lost = knowledge.mask is not None and knowledge.operator is None
        network = isinstance(self.prior, Trained | Denoiser | Starter)
        filling = BY_NETWORK if network else BY_OTHERS
        first, least, times = filling if lost else (FIRST, LEAST, 1)
        strengths = schedule(max(noise, least), self.steps * times, first)
        prior = first_guess(images, knowledge, generator)
        linear = knowledge.linear(shape_of(images))
        descend = self.scheme == "proximal-gradient"
        step = 1 / (1.05 * linear.norm(generator).to(images).view_as(weight)) ** 2 if descend else weight
        rough = len(strengths) - EXACT if _ends(knowledge) else 0
        for place, strength in enumerate(strengths):
            if descend:
                data = prior + step * linear.adjoint(images - linear.forward(prior))
            else:
                level = noise if knowledge.operator is None else max(noise, LEAST)
                solve = roughly if place < rough else near
                data = solve(images, knowledge, prior, torch.full_like(weight, self.trust * (level / strength) ** 2))
            if getattr(self.prior, "blind", False):
                data = data + strength * _noise_like(data, generator)
            form = place % 8 if network else 0
            prior = back(self.prior.restore(turned(data, form), Knowledge(noise=strength), generator), form)
        return near(images, knowledge, prior, torch.zeros_like(weight)) if exact else prior


def turned(images: Tensor, form: int) -> Tensor:
    """One of the eight forms of ``images (…, h, w)``: turned ``form`` times by 90 degrees, from the fourth on mirrored.

    >>> image = torch.arange(6.0).view(2, 3)
    >>> turned(image, 5).shape, all(torch.equal(back(turned(image, form), form), image) for form in range(8))
    (torch.Size([3, 2]), True)
    """
    images = torch.rot90(images, form, (-2, -1))
    return images.flip(-1) if form >= 4 else images


def back(images: Tensor, form: int) -> Tensor:
    """What :func:`turned` was given, from what it gave."""
    return torch.rot90(images.flip(-1) if form >= 4 else images, -form, (-2, -1))


def _noise_like(images: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(images.shape, generator=generator, dtype=images.dtype).to(images.device)


def first_guess(images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
    """What an iteration begins from: the biharmonic solution where pixels were only lost, else Tikhonov's."""
    if knowledge.mask is not None and knowledge.operator is None:
        return Biharmonic().restore(images, knowledge, generator)
    if _ends(knowledge):
        return roughly(images, knowledge, images, images.new_full((len(images), 1, 1, 1), 1e-2))
    return smooth(images, knowledge, images.new_full((len(images), 1, 1, 1), 1e-3), beginning(images, knowledge))


def _ends(knowledge: Knowledge) -> bool:
    """Whether there is one convolution, of an image that ends at its border."""
    convolution = convolution_of(knowledge)
    return convolution is not None and convolution.step == 1 and convolution.boundary != "circular"


def schedule(noise: float, steps: int, first: float = FIRST) -> list[float]:
    """Strengths from ``first``, or the noise where that is more, to the noise, evenly in their logarithm.

    >>> [round(255 * strength) for strength in schedule(1 / 255, 3)]
    [49, 7, 1]
    """
    first = max(first, noise)
    if steps == 1:
        return [noise]
    return [first * (noise / first) ** (step / (steps - 1)) for step in range(steps)]

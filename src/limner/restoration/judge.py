"""How far to trust a restored image where the truth is not known: what was removed, hidden pixels, the image damaged
and restored again, a second opinion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, floor, log10, sqrt

import torch
from torch import Tensor
from torch.nn import functional

from limner.degradations import Chain, Degradation, parse
from limner.degradations.base import shape_of
from limner.degradations.noise import Gaussian
from limner.degradations.operators import LinearStage
from limner.restoration.base import Knowledge, Restorer
from limner.restoration.catalogue import restorer as named
from limner.restoration.tiles import Box, cropped

SIDE = 192
"""Of the part in the middle on which all but what was removed is tried."""

KEPT = 0.5 / 255
"""Less than that was removed: no more than rounding takes."""

WHITE, UNRELATED, AGREEING = 0.1, 0.25, 0.4
"""Up to which neighbours in what was removed are taken for independent, what was removed for unrelated to the picture's
edges, and two methods, by their difference in parts of what was removed, to agree."""

SHORT = 0.15
"""Hidden pixels may be foretold nearer than the noise allows by such a part of its variance: it is no better known."""

OFF, TIMES, NARROWEST = 0.2, 3.0, 1.25
"""How far what is told by damaging again can be off: :func:`_again`. What hidden pixels tell, by the last."""

TOGETHER = 0.7
"""Lost pixels lie together where around them so many times fewer were seen than around those that were."""

SECOND = ("non-local-means", "wavelets", "plug-and-play")
"""Whose opinion is asked: the first that is not the method itself and handles the damage."""


SPARED = 10 / 255
"""So much of the picture's own intensities may a method smooth over, as a standard deviation."""


def takes_texture(method: Restorer, damaged: Tensor, restored: Tensor, knowledge: Knowledge) -> bool:
    """Whether a method that was not told the noise of ``knowledge`` took much more than it: the intensities' variance
    fell by more than the noise's and :data:`SPARED`² together. One that sharpens besides raises that variance.

    >>> picture = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> takes_texture(named("starter"), picture, 0 * picture, Knowledge(noise=0.1))
    True
    """
    if not getattr(method, "blind", False) or knowledge.noise is None:
        return False
    return float(damaged.var() - restored.var()) > knowledge.noise**2 + SPARED**2


@dataclass(frozen=True)
class Judgement:
    """What can be told without the truth. Standard deviations and differences are of intensities in [0, 1].

    removed     standard deviation of what was removed: damaged image less restored one, degraded again where known
    neighbours  the correlation of neighbours in it that is farthest from 0
    edges       the correlation of its energy with that of the restored image's gradients
    foretold    the error for pixels hidden from the method, less the noise that they have themselves; 0: they were
                foretold nearer than such noise allows; ``None``: not tried, or no more than what is not known of it
    around      the same of the mean of the four neighbours
    errors      from which to which root mean square error the restored image has; ``None``: not foreseen
    second      the other method, and how far, by the root of the mean square, it is away
    noise       that was taken to be there
    """

    removed: float
    neighbours: float
    edges: float
    foretold: float | None = None
    around: float | None = None
    errors: tuple[float, float] | None = None
    second: str = ""
    apart: float | None = None
    noise: float | None = None

    def sentences(self) -> list[str]:
        """The same for a reader, on the scale 0–255: short, one fact each.

        >>> Judgement(0.1, 0.01, 0.02).sentences()
        ['What was removed: 25.5 of 255.', 'It looks like noise alone.']
        """
        if self.removed < KEPT:
            found = ["What was seen was kept."]
        else:
            noise = f" (the noise: {255 * self.noise:.1f})" if self.noise else ""
            found = [f"What was removed: {255 * self.removed:.1f} of 255{noise}."]
            if self.edges > UNRELATED:
                found.append(
                    "Some of the picture's detail, or other damage, is in it: it correlates with edges by "
                    f"{self.edges:.2f}."
                )
            elif abs(self.neighbours) > WHITE:
                found.append(
                    f"The noise is coarse, or detail was lost: neighbours in it correlate by {self.neighbours:.2f}."
                )
            else:
                found.append("It looks like noise alone.")
        if self.foretold == 0.0 and self.noise:
            found.append("Hidden pixels were foretold nearer than such noise allows; give a smaller --noise.")
        elif self.foretold is not None and self.around is not None and self.noise:
            better = (
                "better than" if self.foretold < 0.9 * self.around else
                "about as well as" if self.foretold < 1.1 * self.around else "worse than"
            )  # fmt: skip
            found.append(
                f"Hidden pixels were foretold to {255 * self.foretold:.1f} of 255, {better} by their neighbours' mean "
                f"({255 * self.around:.1f})."
            )
        if self.errors is not None:
            high, low = (-20 * log10(max(error, 1e-4)) for error in self.errors)
            found.append(f"The PSNR is likely {floor(low)} to {ceil(high)} dB, if nothing else was wrong.")
        if self.apart is not None:
            differs = f"Another method, {self.second}, differs by {255 * self.apart:.1f} of 255"
            if self.removed < KEPT:
                return [*found, f"{differs} in what it puts for lost pixels."]
            share = self.apart / self.removed
            found += [
                f"{differs}, {share:.2f} of what was removed.",
                f"Up to {AGREEING:.2f} the two agree." if share <= AGREEING
                else f"Up to {AGREEING:.2f} they would agree: look at what was removed.",
            ]  # fmt: skip
        return found


def judge(
    restorer: Restorer,
    damaged: Tensor,
    restored: Tensor,
    knowledge: Knowledge,
    generator: torch.Generator,
    *,
    apart: bool = True,
) -> Judgement:
    """Judge what ``restorer`` made of ``damaged``, ``(1, c, h, w)``, by four signs that need no truth.

    - Residual whiteness: if only noise was removed, what was removed is as strong everywhere, and no pixel of it tells
      its neighbour.
    - Pixels held out (Noise2Self, Batson & Royer 2019): one in 16 is hidden from the method, or filled from its
      neighbours where it takes no mask. Noise that is independent from pixel to pixel cannot be foretold, so the square
      error for hidden pixels is that for pixels that no one saw, and the variance of the noise. Where noise is weak,
      that is far more than the error for pixels that were seen.
    - The restored image, whose truth is known, damaged again in the same way and restored: :func:`_again`.
    - Another method's result.

    The last three are tried on the middle of the image. Where the image is too small for them they are left out. No
    error is foreseen where noise is not drawn for each pixel ``apart``, a blur was undone, lost pixels lie together, or
    there are impulses, of which those that were not found are in no estimate.
    """
    linear = knowledge.linear(shape_of(damaged))
    seen = torch.ones_like(damaged) if knowledge.mask is None else knowledge.mask.to(damaged).expand_as(damaged)
    residual = (damaged - linear.forward(restored)) * seen
    found = Judgement(
        float(residual[seen > 0].std()),
        neighbours_of(residual, seen),
        edges_of(residual, linear.forward(restored), seen) if knowledge.operator is None else 0.0,
        noise=knowledge.noise,
    )
    height, width = damaged.shape[2:]
    if min(height, width) < 32:
        return found
    side = (min(SIDE, height), min(SIDE, width))
    box = Box((height - side[0]) // 2, (width - side[1]) // 2, *side)
    part, behind = knowledge, box
    if knowledge.operator is not None:
        operator, behind, _ = cropped(knowledge.operator, box)
        part = replace(knowledge, operator=operator)
    if knowledge.mask is not None:
        part = replace(part, mask=box.of(knowledge.mask))
    small = box.of(damaged)
    foretold = _held_out(restorer, small, part, generator)
    if foretold is not None:
        found = replace(found, foretold=foretold[0], around=foretold[1])
    whole = behind.of(restored)
    if apart and knowledge.operator is None:
        found = replace(found, errors=_errors(restorer, small, whole, part, found.foretold, generator))
    for name in SECOND:
        other = named(name)
        if name != restorer.name and not other.handles(part):
            difference = other.restore(small, part, generator) - whole
            return replace(found, second=name, apart=float(difference.square().mean().sqrt()))
    return found


def neighbours_of(residual: Tensor, seen: Tensor) -> float:
    """The correlation, farthest from 0, of pixels one or two apart across, down or along a diagonal.

    >>> noise = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> ones = torch.ones_like(noise)
    >>> abs(neighbours_of(noise, ones)) < 0.05, round(neighbours_of(noise + noise.roll(1, 3), ones), 1)
    (True, 0.5)
    """
    centred = (residual - residual.sum() / seen.sum().clamp_min(1)) * seen
    power = centred.square().sum() / seen.sum().clamp_min(1)
    found = [0.0]
    for down, across in ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0)):
        if centred.shape[2] > down and centred.shape[3] > across and power > 0:
            first = (slice(None), slice(None), slice(down, None), slice(across, None))
            second = (
                slice(None),
                slice(None),
                slice(None, centred.shape[2] - down),
                slice(None, centred.shape[3] - across),
            )
            count = (seen[first] * seen[second]).sum()
            if count > 0:
                found.append(float((centred[first] * centred[second]).sum() / count / power))
    return max(found, key=abs)


def edges_of(residual: Tensor, restored: Tensor, seen: Tensor) -> float:
    """The correlation, over places of 8×8 pixels, of the residual's energy with that of the image's gradients."""
    if min(residual.shape[2:]) < 32:
        return 0.0
    down = functional.pad(restored.diff(dim=2), (0, 0, 0, 1)).square()
    across = functional.pad(restored.diff(dim=3), (0, 1)).square()
    weight = functional.avg_pool2d(seen.mean(1, keepdim=True), 8)
    energy = functional.avg_pool2d(residual.square().mean(1, keepdim=True), 8)[weight > 0] / weight[weight > 0]
    gradients = functional.avg_pool2d((down + across).mean(1, keepdim=True), 8)[weight > 0]
    both = torch.stack([energy.sqrt(), gradients.sqrt()])
    if both.shape[1] < 2 or bool((both.std(1) == 0).any()):
        return 0.0
    return float(torch.corrcoef(both)[0, 1])


def _held_out(
    restorer: Restorer, damaged: Tensor, knowledge: Knowledge, generator: torch.Generator
) -> tuple[float, float] | None:
    """The errors for hidden pixels of the method and of the mean of their neighbours, beside the noise."""
    seen = torch.ones_like(damaged) if knowledge.mask is None else knowledge.mask.to(damaged).expand_as(damaged)
    at = torch.randint(4, (2,), generator=generator).tolist()
    hidden = torch.zeros_like(damaged)
    hidden[..., at[0] :: 4, at[1] :: 4] = 1
    shown = seen * (1 - hidden)
    hidden = hidden * seen
    cross = damaged.new_tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]]).expand(damaged.shape[1], 1, 3, 3)
    channels = damaged.shape[1]
    weight = functional.conv2d(shown, cross, padding=1, groups=channels)
    around = functional.conv2d(damaged * shown, cross, padding=1, groups=channels) / weight.clamp_min(1)
    hidden = hidden * (weight > 0)
    filled = torch.where(hidden > 0, around, damaged)
    masked = replace(knowledge, mask=shown)
    known = masked if not restorer.handles(masked) else knowledge
    if hidden.sum() < 16 or restorer.handles(known) or (known is knowledge and knowledge.mask is not None):
        return None
    made = restorer.restore(filled, known, generator)
    again = made if knowledge.operator is None else knowledge.operator.forward(made)
    own = 0.0 if _noise(knowledge) is None else knowledge.noise or 0.0
    wrong, plain = (
        float(((guess - damaged).square() * hidden).sum() / hidden.sum()) - own**2 for guess in (again, around)
    )
    if -SHORT * own**2 < wrong <= 0:
        return None
    return sqrt(max(wrong, 0.0)), sqrt(max(plain, 0.0))


def _noise(knowledge: Knowledge) -> Degradation | None:
    """The noise of the degradation that is known, else Gaussian noise as strong; ``None`` where it tells of none."""
    if not knowledge.noise:
        return None
    if not knowledge.degradation:
        return Gaussian(255 * knowledge.noise)
    whole = parse(knowledge.degradation)
    stages = [part for part in (whole.parts if isinstance(whole, Chain) else (whole,)) if not _known(part, knowledge)]
    return Chain(stages) if stages else None


def _known(stage: Degradation, knowledge: Knowledge) -> bool:
    """Whether what a stage does is told by operator or mask, or was undone beforehand, so that it is no noise."""
    word = getattr(stage, "word", "")
    return (
        isinstance(stage, LinearStage)
        or word == "stripes"
        or (word == "salt_and_pepper" and knowledge.mask is not None)
    )


def _errors(
    restorer: Restorer,
    damaged: Tensor,
    restored: Tensor,
    knowledge: Knowledge,
    foretold: float | None,
    generator: torch.Generator,
) -> tuple[float, float] | None:
    """From which to which root mean square error ``restored`` has: of pixels that were seen by :func:`_again`, of lost
    ones as hidden ones were ``foretold``; ``None`` where that cannot be told."""
    noise, mask = _noise(knowledge), knowledge.mask
    if mask is not None and "salt_and_pepper" in knowledge.degradation:
        return None
    errors = None if noise is None else _again(restorer, damaged, restored, knowledge, noise, generator)
    if mask is None or bool((mask > 0).all()):
        return errors
    if foretold is None or not _scattered(mask.to(damaged)):
        return None
    lost = 1 - float(mask.float().mean())
    ends = zip(errors or (0.0, 0.0), (1 / NARROWEST, NARROWEST), strict=True)
    low, high = (sqrt((1 - lost) * error**2 + lost * times * foretold**2) for error, times in ends)
    return low, high


def _scattered(mask: Tensor) -> bool:
    """Whether about as many pixels were seen around lost ones, 5×5, as around those that were seen, which are what is
    hidden: else these are easier to foretell."""
    seen = mask.mean(1, keepdim=True)
    around = (25 * functional.avg_pool2d(functional.pad(seen, (2, 2, 2, 2), mode="replicate"), 5, 1) - seen) / 24
    lost, kept = (float((around * part).sum() / part.sum().clamp_min(1)) for part in (1 - seen, seen))
    return lost >= TOGETHER * kept


def _again(
    restorer: Restorer,
    damaged: Tensor,
    restored: Tensor,
    knowledge: Knowledge,
    noise: Degradation,
    generator: torch.Generator,
) -> tuple[float, float]:
    """From which to which root mean square error ``restored`` has, where it was seen, by damaging it again.

    Restored again, it misses what it was before by B, less than the error, for it has less in it than the truth. From
    what was removed both times follows what the method costs beside that (the covariance penalty of Efron 2004, by the
    parametric bootstrap): E = B + |damaged − restored|² − the same of the second time. That is off by how far the
    noise's variance V is, and too little where the method keeps noise near detail. So the error is taken to lie from
    max(B, E − V/5) to min(E + V/5, 3 B), or to E where that is more. These bounds were chosen on photographs
    under six kinds and strengths of noise; they are no confidence interval.
    """
    seen = torch.ones_like(damaged) if knowledge.mask is None else knowledge.mask.to(damaged).expand_as(damaged)

    def error(first: Tensor, second: Tensor) -> float:
        return float(((first - second).square() * seen).sum() / seen.sum().clamp_min(1))

    clean = restored.clamp(0, 1)
    second = torch.where(seen > 0, (noise(clean, generator).clamp(0, 1) * 255).round() / 255, damaged)
    made = restorer.restore(second, knowledge, generator).clamp(0, 1)
    back, variance = error(made, clean), error(second, clean)
    corrected = back + error(damaged, clean) - error(second, made)
    low = max(back, corrected - OFF * variance)
    high = max(min(corrected + OFF * variance, TIMES * back), corrected if corrected > TIMES * back else 0.0)
    return sqrt(low), sqrt(max(high, NARROWEST * low))

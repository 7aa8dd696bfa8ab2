"""Paths through the latents: from one to another, and along one dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from limner.engine.run import as_bytes
from limner.errors import LimnerError
from limner.inside.latents import check, decoded, drawn, in_turn, refuse_maps

if TYPE_CHECKING:
    from limner.engine import Run

MEASURED = 1000
"""Latents that the spread of each dimension is measured on."""


class Interpolation(NamedTuple):
    """``latents (pairs, steps, latents)`` on the way from one to another, and ``images``, uint8
    ``(pairs, steps, c, h, w)``."""

    latents: Tensor
    images: Tensor


class Traversal(NamedTuple):
    """``dimensions (d,)`` that were moved, by ``offsets (steps,)`` in standard deviations of each, and ``images``,
    uint8 ``(d, steps, c, h, w)``."""

    dimensions: Tensor
    offsets: Tensor
    images: Tensor


def slerp(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """The latent at ``share`` of the way from ``first`` to ``second`` along a great circle (White 2016).

    sin((1 − t)Ω)/sin Ω · a + sin(tΩ)/sin Ω · b, with Ω the angle between a and b. Gaussian latents of many dimensions
    lie near a sphere; a straight line between two of them would lead through its inside, where there are none. Where
    a and b lie on one line through 0, no great circle is told from another, and the way is straight.

    first, second  ``(…, latents)``
    share          t in [0, 1], to be broadcast against ``(…, 1)``

    >>> slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor(0.5))
    tensor([0.7071, 0.7071])
    """
    cosine = torch.nn.functional.cosine_similarity(first, second, dim=-1)[..., None].clamp(-1, 1)
    angle = torch.acos(cosine)
    bent = torch.sin(angle)
    straight = bent < 1e-3
    below = torch.where(straight, 1.0, bent)
    ahead = torch.where(straight, share, torch.sin(share * angle) / below)
    behind = torch.where(straight, 1 - share, torch.sin((1 - share) * angle) / below)
    return behind * first + ahead * second


def interpolate(
    run: Run, pairs: int = 6, steps: int = 8, *, ends: tuple[Tensor, Tensor] | None = None, seed: int = 0
) -> Interpolation:
    """The images on the way from one latent to another, along great circles (:func:`slerp`).

    ends  latents to go from and to, ``(pairs, latents)`` each; ``None``: drawn as for the run's samples

    A run with classes shows each pair in one class, the pairs in all of them in turn. Raises :class:`LimnerError`
    where the run has no latents, these do not fit it, or there are fewer than 2 steps.

    >>> import limner
    >>> from limner.learners import create
    >>> vae = create("vae", (1, 16, 16), latents=4, width=4)
    >>> run = limner.Run(vae, "dots", "", limner.Strategy(), 0, vae.init(seed=0))
    >>> interpolate(run, pairs=2, steps=5).images.shape
    torch.Size([2, 5, 1, 16, 16])
    """
    if steps < 2:
        raise LimnerError(f"a path has two ends, so it cannot have {steps} steps; give 2 or more")
    if ends is None:
        known = in_turn(run, pairs)
        first, second = drawn(run, 2 * pairs, seed, None if known is None else known.repeat(2)).chunk(2)
    else:
        first, second = ends
        check(run, first)
        check(run, second)
        if len(first) != len(second):
            raise LimnerError(f"{len(first)} latents to go from and {len(second)} to go to; give as many of each")
    latents = slerp(first[:, None], second[:, None], torch.linspace(0, 1, steps)[None, :, None])
    labels = in_turn(run, len(first))
    images = decoded(run, latents.flatten(0, 1), None if labels is None else labels.repeat_interleave(steps))
    return Interpolation(latents, _in_rows(images, latents))


def traverse(
    run: Run,
    dimensions: Sequence[int] | None = None,
    *,
    steps: int = 9,
    reach: float = 3.0,
    latent: Tensor | None = None,
    label: int = 0,
    seed: int = 0,
) -> Traversal:
    """What one image becomes as single dimensions of its latent are moved, all others held.

    dimensions  which ones, counted from 0; ``None``: all
    reach       how far to either side, in standard deviations of the dimension among the run's own latents
    latent      ``(latents,)``, the one to move; ``None``: one drawn as for the run's samples
    label       its class, where the run has classes

    Raises :class:`LimnerError` where the run has no latents, these are maps, or it has no such dimension.

    >>> import limner
    >>> from limner.learners import create
    >>> gan = create("gan", (1, 16, 16), latents=4, width=4)
    >>> run = limner.Run(gan, "dots", "", limner.Strategy(), 0, gan.init(seed=0))
    >>> traverse(run, [0, 3], steps=5).images.shape
    torch.Size([2, 5, 1, 16, 16])
    """
    refuse_maps(run)
    base = drawn(run, 1, seed) if latent is None else latent.reshape(1, -1)
    check(run, base)
    length = base.shape[1]
    chosen = list(range(length)) if dimensions is None else list(dimensions)
    if strange := [place for place in chosen if not 0 <= place < length]:
        raise LimnerError(f"{run.task_name} has no latent dimension {strange[0]}; its are 0 to {length - 1}")
    if steps < 2 or not chosen or not reach > 0:
        raise LimnerError("a traversal needs a dimension at least, 2 steps or more and a reach above 0")
    offsets = torch.linspace(-reach, reach, steps)
    latents, deviations = base.repeat(len(chosen), steps, 1), spread(run)
    for row, place in enumerate(chosen):
        latents[row, :, place] += offsets * deviations[place]
    labels = None if in_turn(run, 1) is None else torch.full((latents.shape[:2].numel(),), label)
    images = _in_rows(decoded(run, latents.flatten(0, 1), labels), latents)
    return Traversal(torch.tensor(chosen), offsets, images)


def spread(run: Run) -> Tensor:
    """The standard deviation of each latent dimension, ``(latents,)``, among the run's own latents."""
    return drawn(run, MEASURED).std(0)


def _in_rows(images: Tensor, latents: Tensor) -> Tensor:
    """Images of all latents ``(rows, steps, latents)`` as uint8 ``(rows, steps, c, h, w)``."""
    return as_bytes(images).reshape(*latents.shape[:2], *images.shape[1:])

"""Damaged images mended by a network that learned from pairs, damaged and clean."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from limner.errors import LimnerError
from limner.learners.checks import check_words
from limner.networks import Template
from limner.networks.restorers import NETWORKS, TOLD, build, padded, reach
from limner.objectives.alone import draw_hidden, hidden_pixels
from limner.objectives.lost import LOST, REACH, draw_lost, filled
from limner.objectives.ridge import ridge, window
from limner.types import FITTED, Batch, Draws, Loss, Params, Request

_TOGETHER = 2**18
_SMOOTH = 1e-3
_LEAST_SQUARE = 1e-10
_MOST_PIXELS = 2**20
"""How many the head is fitted to."""
HEAD = f"{FITTED}head."
WIDEST = 15
"""The largest side of the head's windows: what is solved for grows with its square, the time with its sixth power."""

LOSSES = ("l2", "l1", "charbonnier")


class Restorer:
    """f(x) = x − R(x): the network R tells the damage of an image x (Zhang et al. 2017, DnCNN, eq. 1).

    With y the clean image and d = f(x) − y, the net minimises the mean over pixels of d² (``l2``), \\|d\\| (``l1``) or
    √(d² + 10⁻⁶) (``charbonnier``; Charbonnier et al. 1994). Where a batch holds damaged images alone (``inputs`` and no
    ``images``), it is the mean over pixels that were hidden from f, of what it tells of them less what they were
    (:func:`limner.objectives.alone.hidden_pixels`): that learns to take away noise that is another in each pixel. An
    inner loop on such batches and an outer loss on pairs learn a start that adapts to damaged images alone.

    An ``ffdnet`` or ``drunet`` is told how strong the noise is: in training the root mean square of x − y of each pair,
    which for noise of standard deviation σ is σ; in use what the request says, or where it says nothing, an estimate
    (:func:`noise_of`). The others find that out by themselves, and learn to for all damage that they are shown.
    Those that are told can also learn to fill in lost pixels: of ``lost`` of all images each step takes some away
    (:func:`limner.objectives.lost.draw_lost`), and tells that their noise is 1, as strong as the whole scale. Such
    pixels are filled in roughly before the network sees them (:func:`limner.objectives.lost.filled`).

    Where it has a ``head``, a last linear layer is fitted in closed form to the pairs it learned from
    (:meth:`finish`; :func:`limner.objectives.ridge.ridge`): with f as above, f(x) + W ∗ (x, f(x), further maps of the
    network), W windows of ``head`` pixels a side. From few pairs of new damage that learns at once what takes many
    steps, a deconvolution for example, and the algorithm ``ridge`` of ``limner meta-train`` learns maps for it.

    network  ``dncnn``, ``ffdnet``, ``unet``, ``drunet`` or ``nafnet`` (see :mod:`limner.networks.restorers`)
    width    channels at full resolution; of an ``ffdnet`` at half
    depth    convolutions of a ``dncnn`` or ``ffdnet``; blocks in all of the others
    loss     ``l2``, ``l1`` or ``charbonnier``
    lost     the share of images, from 0 to 1, from which each step takes pixels away, for ``ffdnet`` and ``drunet``
    head     the odd side of the windows of a linear layer fitted in closed form; 0 for none
    maps     how many further maps the network makes for the head

    >>> restorer = Restorer((1, 16, 16), width=4, depth=3)
    >>> request = Request("restore", images=torch.zeros(1, 1, 30, 21))
    >>> restorer.predict(restorer.init(seed=0), request, torch.Generator()).shape
    torch.Size([1, 1, 30, 21])
    """

    kind = "restorer"
    players = ("net",)
    answers = ("restore",)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        network: str = "dncnn",
        width: int = 32,
        depth: int = 8,
        loss: str = "l2",
        lost: float = 0.0,
        head: int = 0,
        maps: int = 0,
    ) -> None:
        check_words(self.kind, network=(network, NETWORKS), loss=(loss, LOSSES))
        self.image_shape = image_shape
        self.options: dict[str, Any] = {"network": network, "width": width, "depth": depth, "loss": loss}
        if lost:
            if not 0 < lost <= 1 or network not in TOLD:
                raise LimnerError(
                    f"lost={lost:g} cannot be used with the network {network}; give a share from 0 to 1, and a network "
                    f"that can be told which pixels were lost: {' or '.join(TOLD)}"
                )
            self.options["lost"] = lost
        if maps and not head:
            raise LimnerError(f"maps={maps} are for a head, and there is none; give a head with them, such as head=5")
        if head:
            if not 0 < head <= WIDEST or head % 2 == 0:
                raise LimnerError(f"head={head} cannot be; give its windows an odd side up to {WIDEST}, such as 5")
            self.options |= {"head": head, "maps": maps}
        channels = image_shape[0]
        build(network, channels, 1, depth)  # a depth that is too small is told at once
        self._net = Template("net", lambda: build(network, channels, width, depth, channels + maps))

    @property
    def multiple(self) -> int:
        """What the sides of images, and the places where tiles begin, are to be multiples of."""
        return NETWORKS[self.options["network"]][0]

    @property
    def reach(self) -> int:
        """How many pixels to each side a restored pixel depends on, at most."""
        own = reach(self.options["network"], self.options["depth"]) + (REACH if self.fills else 0)
        return own + self.head // 2

    @property
    def fills(self) -> bool:
        """Whether it learned to fill in lost pixels."""
        return "lost" in self.options

    @property
    def head(self) -> int:
        """The side of the windows of the head; 0 where there is none."""
        return int(self.options.get("head", 0))

    @property
    def closed_form(self) -> str:
        """The algorithm that learns a start for the head (:class:`limner.learners.base.ClosedForm`)."""
        return "ridge" if self.head else ""

    def init(self, seed: int) -> Params:
        """Fresh parameters ``net.*``."""
        return self._net.init(seed)

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """Of damaged images alone, which pixels to hide; of pairs, which to lose: all other damage is in the batch."""
        if "images" not in batch:
            return draw_hidden(batch["inputs"], generator)
        return {"lost": draw_lost(batch["inputs"], self.options["lost"], generator)} if self.fills else {}

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """As the class says; terms ``absolute error`` and ``psnr`` (of the whole batch, in decibels)."""
        if "inputs" not in batch:
            raise LimnerError("a restorer learns from pairs; give damaged and clean images, or damaged ones alone")
        damaged = batch["inputs"]
        if "images" in batch:
            clean, share = batch["images"], damaged.new_ones(())
            noise = (damaged - clean).square().mean((1, 2, 3)).clamp(min=_LEAST_SQUARE).sqrt()
            if self.fills:
                noise = torch.where(draws["lost"], LOST, noise[:, None, None, None])
            wrong = self.restored(params, damaged, noise) - clean
        else:
            noise, share = noise_of(damaged), draws["hidden"].to(damaged).mean()
            wrong = hidden_pixels(lambda covered: self.restored(params, covered, noise), damaged, draws)
        squares, distances = wrong.square().mean() / share, wrong.abs().mean() / share
        smooth = ((wrong.square() + _SMOOTH**2).sqrt() - _SMOOTH).mean() / share + _SMOOTH
        values = {"l2": squares, "l1": distances, "charbonnier": smooth}
        terms = {"absolute error": distances, "psnr": -10 * squares.clamp(min=_LEAST_SQUARE).log10()}
        return Loss(values[self.options["loss"]], terms)

    def restored(self, params: Params, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """``images (n, c, h, w)`` of any size, mended, not clipped; can be differentiated.

        noise  standard deviations of intensities in [0, 1], ``(n,)`` or of each pixel ``(n, 1, h, w)``, which only
               those that are told it ask for; where it is 1 the pixel was lost

        Where a head was fitted it has the last word.
        """
        seen = self._seen(params, images, noise)
        if HEAD + "weight" not in params:
            return seen[1]
        return seen[1] + window(torch.cat(seen, 1), params[HEAD + "weight"], params[HEAD + "bias"])

    def _seen(self, params: Params, images: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """What the head sees: the images, lost pixels filled in, as the network alone mends them, and further maps."""
        height, width = images.shape[-2:]
        told = self.options["network"] in TOLD
        if told:
            noise = noise_of(images) if noise is None else noise
            if noise.ndim == 4:
                images = filled(images, noise >= LOST) if self.fills else images
                noise = padded(noise, self.multiple)
        whole = padded(images, self.multiple).movedim(-3, -1).contiguous().movedim(-1, -3)  # for faster convolutions
        damage = self._net(params, whole, noise) if told else self._net(params, whole)
        damage = damage[..., :height, :width]
        channels = images.shape[1]
        return images, images - damage[:, :channels], damage[:, channels:]

    def in_grey(self, params: Params) -> tuple[Restorer, Params]:
        """The restorer for grey images that makes of them what this one, for colour, makes of three alike, their mean.

        The first layer's weights are added up over colours, the last one's are their mean; a head is fitted anew.

        >>> colour, random = Restorer((3, 16, 16), width=4, depth=3), torch.Generator().manual_seed(0)
        >>> params, image = colour.init(0), torch.rand(1, 1, 16, 16, generator=random)
        >>> grey, fewer = colour.in_grey(params)
        >>> alike = colour.restored(params, image.expand(-1, 3, -1, -1)).mean(1, keepdim=True)
        >>> bool((grey.restored(fewer, image) - alike).abs().max() < 1e-6)
        True
        """
        colours, height, width = self.image_shape
        grey = Restorer((1, height, width), **self.options)
        found = {}
        for name, like in grey.init(0).items():
            value = params[name]
            if value.shape[0] != like.shape[0]:
                own = like.shape[0] // (1 + grey.options.get("maps", 0))  # of the image; further maps are as they were
                image = value[: colours * own].view(colours, own, *value.shape[1:]).mean(0)
                value = torch.cat([image, value[colours * own :]])
            if value.ndim == 4 and value.shape[1] != like.shape[1]:
                each = (value.shape[1] - like.shape[1]) // (colours - 1)  # of a pixel or of four; a map may follow
                shared = value[:, : colours * each].reshape(len(value), colours, each, *value.shape[2:]).sum(1)
                value = torch.cat([shared, value[:, colours * each :]], 1)
            found[name] = value
        return grey, found

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """``restore``: the images, of any size, mended, in [0, 1], without gradients; ``request.noise`` where known.

        Raises :class:`LimnerError` for images of another number of channels, or noise that is neither one number for
        each nor one for each pixel.
        """
        images, noise, channels = request.images, request.noise, self.image_shape[0]
        if request.what != "restore" or images is None:
            raise LimnerError(f"a restorer cannot answer {request.what!r}; give it images, ask it to restore")
        if images.ndim != 4 or images.shape[1] != channels:
            raise LimnerError(
                f"this restorer mends images of {_channels(channels)}, not those of shape {tuple(images.shape)}; "
                "convert them, or restore channel by channel"
            )
        if noise is not None and noise.shape not in ((len(images),), (len(images), 1, *images.shape[2:])):
            raise LimnerError(
                f"noise of shape {tuple(noise.shape)} is not one number for each of {len(images)} images, nor for each "
                "of their pixels"
            )
        together = max(1, _TOGETHER // (images.shape[2] * images.shape[3]))
        noise = noise_of(images) if noise is None else noise
        with torch.no_grad():
            parts = [
                self.restored(params, part, level)
                for part, level in zip(torch.split(images, together), torch.split(noise, together), strict=True)
            ]
        return torch.cat(parts).clamp(0, 1)

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """The parameters, and where there is to be a head and ``batch`` holds pairs, the head fitted to them in closed
        form as ``fitted.head.*``; of very many pairs to some, chosen by ``generator``. Can be differentiated."""
        if not self.head or "inputs" not in batch or "images" not in batch:
            return params
        damaged, clean = batch["inputs"], batch["images"]
        most = max(1, _MOST_PIXELS // (damaged.shape[2] * damaged.shape[3]))
        if len(damaged) > most:
            chosen = torch.randperm(len(damaged), generator=generator)[:most].to(damaged.device)
            damaged, clean = damaged[chosen], clean[chosen]
        together = max(1, _TOGETHER // (damaged.shape[2] * damaged.shape[3]))
        parts = [self._seen(params, part, None) for part in torch.split(damaged, together)]
        seen = [torch.cat(each) for each in zip(*parts, strict=True)]
        weight, bias = ridge(torch.cat(seen, 1), clean - seen[1], self.head)
        return params | {HEAD + "weight": weight, HEAD + "bias": bias}


def noise_of(images: Tensor) -> Tensor:
    """An estimate of the standard deviation of white noise in each of ``images (n, c, h, w)``, ``(n,)``.

    The median size of the diagonal Haar wavelets of the finest scale over that of a standard normal number, 0.6745
    (Donoho & Johnstone 1994, section 4.2). Fine texture counts as noise; images of less than 2 pixels a side give 0.

    >>> noisy = 0.5 + 0.1 * torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    >>> round(noise_of(noisy).item(), 2)
    0.1
    """
    height, width = (2 * (side // 2) for side in images.shape[-2:])
    if not height or not width:
        return images.new_zeros(len(images))
    corners = functional.pixel_unshuffle(images[..., :height, :width].flatten(0, 1)[:, None], 2)
    diagonal = (corners[:, 0] - corners[:, 1] - corners[:, 2] + corners[:, 3]) / 2
    return diagonal.reshape(len(images), -1).abs().median(1).values / 0.6745


def _channels(count: int) -> str:
    return "1 channel (grey)" if count == 1 else f"{count} channels (colour)"

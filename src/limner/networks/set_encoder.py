"""What reads a set of images into a code that does not depend on their order, for sets of any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.networks.convolutional import Body, scale_weights, widths_of

POOLINGS = ("mean", "attention")
"""How the images of a set become one code."""

TOKENS, HEADS = 4, 4
"""How many things attention asks of a set, and by how many heads each (fewer where the code cannot be so divided)."""


def random_contexts(count: int, generator: torch.Generator) -> Tensor:
    """For each of ``count`` images which others are its context: ``(count, count)``, a row of 0 and 1 for each.

    The diagonal is 0. The size of a context is uniform from 1 to ``count − 1``, so that any number of shots is learned.
    An image that is alone is its own context.

    >>> contexts = random_contexts(5, torch.Generator().manual_seed(0))
    >>> contexts.diagonal().tolist(), bool((contexts.sum(1) >= 1).all())
    ([0.0, 0.0, 0.0, 0.0, 0.0], True)
    """
    device = generator.device
    if count == 1:
        return torch.ones(1, 1, device=device)
    order = torch.rand(count, count, generator=generator, device=device)
    order = order + torch.eye(count, device=device)  # an image itself comes last
    sizes = torch.randint(1, count, (count, 1), generator=generator, device=device)
    return (order.argsort(1).argsort(1) < sizes).float()


class SetEncoder(nn.Module):
    """Images ``(n, c, s, s)`` in [−1, 1], and which of them make up each set, to codes ``(sets, tokens, code)``.

    mean       one token: the mean of what a layer says of each image (Deep Sets, Zaheer et al. 2017, theorem 2; the
               statistic network of the Neural Statistician, Edwards & Storkey 2017, section 3.2)
    attention  each token is a learned query that looks at every place of every image of the set, by several heads
               (pooling by multi-head attention, Lee et al. 2019, Set Transformer, eq. 11)

    Behind either stands a layer that is also told 1/k of a set of k images: how much there is to go by. Work grows
    with the number of images, not with that of sets times images: since queries are learned, what they find in an
    image does not depend on the set, and a set only weighs its images (:meth:`pool`).

    >>> encoder = SetEncoder((1, 16, 16), width=4, code=8, pooling="attention")
    >>> seen = encoder.body(torch.zeros(3, 1, 16, 16))
    >>> encoder.pool(encoder.found(seen), torch.tensor([[0.0, 1.0, 1.0]])).shape
    torch.Size([1, 4, 8])
    """

    def __init__(self, image_shape: tuple[int, int, int], width: int, code: int, pooling: str) -> None:
        super().__init__()
        self.body = Body(image_shape, width, normalised=True)
        self.attends = pooling == "attention"
        self.tokens = TOKENS if self.attends else 1
        self.code = code
        self.channels = widths_of(image_shape, width)[-1]
        self.heads = next(heads for heads in (HEADS, 2, 1) if code % heads == 0) if self.attends else 1
        if self.attends:
            places = self.body.features // self.channels
            self.place = nn.Parameter(torch.randn(places, code) / 2)
            self.queries = nn.Parameter(torch.randn(self.tokens, code))
            self.keys, self.values = nn.Linear(self.channels, code), nn.Linear(self.channels, code)
            layers: list[nn.Module] = [self.keys, self.values]
        else:
            self.embed = nn.Linear(self.body.features, code)
            layers = [self.embed]
        self.amount = nn.Linear(1, code)
        self.mix = nn.Linear(code, code)
        scale_weights([*layers, self.amount, self.mix])

    def found(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """What each token finds in each image alone, of the body's features ``(n, features)``.

        By head: the logarithm of how much it attends to the image, ``(heads, tokens, n)``, and what it takes from it,
        ``(heads, tokens, n, code/heads)``. With the mean there is one head and one token, and 0 for all images.
        """
        if not self.attends:
            values = functional.silu(self.embed(seen))[None, None]
            return torch.zeros_like(values[..., 0]), values
        maps = seen.reshape(seen.shape[0], self.channels, -1).transpose(1, 2)
        keys = (self.keys(maps) + self.place).unflatten(-1, (self.heads, -1))
        values = (self.values(maps) + self.place).unflatten(-1, (self.heads, -1))
        queries = self.queries.reshape(self.tokens, self.heads, -1)
        scores = torch.einsum("thd,nphd->htnp", queries, keys) / keys.shape[-1] ** 0.5
        taken = torch.einsum("htnp,nphd->htnd", scores.softmax(-1), values)
        return torch.logsumexp(scores, -1), taken

    def pool(self, found: tuple[Tensor, Tensor], context: Tensor) -> Tensor:
        """Codes ``(sets, tokens, code)`` of sets given as weights of the images, ``(sets, n)``, each with one above 0.

        Σⱼ wⱼ·e^{aⱼ}·vⱼ / Σⱼ wⱼ·e^{aⱼ}, which is attention over all places of all images of the set, for aⱼ and vⱼ are
        already the logarithm of the sum, and the weighted mean, over the places of image j.
        """
        attended, values = found
        weights = (attended[None] + context.log()[:, None, None]).softmax(-1)  # (sets, heads, tokens, n)
        pooled = torch.einsum("shtn,htnd->sthd", weights, values).flatten(2)
        amount = self.amount(1 / context.sum(1, keepdim=True))
        return functional.silu(self.mix(pooled + amount[:, None]))


class SetReader(nn.Module):
    """A network with a :class:`SetEncoder` named ``encoder``, which learners ask for codes of images in [0, 1]."""

    encoder: SetEncoder

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What is found in each image alone (:meth:`SetEncoder.found`)."""
        return self.encoder.found(self.encoder.body(2 * images - 1))

    def pool(self, found: tuple[Tensor, Tensor], context: Tensor) -> Tensor:
        """Codes of sets (:meth:`SetEncoder.pool`)."""
        return self.encoder.pool(found, context)

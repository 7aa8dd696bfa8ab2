"""The pair of networks of an autoencoder, which may be told the class of what they encode and decode."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from limner.networks.convolutional import Decoder, Encoder
from limner.networks.critic import one_hot


class Autoencoder(nn.Module):
    """Images to the mean and log variance of latents, and latents to image maps.

    With ``classes`` above 1 the label is added to the encoder's head and stands beside the decoder's latents.

    >>> pair = Autoencoder((1, 16, 16), latents=3, width=4)
    >>> pair.encode(torch.zeros(2, 1, 16, 16), None)[0].shape, pair.decode(torch.zeros(2, 3), None).shape
    (torch.Size([2, 3]), torch.Size([2, 1, 16, 16]))
    """

    def __init__(self, image_shape: tuple[int, int, int], latents: int, width: int, classes: int = 1) -> None:
        super().__init__()
        self.classes = classes
        self.encoder = Encoder(image_shape, 2 * latents, width)
        self.decoder = Decoder(image_shape, latents + (classes if classes > 1 else 0), width)
        if classes > 1:
            self.label_head = nn.Linear(classes, 2 * latents, bias=False)

    def encode(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """``(n, c, s, s)`` in [0, 1] to mean and log variance, ``(n, latents)`` each."""
        found = self.encoder(2 * images - 1)
        if labels is not None:
            found = found + self.label_head(one_hot(labels, self.classes, found))
        mean, log_variance = found.chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 10)

    def decode(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """``(n, latents)`` to ``(n, c, s, s)``, unbounded."""
        if labels is not None:
            latents = torch.cat([latents, one_hot(labels, self.classes, latents)], 1)
        return self.decoder(latents)  # type: ignore[no-any-return]

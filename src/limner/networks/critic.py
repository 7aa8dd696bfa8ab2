"""The critic: a body that looks at images, and heads that say how real they look, and as which class."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def one_hot(labels: Tensor, classes: int, like: Tensor) -> Tensor:
    """``(n, classes)``, 1 at each label, of the type of ``like``; can be vectorised.

    >>> one_hot(torch.tensor([1, 0]), 2, torch.zeros(1)).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    return (labels[:, None] == torch.arange(classes, device=labels.device)).to(like.dtype)


class Critic(nn.Module):
    """Scores of images, ``(n, c, h, w)`` in [−1, 1] to ``(n,)``, given their classes by one of four ways:

    none           D(x) = w·φ(x) + b, with φ the ``body``
    concatenation  a hidden layer sees φ(x) beside the class (Mirza & Osindero 2014)
    projection     D(x, y) = w·φ(x) + b + v_y·φ(x) (Miyato & Koyama 2018, eq. 3)
    auxiliary      D(x) as for none, and beside it the logits of the classes (Odena, Olah & Shlens 2017)

    Names are in the order of the layers, ``body.0`` nearest to the image: freezing ``critic.body.0`` keeps the first.
    """

    def __init__(self, body: nn.Module, conditioning: str, classes: int) -> None:
        super().__init__()
        features: int = body.features  # type: ignore[assignment]
        self.body = body
        self.conditioning, self.classes = conditioning, classes
        if conditioning == "concatenation":
            self.joint = nn.Linear(features + classes, 128)
            features = 128
        self.head = nn.Linear(features, 1)
        if conditioning == "projection":
            self.directions = nn.Linear(features, classes, bias=False)
        if conditioning == "auxiliary":
            self.logits = nn.Linear(features, classes)

    def forward(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scores ``(n,)``, and the classes' logits ``(n, classes)``, empty unless the conditioning is ``auxiliary``."""
        features = self.body(images)
        if labels is None or self.conditioning == "none":
            return self.head(features)[:, 0], features[:, :0]
        chosen = one_hot(labels, self.classes, features)
        if self.conditioning == "concatenation":
            features = functional.silu(self.joint(torch.cat([features, chosen], 1)))
        scores = self.head(features)[:, 0]
        if self.conditioning == "projection":
            scores = scores + (self.directions(features) * chosen).sum(1)
        return scores, self.logits(features) if self.conditioning == "auxiliary" else features[:, :0]

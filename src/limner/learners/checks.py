"""What learners ask of their options and of latents, said once."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from limner.errors import LimnerError


def check_words(learner: str, **chosen: tuple[str, Iterable[str]]) -> None:
    """Raises :class:`LimnerError`, naming the right words, for an option that is not one of those it can be.

    chosen  for each option the word given and the words that there are

    >>> check_words("GAN", network=("dcgan", ("dcgan", "mlp")))
    """
    for name, (word, known) in chosen.items():
        if word not in (words := tuple(known)):
            raise LimnerError(f"a {learner} has no {name} {word!r}; it has: {', '.join(words)}")


def check_latents(learner: str, latents: Tensor, length: int) -> None:
    """Raises :class:`LimnerError` unless ``latents`` are of ``length`` numbers each, as the learner's are.

    >>> import torch
    >>> check_latents("GAN", torch.zeros(3, 8), 8)
    """
    if latents.shape[-1] != length:
        raise LimnerError(
            f"this {learner}'s latents have {length} numbers, not {latents.shape[-1]}; give (n, {length})"
        )

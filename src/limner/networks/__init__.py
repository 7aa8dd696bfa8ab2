"""Networks: ordinary ``nn.Module`` classes, and the template that turns one into a pure function."""

from limner.networks.conv4 import Conv4
from limner.networks.convolutional import Decoder, Encoder, check_shape
from limner.networks.functional import Template

__all__ = ["Conv4", "Decoder", "Encoder", "Template", "check_shape"]

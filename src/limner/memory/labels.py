"""The meta-label: the score by which strategies are compared, for each goal."""

from __future__ import annotations

META_LABEL = {
    "generate": "kernel_distance", "classify": "accuracy", "translate": "kernel_distance", "restore": "psnr",
    "regress": "r2", "cluster": "adjusted_rand",
}  # fmt: skip
"""The score by which the adviser judges, for each goal."""

HIGHER_IS_BETTER = {"accuracy", "psnr", "r2", "adjusted_rand"}

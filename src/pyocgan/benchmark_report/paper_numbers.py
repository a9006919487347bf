"""What the paper prints: Perera, Nallapati, Xiang, CVPR 2019, arXiv 1903.08550, section 4.

AUROC, digit for digit. The printed mean of CIFAR-10 is not that of the printed classes (0.6563).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..tasks import Protocol

SOURCE = "Perera, Nallapati, Xiang, CVPR 2019, arXiv 1903.08550, section 4"


@dataclass(frozen=True)
class Printed:
    """One line of the paper's tables: the mean as printed, and the classes in official order."""

    mean: str
    by_class: tuple[str, ...] = ()


TableKey = tuple[str, Protocol]  # data set and protocol: of each there is one table

# What stands there for OCGAN.
OCGAN: dict[TableKey, Printed] = {
    ("coil100", 1): Printed("0.995"),
    ("fashion_mnist", 1): Printed("0.924"),
    ("mnist", 1): Printed("0.977"),
    ("mnist", 2): Printed(
        "0.9750",
        (
            "0.998",
            "0.999",
            "0.942",
            "0.963",
            "0.975",
            "0.980",
            "0.991",
            "0.981",
            "0.939",
            "0.981",
        ),
    ),
    ("cifar10", 2): Printed(
        "0.6566",
        (
            "0.757",
            "0.531",
            "0.640",
            "0.620",
            "0.723",
            "0.620",
            "0.723",
            "0.575",
            "0.820",
            "0.554",
        ),
    ),
}

# The ablation: what each stage adds, its title, and the printed mean of MNIST, protocol 2.
ABLATION: TableKey = ("mnist", 2)
FULL = "+mining"  # the stage that is OCGAN
STAGES: dict[str, tuple[str, str]] = {
    "ae": ("Auto-encoder", "0.957"),
    "+latent": ("+ D_l", "0.959"),
    "+visual": ("+ D_v", "0.971"),
    "+mining": ("+ C and mining", "0.975"),
}

"""torchvision's published weights: file names (which hold the beginning of their SHA-256), preprocessing, accuracy.

From torchvision's documentation, "Table of all available classification weights", and the addresses in its model files.
All were trained on ImageNet-1K; torchvision is under BSD-3-Clause.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from minicnn.errors import ArgumentError

ADDRESS = "https://download.pytorch.org/models/"
TRAINED_ON, LICENCE = "ImageNet-1K (ILSVRC 2012)", "BSD-3-Clause (torchvision)"


@dataclass(frozen=True)
class Published:
    """One published file.

    Attributes
    ----------
    file : str
        "resnet18-f37072fd.pth".
    architecture : str
        Name in `minicnn.models`.
    parameters : int
        How many it holds; a download that is much larger is refused.
    accuracy : float
        Top-1 on ImageNet's validation images, as published.
    fields : dict
        Of `WeightsInfo`, where they are not those of most networks: short side 256, the middle 224 x 224.
    """

    file: str
    architecture: str
    parameters: int
    accuracy: float
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """The first eight digits of the file's SHA-256."""
        found = re.search(r"-([0-9a-f]{8,64})\.", self.file)
        return found[1] if found else ""

    @property
    def most_bytes(self) -> int:
        """What the file cannot exceed: four bytes a parameter, and a little."""
        return int(4.1 * self.parameters) + 2**20

    def info_fields(self) -> dict[str, Any]:
        """Fields of `WeightsInfo`: preprocessing, accuracy, origin."""
        return {
            "input_size": 224,
            "resize": 256,
            "trained_on": TRAINED_ON,
            "accuracy": self.accuracy,
            "licence": LICENCE,
            "notes": f"torchvision's {self.file}; accuracy: top-1 on ImageNet's validation images, as published",
            **self.fields,
        }


# Inception's own normalisation, (x - 0.5) / 0.5, which torchvision applies within the network (`transform_input`).
_INCEPTION = {"input_size": 299, "resize": 342, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
PUBLISHED: dict[str, Published] = {
    "resnet18": Published("resnet18-f37072fd.pth", "resnet18", 11_689_512, 0.69758),
    "resnet34": Published("resnet34-b627a593.pth", "resnet34", 21_797_672, 0.73314),
    "resnet50": Published("resnet50-0676ba61.pth", "resnet50", 25_557_032, 0.76130),
    "resnet50-v2": Published("resnet50-11ad3fa6.pth", "resnet50", 25_557_032, 0.80858, {"resize": 232}),
    "vgg11": Published("vgg11-8a719046.pth", "vgg11", 132_863_336, 0.69020),
    "vgg11_bn": Published("vgg11_bn-6002323d.pth", "vgg11_bn", 132_868_840, 0.70370),
    "vgg16": Published("vgg16-397923af.pth", "vgg16", 138_357_544, 0.71592),
    "vgg16_bn": Published("vgg16_bn-6c64b313.pth", "vgg16_bn", 138_365_992, 0.73360),
    "alexnet": Published("alexnet-owt-7be5be79.pth", "alexnet", 61_100_840, 0.56522),
    "inception_v3": Published("inception_v3_google-0cc3c7bd.pth", "inception_v3", 27_161_264, 0.77294, _INCEPTION),
}


def published(name: str) -> Published:
    """The published weights of that name; raises ArgumentError for an unknown one."""
    if name not in PUBLISHED:
        raise ArgumentError("no published weights of that name", seen=repr(name)[:60], rule=", ".join(PUBLISHED))
    return PUBLISHED[name]

"""torchvision's ResNet-50, VGG, AlexNet and Inception-v3, rebuilt as tables over PyTorch's own layers.

torchvision is not needed, and not used. What matters is its names, the order of its parameters, and what is computed.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


class Bottleneck(nn.Module):
    def __init__(self, inplanes: int, planes: int, stride: int) -> None:
        super().__init__()
        shapes = ((inplanes, planes, 1, 1), (planes, planes, 3, stride), (planes, 4 * planes, 1, 1))
        for i, (a, b, k, s) in enumerate(shapes, 1):
            setattr(self, f"conv{i}", nn.Conv2d(a, b, k, s, k // 2, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(b))
        self.downsample = None
        if (stride, inplanes) != (1, 4 * planes):
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    def __init__(self, num_classes: int = 1000, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        planes = width
        for stage, (times, blocks) in enumerate(((1, 3), (2, 4), (4, 6), (8, 3)), 1):
            made = []
            for i in range(blocks):
                made.append(Bottleneck(planes, times * width, 2 if i == 0 and stage > 1 else 1))
                planes = 4 * times * width
            setattr(self, f"layer{stage}", nn.Sequential(*made))
        self.fc = nn.Linear(planes, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class FeaturesAndClassifier(nn.Module):
    """What VGG and AlexNet share: convolutions, pooling to a fixed size, linear layers."""

    def __init__(self, features: list[nn.Module], pixels: int, classifier: list[nn.Module]) -> None:
        super().__init__()
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d((pixels, pixels))
        self.classifier = nn.Sequential(*classifier)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


VGG = {"vgg11": "1 M 2 M 4 4 M 8 8 M 8 8 M", "vgg16": "1 1 M 2 2 M 4 4 4 M 8 8 8 M 8 8 8 M"}


def vgg(name: str, num_classes: int = 1000, width: int = 64) -> FeaturesAndClassifier:
    kind, _, norm = name.partition("_")
    layers: list[nn.Module] = []
    channels = 3
    for word in VGG[kind].split():
        if word == "M":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers.append(nn.Conv2d(channels, channels := int(word) * width, 3, padding=1))
            layers += [nn.BatchNorm2d(channels)] if norm else []
            layers.append(nn.ReLU())
    hidden = 64 * width
    head = [nn.Linear(49 * channels, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU()]
    return FeaturesAndClassifier(layers, 7, [*head, nn.Dropout(), nn.Linear(hidden, num_classes)])


def alexnet(num_classes: int = 1000, width: int = 64) -> FeaturesAndClassifier:
    w, hidden = width, 64 * width
    layers: list[nn.Module] = []
    table = ((3, w, 11, 4, 2), (w, 3 * w, 5, 1, 2), (3 * w, 6 * w, 3, 1, 1), (6 * w, 4 * w, 3, 1, 1))
    for i, shape in enumerate((*table, (4 * w, 4 * w, 3, 1, 1))):
        layers += [nn.Conv2d(*shape), nn.ReLU()]
        layers += [nn.MaxPool2d(3, 2)] if i in (0, 1, 4) else []
    head = [nn.Dropout(), nn.Linear(36 * 4 * w, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU()]
    return FeaturesAndClassifier(layers, 6, [*head, nn.Linear(hidden, num_classes)])


# ---- Inception-v3 ---------------------------------------------------------------------------------------------------


class ConvNormRelu(nn.Module):
    """A convolution of "RxS", or of "RxS/2" with stride 2 and without padding; batch norm of eps 0.001; ReLU."""

    def __init__(self, inputs: int, outputs: int, window: str, padded: bool = True) -> None:
        super().__init__()
        size, _, stride = window.partition("/")
        r, s = map(int, size.split("x"))
        padding = (r // 2, s // 2) if padded and not stride else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, (r, s), int(stride or 1), padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(self.conv(x)))


# Ways through a block: "name:outputs:window" one after the other; "|" ends a way, "{a b}" are two that follow together.
A = "1x1:64:1x1 | 5x5_1:48:1x1 5x5_2:64:5x5 | 3x3dbl_1:64:1x1 3x3dbl_2:96:3x3 3x3dbl_3:96:3x3 | avg _pool:P:1x1"
B = "3x3:384:3x3/2 | 3x3dbl_1:64:1x1 3x3dbl_2:96:3x3 3x3dbl_3:96:3x3/2 | max"
C = (
    "1x1:192:1x1 | 7x7_1:P:1x1 7x7_2:P:1x7 7x7_3:192:7x1 "
    "| 7x7dbl_1:P:1x1 7x7dbl_2:P:7x1 7x7dbl_3:P:1x7 7x7dbl_4:P:7x1 7x7dbl_5:192:1x7 | avg _pool:192:1x1"
)
D = "3x3_1:192:1x1 3x3_2:320:3x3/2 | 7x7x3_1:192:1x1 7x7x3_2:192:1x7 7x7x3_3:192:7x1 7x7x3_4:192:3x3/2 | max"
E = (
    "1x1:320:1x1 | 3x3_1:384:1x1 { 3x3_2a:384:1x3 3x3_2b:384:3x1 } "
    "| 3x3dbl_1:448:1x1 3x3dbl_2:384:3x3 { 3x3dbl_3a:384:1x3 3x3dbl_3b:384:3x1 } | avg _pool:192:1x1"
)
BLOCKS = {
    "Mixed_5b": (A, 32), "Mixed_5c": (A, 64), "Mixed_5d": (A, 64), "Mixed_6a": (B, 0), "Mixed_6b": (C, 128),
    "Mixed_6c": (C, 160), "Mixed_6d": (C, 160), "Mixed_6e": (C, 192), "Mixed_7a": (D, 0), "Mixed_7b": (E, 0),
    "Mixed_7c": (E, 0),
}  # fmt: skip


class Block(nn.Module):
    def __init__(self, inputs: int, ways: str, parameter: int, narrow: int) -> None:
        super().__init__()
        self.ways = [way.split() for way in ways.split("|")]
        self.outputs = 0
        for way in self.ways:
            channels, together = inputs, False
            for word in way:
                if word in ("avg", "max"):
                    continue
                if word in "{}":
                    together = word == "{"
                    continue
                name, outputs, window = word.split(":")
                made = (parameter if outputs == "P" else int(outputs)) // narrow
                setattr(self, f"branch{name}", ConvNormRelu(channels, made, window))
                if together:
                    self.outputs += made
                else:
                    channels = made
            self.outputs += 0 if way[-1] == "}" else channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        results = []
        for way in self.ways:
            y, together = x, False
            for word in way:
                if word == "avg":
                    y = F.avg_pool2d(y, 3, 1, 1)
                elif word == "max":
                    y = F.max_pool2d(y, 3, 2)
                elif word in "{}":
                    together = word == "{"
                else:
                    z = getattr(self, f"branch{word.split(':')[0]}")(y)
                    if together:
                        results.append(z)
                    else:
                        y = z
            if way[-1] != "}":
                results.append(y)
        return torch.cat(results, 1)


class Aux(nn.Module):
    def __init__(self, inputs: int, num_classes: int, narrow: int) -> None:
        super().__init__()
        self.conv0 = ConvNormRelu(inputs, 128 // narrow, "1x1")
        self.conv1 = ConvNormRelu(128 // narrow, 768 // narrow, "5x5", padded=False)
        self.fc = nn.Linear(768 // narrow, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv1(self.conv0(F.avg_pool2d(x, 5, 3))).mean((2, 3)))


class Inception3(nn.Module):
    def __init__(self, num_classes: int = 1000, width: int = 32, transform_input: bool = False) -> None:
        super().__init__()
        self.transform_input = transform_input
        narrow = 32 // width
        stem = (("1a_3x3", 3, 32, "3x3/2"), ("2a_3x3", 32, 32, "3x3"), ("2b_3x3", 32, 64, "3x3"))
        for name, a, b, window in (*stem, ("3b_1x1", 64, 80, "1x1"), ("4a_3x3", 80, 192, "3x3")):
            a = a if name == "1a_3x3" else a // narrow
            setattr(self, f"Conv2d_{name}", ConvNormRelu(a, b // narrow, window, padded=name == "2b_3x3"))
        channels = 192 // narrow
        for name, (ways, parameter) in BLOCKS.items():
            block = Block(channels, ways, parameter, narrow)
            setattr(self, name, block)
            channels = block.outputs
            if name == "Mixed_6e":
                self.AuxLogits = Aux(channels, num_classes, narrow)
        self.dropout = nn.Dropout()
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: torch.Tensor):
        if self.transform_input:
            mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], dtype=torch.float64).to(x)
            x = (x * std[:, None, None] + mean[:, None, None] - 0.5) / 0.5
        x = F.max_pool2d(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))), 3, 2)
        x = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, 2)
        aux = None
        for name in BLOCKS:
            x = getattr(self, name)(x)
            if name == "Mixed_6e" and self.training:
                aux = self.AuxLogits(x)
        y = self.fc(self.dropout(x.mean((2, 3))))
        return (y, aux) if self.training else y


def build(name: str, **options) -> nn.Module:
    if name.startswith("vgg"):
        return vgg(name, **options)
    return {"resnet50": ResNet50, "alexnet": alexnet, "inception_v3": Inception3}[name](**options)

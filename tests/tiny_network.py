"""A network of a few hundred parameters, for tests and for processes that tests start."""

from __future__ import annotations

from minicnn import nn


class Tiny(nn.Module):
    """Convolution, batch norm, pooling, dropout, a hidden linear layer, and the head."""

    def __init__(self, num_classes: int = 3, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.drop = nn.Dropout(0.1)
        self.hidden = nn.Linear(4 * width, 8)
        self.top = nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.pool(self.relu(self.bn(self.conv(x))))
        return self.top(self.relu(self.hidden(self.drop(x.flatten(1)))))

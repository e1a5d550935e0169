"""A small recorded run with every kind of step that the page explains term by term."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.study.page import Numbers
from minicnn.study.recording import record

HOSTILE = '</script><img src=x onerror="window.hacked=1"><b>&amp;\u202e'

spec = importlib.util.spec_from_file_location("chromium", Path(__file__).with_name("chromium.py"))
chromium = importlib.util.module_from_spec(spec)
sys.modules["chromium"] = chromium
spec.loader.exec_module(chromium)


class Network(nn.Module):
    """Convolutions with stride, groups and bias; batch norm with a shortcut; pooling; a linear head."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(4)
        self.conv3 = nn.Conv2d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2)
        self.mean = nn.AvgPool2d(2)
        self.global_mean = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        x = self.pool(self.bn1(self.conv1(x), relu=True))
        x = self.bn2(self.conv2(x), relu=True, residual=x)
        x = self.mean(self.conv3(x)) + 1.0 * self.global_mean(self.conv3(x))
        return self.fc(nn.functional.relu(self.global_mean(x)).flatten(1))


@pytest.fixture(scope="session")
def recording():
    """In training mode: batch norm has all three terms of its gradient."""
    minicnn.manual_seed(3)
    model = Network()
    images = np.random.default_rng(1).standard_normal((2, 2, 10, 9)).astype(np.float32)
    images[0, 0, :3, :3] = 0.5  # ties
    return record(model, images, [2, 0])


@pytest.fixture(scope="session")
def numbers(recording):
    return Numbers(recording, [HOSTILE, "dog", "cat"], title=f"a {HOSTILE}", about=HOSTILE)


class Others(nn.Module):
    """Operations whose terms come from Python: transposed convolution, recurrent layers, reductions, arithmetic."""

    def __init__(self):
        super().__init__()
        setattr(
            self, HOSTILE.replace(".", ""), nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2)
        )
        self.rnn, self.lstm, self.gru = nn.RNN(4, 3), nn.LSTM(3, 3), nn.GRU(3, 3)
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        x = next(self.children())(x)  # (2, 4, 6, 6)
        x = (x - x.mean(dim=(2, 3), keepdim=True)) / (nn.functional.softmax(x, dim=1) + 0.5)
        x = x * x.sum(dim=1, keepdim=True) + x.max(dim=3, keepdim=True)[0]
        x = x.mean(dim=3).transpose(1, 2).transpose(0, 1)  # (6, 2, 4): a row of the image a step
        for layer in (self.rnn, self.lstm, self.gru):
            x = layer(x)[0]
        return self.fc(x[-1])


def two_losses(scores, labels):
    """Cross-entropy with weights and smoothed labels, and a mean squared error."""
    loss = nn.CrossEntropyLoss(minicnn.tensor(np.float32([1, 2, 0.5])), label_smoothing=0.1)(scores, labels)
    return loss + nn.functional.mse_loss(scores, scores.detach() + 1.0) * 0.5


@pytest.fixture(scope="session")
def others():
    minicnn.manual_seed(4)
    images = np.random.default_rng(2).standard_normal((2, 2, 3, 3)).astype(np.float32)
    return Numbers(record(Others(), images, [2, 0], two_losses), ["a", "b", "c"], title="others")

"""Floor 4: layers with parameters, under PyTorch's names. The mathematics is in `minicnn.ops`."""

from minicnn.nn import functional, init, utils
from minicnn.nn.activation import Dropout, Dropout2d, ReLU, Sigmoid, Softmax, Tanh
from minicnn.nn.containers import ModuleList, Sequential
from minicnn.nn.conv import Conv2d, ConvTranspose2d
from minicnn.nn.linear import Flatten, Identity, Linear, Unflatten
from minicnn.nn.loss import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from minicnn.nn.module import Module, Parameter
from minicnn.nn.normalization import BatchNorm2d
from minicnn.nn.penalty import l1_penalty, l2_penalty
from minicnn.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from minicnn.nn.recurrent import GRU, LSTM, RNN
from minicnn.nn.recurrent_cells import GRUCell, LSTMCell, RNNCell
from minicnn.nn.summary import summary

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "GRUCell",
    "Identity",
    "LSTMCell",
    "Linear",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "Parameter",
    "RNNCell",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Unflatten",
    "functional",
    "init",
    "l1_penalty",
    "l2_penalty",
    "summary",
    "utils",
]

"""Weights for images of other channels or of another size than the network was trained with.

The first convolution adds up what it finds in each channel. A network for grey images gets the sum of its kernels over
the channels: it then answers as the network would if it were shown the grey image in every channel. For any other
number of channels the kernels are repeated in turn, and scaled so that their sum stays about as large::

    w'[k, 0] = sum_c w[k, c]                             one channel
    w'[k, i] = w[k, i mod C] C / C'                      C' channels instead of C
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from minicnn.weights.info import CHANNELS, MOST_CHANNELS, WeightsInfo


def fit_kernels(w: np.ndarray, channels: int) -> np.ndarray:
    """Kernels (K, C, R, S) of a first convolution as (K, `channels`, R, S), of the same dtype."""
    old = w.shape[1]
    if channels == old:
        return w
    if channels == 1:
        return w.sum(axis=1, keepdims=True, dtype=np.float64).astype(w.dtype)
    return (w[:, np.arange(channels) % old] * np.float64(old / channels)).astype(w.dtype)


def how_fitted(old: int, new: int) -> str:
    """What `fit_kernels` does, in words, for a report."""
    if new == 1:
        return "kernels summed over the channels"
    return f"kernels repeated and multiplied by {old}/{new}"


def adapted(info: WeightsInfo, in_channels: int | None = None, input_size: int | None = None) -> WeightsInfo:
    """What a network made from these weights says about its images.

    Parameters
    ----------
    info : WeightsInfo
        Of the file.
    in_channels : int, optional
        Channels of the images, if they are to be others than the file's. Means and deviations follow the kernels:
        averaged for grey, else repeated in turn.
    input_size : int, optional
        Height and width of the images; `resize` keeps its proportion to it.
    """
    old = info.arguments.get("in_channels", 3)
    if in_channels is not None and in_channels != old:
        info = _without_transform_input(info)
        info = replace(
            info,
            arguments={**info.arguments, "in_channels": in_channels},
            mean=_cycled(info.mean, in_channels),
            std=_cycled(info.std, in_channels),
            channels=next((name for name, count in CHANNELS.items() if count == in_channels), info.channels),
        )
    if input_size is not None and input_size != info.input_size:
        resize = None if info.resize is None else round(info.resize * input_size / info.input_size)
        info = replace(info, input_size=input_size, resize=resize)
    return info


def _cycled(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) == 1:
        return values
    if channels == 1 or channels > MOST_CHANNELS:
        return (sum(values) / len(values),)
    return tuple(values[i % len(values)] for i in range(channels))


def _without_transform_input(info: WeightsInfo) -> WeightsInfo:
    """An Inception that turns ImageNet's normalisation into its own, as one that takes its own at once."""
    if not info.arguments.get("transform_input"):
        return info
    half = (0.5,) * len(info.mean)
    return replace(info, arguments={**info.arguments, "transform_input": False}, mean=half, std=half)

"""What a weights file says about its weights: the network, its classes, its preprocessing, its origin."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from minicnn.data.transforms.geometry import INTERPOLATIONS
from minicnn.errors import WeightsError

if TYPE_CHECKING:
    from minicnn.data.transforms import Compose

CHANNELS = {"RGB": 3, "BGR": 3, "L": 1}  # the orders that a network may have learned, and how many channels each has
LARGEST_SIDE = 4_096  # of images: every image is resized to what the file says
MOST_CHANNELS = 16  # whose means and deviations a file may name
# Fields that older files lack; at their default they are not written, so that such files stay the same bytes.
OPTIONAL = ("resize", "interpolation", "antialias", "channels", "scale")


@dataclass
class WeightsInfo:
    """Attributes at the root of a weights file.

    Attributes
    ----------
    architecture : str
        Name in `minicnn.models`, "resnet18".
    arguments : dict
        Arguments of that function: num_classes, width, stem, ...
    classes : list of str
        Names of the classes, in the order of the logits.
    input_size : int
        Height and width of the images, which are cut out of the middle; at most 4,096, as `resize`.
    mean, std : tuple of floats
        Normalisation of each channel, in the order of `channels`, for values from 0 to `scale`.
    trained_on : str
    accuracy : float or None
        Measured share of right answers, between 0 and 1; `notes` says on what.
    licence, notes : str
    log : list of dicts
        One row an epoch.
    resize : int or None
        Length of an image's short side before `input_size` is cut out; None: `input_size`.
    interpolation : str
        How images are resized: one of `INTERPOLATIONS`.
    antialias : bool
        Whether an image is smoothed where it shrinks.
    channels : str
        Order of the channels: "RGB", "BGR" (networks from Caffe, and some of Keras) or "L" (grey, one channel).
    scale : 1 or 255
        Largest value of a pixel before the normalisation.
    """

    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    input_size: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    trained_on: str = ""
    accuracy: float | None = None
    licence: str = ""
    notes: str = ""
    log: list[dict[str, Any]] = field(default_factory=list)
    resize: int | None = None
    interpolation: str = "bilinear"
    antialias: bool = True
    channels: str = "RGB"
    scale: int = 1

    def transforms(self, grey: bool = False) -> Compose:
        """From an image to the array that the network takes: see `minicnn.weights.preprocessing`."""
        from minicnn.weights.preprocessing import transforms_of

        return transforms_of(self, grey)

    def to_attributes(self) -> dict[str, str]:
        """Each field as text: plain text as it is, the rest as JSON; `OPTIONAL` ones where they differ."""
        texts = {}
        values = asdict(self)
        for item in fields(self):
            value = values[item.name]
            is_default = type(value) is type(item.default) and value == item.default
            if not (item.name in OPTIONAL and is_default):
                texts[item.name] = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
        return texts

    @classmethod
    def from_attributes(cls, texts: dict[str, str], called: str) -> WeightsInfo:
        """The reverse of `to_attributes`; every value is checked before it is believed."""
        values: dict[str, Any] = {}
        for item in fields(cls):
            if item.name not in texts:
                if item.name in OPTIONAL:
                    values[item.name] = item.default
                    continue
                raise WeightsError(
                    f"the attribute {item.name!r} is missing", called=called, rule="a minicnn weights file"
                )
            text = texts[item.name]
            if item.type == "str":
                values[item.name] = text
                continue
            try:
                values[item.name] = json.loads(text)
            except (ValueError, RecursionError):
                raise WeightsError(f"the attribute {item.name!r} is not JSON", called=called, seen=text[:40]) from None
        _check(values, called)
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


def _check(values: dict[str, Any], called: str) -> None:
    def number(value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30  # never NaN

    def size(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65_536

    def side(value: Any) -> bool:
        return size(value) and value <= LARGEST_SIDE

    def numbers(value: Any) -> bool:
        return isinstance(value, list) and 1 <= len(value) <= MOST_CHANNELS and all(map(number, value))

    arguments = values["arguments"]
    rules = {
        "arguments": isinstance(arguments, dict)
        and all(size(v) or isinstance(v, (str, bool)) for v in arguments.values()),
        "classes": isinstance(values["classes"], list) and all(isinstance(name, str) for name in values["classes"]),
        "input_size": side(values["input_size"]),
        "mean": numbers(values["mean"]),
        "std": numbers(values["std"]) and len(values["std"]) == len(values["mean"]) and min(values["std"]) > 0,
        "accuracy": values["accuracy"] is None or (number(values["accuracy"]) and 0 <= values["accuracy"] <= 1),
        "log": isinstance(values["log"], list) and all(isinstance(row, dict) for row in values["log"]),
        "resize": values["resize"] is None or side(values["resize"]),
        "interpolation": values["interpolation"] in INTERPOLATIONS,
        "antialias": isinstance(values["antialias"], bool),
        "channels": values["channels"] in CHANNELS,
        "scale": size(values["scale"]) and values["scale"] in (1, 255),
    }
    for name, fits in rules.items():
        if not fits:
            raise WeightsError(
                f"the attribute {name!r} has a value that cannot be", called=called, seen=str(values[name])[:60]
            )

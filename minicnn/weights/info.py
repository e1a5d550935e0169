"""What a weights file says about its weights: the network, its classes, its preprocessing, its origin."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from minicnn.errors import WeightsError


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
        Height and width of the images.
    mean, std : tuple of floats
        Normalisation of each channel, for values from 0 to 1.
    trained_on : str
    accuracy : float or None
        Measured share of right answers, between 0 and 1; `notes` says on what.
    licence, notes : str
    log : list of dicts
        One row an epoch.
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

    def to_attributes(self) -> dict[str, str]:
        """Each field as text: plain text as it is, the rest as JSON."""
        texts = {}
        for name, value in asdict(self).items():
            texts[name] = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
        return texts

    @classmethod
    def from_attributes(cls, texts: dict[str, str], called: str) -> WeightsInfo:
        """The reverse of `to_attributes`; every value is checked before it is believed."""
        values: dict[str, Any] = {}
        for item in fields(cls):
            if item.name not in texts:
                raise WeightsError(
                    f"the attribute {item.name!r} is missing", called=called, rule="a minicnn weights file"
                )
            text = texts[item.name]
            if item.name in ("architecture", "trained_on", "licence", "notes"):
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

    def numbers(value: Any) -> bool:
        return isinstance(value, list) and 1 <= len(value) <= 16 and all(map(number, value))

    arguments = values["arguments"]
    rules = {
        "arguments": isinstance(arguments, dict) and all(size(v) or isinstance(v, str) for v in arguments.values()),
        "classes": isinstance(values["classes"], list) and all(isinstance(name, str) for name in values["classes"]),
        "input_size": size(values["input_size"]),
        "mean": numbers(values["mean"]),
        "std": numbers(values["std"]) and len(values["std"]) == len(values["mean"]) and min(values["std"]) > 0,
        "accuracy": values["accuracy"] is None or (number(values["accuracy"]) and 0 <= values["accuracy"] <= 1),
        "log": isinstance(values["log"], list) and all(isinstance(row, dict) for row in values["log"]),
    }
    for name, fits in rules.items():
        if not fits:
            raise WeightsError(
                f"the attribute {name!r} has a value that cannot be", called=called, seen=str(values[name])[:60]
            )

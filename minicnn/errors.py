"""Errors: one line that says what was called, what is wrong, what was seen, the rule, and a hint.

Every error that a user can cause is a `MinicnnError`. It is raised in Python, before compiled code runs, and
prints as one line::

    layer1.0.conv1: conv2d: the channels of x and w differ; seen x (2, 4, 8, 8), w (8, 3, 3, 3), groups 1;
    rule: C = w.shape[1] * groups; hint: give 3 channels

The path of the layer (`layer1.0.conv1`) is filled in by `nn.Module` while the error travels up through the network.
"""

from __future__ import annotations


class MinicnnError(Exception):
    """Base of all errors that a user can cause.

    Parameters
    ----------
    problem : str
        What is wrong, in a few words.
    called : str
        The function, layer or file that was at work.
    seen : str
        The values that were found (shapes, dtypes, names).
    rule : str
        The rule that they break.
    hint : str
        What to do.
    """

    def __init__(self, problem: str, *, called: str = "", seen: str = "", rule: str = "", hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.called = called
        self.seen = seen
        self.rule = rule
        self.hint = hint
        self.layer = ""  # dotted path of the layer, set by nn.Module
        self.module: object | None = None  # the innermost module that was running

    def __str__(self) -> str:
        head = ": ".join(part for part in (self.layer, self.called, self.problem) if part)
        tail = [f"seen {self.seen}"] if self.seen else []
        tail += [f"rule: {self.rule}"] if self.rule else []
        tail += [f"hint: {self.hint}"] if self.hint else []
        return printable("; ".join([head, *tail]))


def printable(text: str) -> str:
    """The text with control characters written out: a file's words must not steer the terminal that shows them."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


class ShapeError(MinicnnError, ValueError):
    """Shapes that do not fit each other or the operation."""


class DTypeError(MinicnnError, TypeError):
    """A dtype (or Python type) that the operation does not take."""


class ArgumentError(MinicnnError, ValueError):
    """An argument out of its range, or an unknown name."""


class AlgorithmError(MinicnnError, ValueError):
    """An algorithm that is unknown, or that does not support the problem it was asked for."""


class DeviceError(MinicnnError, RuntimeError):
    """Arrays on different devices, or a device that is not there."""


class GraphError(MinicnnError, RuntimeError):
    """A backward pass that cannot run: no graph, or its saved arrays are already released."""


class WeightsError(MinicnnError, ValueError):
    """A weights file that is broken, hostile, or for another network."""


class DataError(MinicnnError, ValueError):
    """A data set, folder or image that cannot be used."""


class DivergedError(MinicnnError, ArithmeticError):
    """A training whose numbers became NaN or infinite."""


class MismatchError(MinicnnError, ArithmeticError):
    """An explanation whose terms do not add up to what the engine computed."""


class MissingPackageError(MinicnnError, ImportError):
    """An optional package that is needed now is not installed."""

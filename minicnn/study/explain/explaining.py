"""The way in: from a network, or a recording of its run, a layer and an index to an explanation."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minicnn import nn
from minicnn.autograd import Tensor
from minicnn.backends.arrays import moved
from minicnn.errors import ArgumentError, GraphError, ShapeError
from minicnn.models.vae import Autoencoder, VAEOutput
from minicnn.nn import functional as F  # noqa: N812
from minicnn.ops.registry import OPERATIONS
from minicnn.ops.windows import is_whole
from minicnn.study.explain.asked import EXPLAINERS, Asked
from minicnn.study.explain.explanation import Explanation
from minicnn.study.explain.terms import Index
from minicnn.study.explain.users import explain_users
from minicnn.study.recording import Recording, Step, record

SHORT = {"w": "weight", "b": "bias"}
PREFERRED = ("conv2d", "conv_transpose2d", "linear", "rnn", "lstm", "gru")


def explain(
    model: nn.Module,
    images: Any,
    labels: Any = None,
    layer: str | None = None,
    at: Sequence[int] | None = None,
    grad: str | None = None,
    *,
    step: int | None = None,
    loss_function: Callable[[Any, Any], Tensor] | None = None,
) -> Explanation:
    """Where one number of a run comes from: formula, terms, sum, and the engine's value, which it must equal.

    The network runs as it is, in training or evaluation mode, and is left as it was, and so is the random generator:
    dropout draws what the next run will draw.

    Parameters
    ----------
    model : Module
    images : array or Tensor (N, C, H, W), float
        Or whatever the network takes.
    labels : array (N,) of integers, optional
        Needed for gradients: the loss is taken against them. A variational autoencoder's loss needs none.
    layer : str, optional
        Dotted path, `"layer1.0.conv1"`; `"loss"`; or `"images"` or the name of a parameter, for its whole gradient.
        By default the first convolution.
    at : sequence of int, optional
        Index in the output, or with `grad` in that input; the first axis, the image's, may be left out. By default
        where the largest absolute value stands.
    grad : str, optional
        `"x"`, `"w"`, `"b"`, ...: the gradient that the layer sends back to this input; `"y"`: that of its output, the
        sum over all that used it.
    step : int, optional
        Which step of the recording, where a layer runs several operations; by default its last one.
    loss_function : callable, optional
        `loss_function(output, labels)`; by default cross-entropy, or the loss of a variational autoencoder.

    Returns
    -------
    Explanation

    Raises
    ------
    ArgumentError, ShapeError, GraphError
        One clear error: no such layer, an index outside of the array, images of a wrong size, no labels for a gradient.
    MismatchError
        The terms do not give the engine's value.

    Examples
    --------
    >>> import minicnn
    >>> model = minicnn.nn.Sequential(minicnn.nn.Conv2d(1, 2, 3, padding=1), minicnn.nn.ReLU())
    >>> found = minicnn.explain(model, minicnn.ones(1, 1, 4, 4), layer="0", at=(0, 1, 1))
    >>> len(found.terms), found.agrees
    (10, True)
    """
    return explain_recording(recorded(model, images, labels, loss_function), layer, at, grad, step=step)


def recorded(
    model: nn.Module, images: Any, labels: Any = None, loss_function: Callable[[Any, Any], Tensor] | None = None
) -> Recording:
    """`record`, with the loss of the network's kind."""
    if not isinstance(model, nn.Module):
        raise ArgumentError("not a network", called="explain", seen=type(model).__name__, rule="an nn.Module")
    if loss_function is None and isinstance(model, Autoencoder):
        return record(model, images, images, negative_elbo)
    return record(model, images, labels, loss_function)


def negative_elbo(output: VAEOutput, images: Tensor) -> Tensor:
    """The loss of `models.vae`: reconstruction + KL, in nats for an image."""
    likelihood = F.binary_cross_entropy_with_logits(output.logits, images, reduction="sum") * (1.0 / len(images))
    return likelihood + F.gaussian_kl(output.mean, output.log_variance, reduction="mean")


def explain_recording(
    recording: Recording,
    layer: str | None = None,
    at: Sequence[int] | None = None,
    grad: str | None = None,
    *,
    step: int | Step | None = None,
) -> Explanation:
    """`explain` for a run that is recorded already; arguments as there."""
    tensor = None if layer is None else named_tensor(recording, layer)
    if layer is not None and tensor is not None:
        if grad is not None or step is not None:
            rule = "images and parameters are explained by their gradients"
            raise ArgumentError("no layer", called=f"explain {layer}", rule=rule, hint="leave out grad and step")
        gradient, batched = _gradient_of(recording, tensor, layer), tensor is recording.images
        return explain_users(recording, tensor, find_index(gradient.shape, at, gradient, batched, layer))
    chosen = _step(recording, layer, step, grad)
    if grad == "y":
        dy = _needs_gradient(chosen, "dy")
        return explain_users(recording, chosen.output, find_index(dy.shape, at, dy, True, _name(chosen)))
    quantity = "y" if grad is None else f"grad {_input_name(chosen, grad)}"
    explainer = explainer_of(chosen, quantity)
    value = moved(chosen.output.array, "cpu") if grad is None else _own_gradient(chosen, quantity[5:])
    batched = grad is None or _is_activation(recording, chosen, quantity[5:])
    index = find_index(value.shape, at, value, batched, _name(chosen))
    asked = Asked(recording, chosen, quantity, index)
    return asked.explanation(explainer(asked), float(value[index]))


def explainer_of(step: Step, quantity: str) -> Any:
    """Who explains this quantity of this step; one clear error where nobody does."""
    name = step.operation.name
    known = EXPLAINERS.get(name, {})
    if quantity not in known:
        seen = quantity if known else f"operation {name}"
        rule = f"{name} has {', '.join(known)}" if known else f"explained are {', '.join(sorted(EXPLAINERS))}"
        raise ArgumentError("nobody explains this", called=f"explain {_name(step)}", seen=seen, rule=rule)
    return known[quantity]


def unexplained() -> list[str]:
    """Names of registered operations without an explainer."""
    return sorted(set(OPERATIONS) - set(EXPLAINERS))


# ---- which step -----------------------------------------------------------------------------------------------------


def _step(recording: Recording, layer: str | None, step: int | Step | None, grad: str | None) -> Step:
    """The step that is meant."""
    if isinstance(step, Step):
        return step
    if step is not None:
        if not is_whole(step) or not 0 <= step < len(recording.steps):
            rule = f"0..{len(recording.steps) - 1}"
            raise ArgumentError("there is no such step", called="explain", seen=f"step {step}", rule=rule)
        chosen = recording.steps[step]
        if layer is not None and chosen.layer != layer and not chosen.layer.startswith(f"{layer}."):
            raise ArgumentError(
                "the step is of another layer", called="explain", seen=f"step {step} of {chosen.layer!r}", rule=layer
            )
        return chosen
    steps = recording.steps if layer is None else steps_of(recording, layer)
    if layer is None:
        return next((s for s in steps if s.operation.name in PREFERRED), steps[0])
    if grad is not None and grad != "y":  # the last one that has this input
        fitting = [s for s in steps if {grad, SHORT.get(grad, grad)} & set(s.names)]
        steps = fitting or steps
    return steps[-1]


def steps_of(recording: Recording, layer: str) -> list[Step]:
    """The steps of a layer, `"loss"`, or for `""` all; one clear error where it has none."""
    steps = recording.of_layer(layer) if layer else recording.steps
    if steps:
        return steps
    ran = list(dict.fromkeys(s.layer for s in recording.steps if s.layer))
    exists = layer in dict(recording.model.named_modules())
    if layer == "loss":
        raise GraphError(
            "this run has no loss", called="explain loss", hint="give labels: the loss is taken against them"
        )
    model = recording.model
    known = [
        *ran,
        *(path for path, _ in model.named_modules() if path),
        *(path for path, _ in model.named_parameters()),
    ]
    near = difflib.get_close_matches(layer, ran if exists else dict.fromkeys([*known, "images"]), 4, 0.3) or ran[:4]
    raise ArgumentError(
        "this layer ran no operation" if exists else "there is no such layer",
        called="explain",
        seen=repr(layer),
        rule="a layer that does something in this run, alone (a ReLU may be done by the batch norm before it)"
        if exists
        else f"one of {len(ran)} layers that ran",
        hint=f"nearest: {', '.join(near)}",
    )


def _name(step: Step) -> str:
    return f"{step.layer or 'network'}: {step.operation.name}"


def _input_name(step: Step, grad: str) -> str:
    """The name of an input: as it is, in short, or x for the first one."""
    names = [name for name, tensor in zip(step.names, step.inputs, strict=True) if tensor is not None]
    for name in (grad, SHORT.get(grad, "")):
        if name in names:
            return name
    if grad == "x" and names:
        return names[0]
    raise ArgumentError(
        "the operation has no such input",
        called=f"explain {_name(step)}",
        seen=f"grad {grad!r}",
        rule=f"{', '.join(names)}, or y for the gradient of its output",
    )


# ---- which number ---------------------------------------------------------------------------------------------------


def _needs_gradient(step: Step, what: str) -> np.ndarray:
    if step.dy is None:
        step.gradients()  # raises, and says why
        raise GraphError("no gradient came here", called=f"explain {_name(step)}", seen=what)
    return moved(step.dy, "cpu")


def _own_gradient(step: Step, name: str) -> np.ndarray:
    found = step.gradients()
    if name not in found:
        raise GraphError(
            "no gradient goes to this input",
            called=f"explain {_name(step)}",
            seen=name,
            rule=f"it goes to {', '.join(found)}",
            hint="constants and labels have none",
        )
    return moved(found[name], "cpu")


def _is_activation(recording: Recording, step: Step, name: str) -> bool:
    """Whether an input is computed from the images: then its first axis is theirs."""
    tensor = step.inputs[step.names.index(name)]
    return not any(parameter is tensor for parameter in recording.model.parameters())


def find_index(shape: Index, at: Sequence[int] | None, values: np.ndarray, batched: bool, name: str) -> Index:
    """The index as it is meant, inside of the array."""
    if at is None:
        if not values.size:
            raise ShapeError("there is no number to explain", called=f"explain {name}", seen=f"shape {shape}")
        size = np.where(np.isnan(values), np.inf, np.abs(values))
        return tuple(int(i) for i in np.unravel_index(int(np.argmax(size)), shape))
    index = tuple(at)
    if not all(is_whole(i) for i in index):
        raise ArgumentError("not an index", called=f"explain {name}", seen=f"{list(index)}", rule="whole numbers")
    index = tuple(int(i) for i in index)
    if batched and len(index) == len(shape) - 1:
        index = (0, *index)
    if len(index) != len(shape) or not all(0 <= i < size for i, size in zip(index, shape, strict=True)):
        rule = ", ".join(f"0..{size - 1}" for size in shape) or "no index: a single number"
        raise ShapeError(
            "the index is outside of the array" if len(index) == len(shape) else "the index has another number of axes",
            called=f"explain {name}",
            seen=f"[{','.join(map(str, index))}], shape {shape}",
            rule=rule,
            hint="the first axis, the image's, may be left out" if batched and len(shape) > 1 else "",
        )
    return index


def named_tensor(recording: Recording, name: str) -> Tensor | None:
    """The images, or the parameter of that name."""
    if name == "images":
        return recording.images
    return dict(recording.model.named_parameters()).get(name)


def _gradient_of(recording: Recording, tensor: Tensor, name: str) -> np.ndarray:
    found = recording.gradients.get(name)
    if found is None and tensor is recording.images and tensor.grad is not None:
        found = tensor.grad.array
    if found is None:
        raise GraphError(
            "no gradient came here",
            called=f"explain {name}",
            hint="give labels, so that there is a loss to go back from",
        )
    return moved(found, "cpu")

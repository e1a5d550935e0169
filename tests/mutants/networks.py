"""Wrong machinery: the tape, layers, optimizers, batches, weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from mutants.mutant import mutant

from minicnn import autograd, nn, optim
from minicnn.autograd import Node, Tensor
from minicnn.data import DataLoader
from minicnn.nn.module import Module
from minicnn.weights import archive, report


@mutant("tape: the gradient of a tensor used twice is overwritten", "test_autograd")
def _(patch: Any) -> None:
    def wrong(self: Tensor, gradient: Any) -> None:
        self.grad = Tensor(gradient.copy())

    patch.setattr(Tensor, "add_grad", wrong)


@mutant("tape: inner gradients are overwritten", "test_autograd")
def _(patch: Any) -> None:
    patch.setattr(autograd, "_plus", lambda a, b: b)


@mutant("tape: nodes in the order in which they are found", "test_autograd")
def _(patch: Any) -> None:
    def wrong(root: Node) -> list[Node]:
        order, stack = [], [root]
        while stack:
            node = stack.pop()
            if node not in order:
                order.append(node)
                stack.extend(p for p in node.parents if isinstance(p, Node))
        return order

    patch.setattr(autograd, "_reverse_topological", wrong)


@mutant("tape: no_grad records", "test_autograd")
def _(patch: Any) -> None:
    patch.setattr(
        autograd,
        "_recording",
        type("Always", (), {"get": lambda _: True, "set": lambda *_: None, "reset": lambda *_: None})(),
    )


@mutant("tape: saved arrays are never released", "test_autograd")
def _(patch: Any) -> None:
    right = Tensor.backward
    patch.setattr(Tensor, "backward", lambda self, gradient=None, retain_graph=False: right(self, gradient, True))


@mutant("tape: frozen inputs save their arrays", "test_autograd")
def _(patch: Any) -> None:
    from minicnn.ops.registry import Operation, operation

    assert Operation
    right = operation("mul").record
    patch.setattr(operation("mul"), "record", lambda needs, *arrays, **options: right((True, True), *arrays, **options))


@mutant("module: freezing keeps the parameters, but not the statistics", "nn/test_freezing")
def _(patch: Any) -> None:
    def wrong(self: Module, mode: bool = True) -> Module:
        for module in self.modules():
            object.__setattr__(module, "training", mode)
        return self

    patch.setattr(Module, "train", wrong)


@mutant("module: frozen parameters still collect gradients", "nn/test_freezing")
def _(patch: Any) -> None:
    patch.setattr(Module, "requires_grad_", lambda self, requires_grad=True: self)


@mutant("module: missing names are no matter", "nn/test_state")
def _(patch: Any) -> None:
    right = Module.load_state_dict
    patch.setattr(Module, "load_state_dict", lambda self, state, strict=True: right(self, state, False))


@mutant("module: state_dict gives the arrays themselves", "nn/test_state")
def _(patch: Any) -> None:
    patch.setattr(
        Module, "state_dict", lambda self: {n: t.array for n, t in self._named_tensors("_parameters", "_buffers")}
    )


@mutant("batch norm layer: the batch's statistics in evaluation", "nn/test_normalization")
def _(patch: Any) -> None:
    right = nn.functional.batch_norm
    patch.setattr(nn.functional, "batch_norm", lambda x, m, v, w, b, training, *rest: right(x, m, v, w, b, True, *rest))


@mutant("dropout layer: drops in evaluation", "nn/test_layers")
def _(patch: Any) -> None:
    right = nn.functional.dropout
    patch.setattr(nn.functional, "dropout", lambda x, p=0.5, training=True: right(x, p, True))


def _sgd(patch: Any, **changes: Any) -> None:
    right = optim.SGD.update
    patch.setattr(optim.SGD, "update", lambda self, w, g, state, group: right(self, w, g, state, {**group, **changes}))


@mutant("SGD: no weight decay", "optim/test_optimizers")
def _(patch: Any) -> None:
    _sgd(patch, weight_decay=0.0)


@mutant("SGD: nesterov is plain momentum", "optim/test_optimizers")
def _(patch: Any) -> None:
    _sgd(patch, nesterov=False)


@mutant("SGD: dampening ignored", "optim/test_optimizers")
def _(patch: Any) -> None:
    _sgd(patch, dampening=0.0)


@mutant("Adam: no correction of the bias", "optim/test_optimizers")
def _(patch: Any) -> None:
    def wrong(self: optim.Adam, w: np.ndarray, g: np.ndarray, state: dict, group: dict) -> None:
        beta1, beta2 = group["betas"]
        g = g + group["weight_decay"] * w
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(w), exp_avg_sq=np.zeros_like(w))
        state["step"] += 1
        state["exp_avg"] += (1 - beta1) * (g - state["exp_avg"])
        state["exp_avg_sq"] += (1 - beta2) * (g * g - state["exp_avg_sq"])
        w -= group["lr"] * state["exp_avg"] / (np.sqrt(state["exp_avg_sq"]) + group["eps"])

    patch.setattr(optim.Adam, "update", wrong)


@mutant("Adam: epsilon inside the root", "optim/test_optimizers")
def _(patch: Any) -> None:
    right = optim.Adam.update

    def wrong(self: optim.Adam, w: np.ndarray, g: np.ndarray, state: dict, group: dict) -> None:
        right(self, w, g, state, {**group, "eps": group["eps"] ** 0.5})

    patch.setattr(optim.Adam, "update", wrong)


@mutant("DataLoader: the same order in every epoch", "data/test_loader")
def _(patch: Any) -> None:
    right = DataLoader.order
    patch.setattr(DataLoader, "order", lambda self, epoch: right(self, 0))


@mutant("weights: the checksum is not looked at", "weights/test_hostile")
def _(patch: Any) -> None:
    patch.setattr(archive, "_digest", lambda arrays, attributes: attributes.get("sha256", "0" * 64))


@mutant("weights: names that do not match are passed over", "weights/test_report")
def _(patch: Any) -> None:
    patch.setattr(report.LoadReport, "raise_unless_complete", lambda self, *, strict=True: None)

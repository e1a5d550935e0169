"""The whole gradient of a tensor: the sum of what each operation that used it sends back."""

from __future__ import annotations

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backends.arrays import moved
from minicnn.study.explain.asked import Answer, Asked
from minicnn.study.explain.explanation import Explanation
from minicnn.study.explain.notation import at, equals, sum_over
from minicnn.study.explain.terms import Block, Index, block
from minicnn.study.recording import Recording


def explain_users(recording: Recording, tensor: Tensor, index: Index) -> Explanation:
    """dL/dt[index], summed over the users of t; each term names one of them."""
    users = [(step, name) for step, name in recording.users(tensor) if step.dy is not None]
    maker = recording.maker(tensor)
    name = recording.name_of(tensor)
    engine, parameter = tensor.grad, recording.gradients.get(name)
    value = float(moved(parameter if parameter is not None or engine is None else engine.array, "cpu")[index])
    first = maker or users[0][0]
    asked = Asked(recording, first, "grad y" if maker else f"grad {name}", index)
    blocks: list[Block] = []
    for step, argument in users:
        dx = step.gradients().get(argument)
        if dx is not None:
            source = f"sent back by {step.layer or 'network'}: {step.operation.name} (step {step.number})"
            column = asked.column(f"d{argument}", *index, array=moved(dx, "cpu"), source=source)
            blocks.append(block(f"{step.layer or 'network'}: {step.operation.name}", column))
    symbol = "dy" if maker else f"d({name})"
    words = f"{name} was used by " + ", ".join(f"{s.layer or 'network'} ({s.operation.name}, {n})" for s, n in users)
    if not blocks and tensor is recording.loss:
        one = asked.column("dL/dL", array=np.ones(1), source="the beginning of the backward pass", *[0])  # noqa: B026
        blocks, words = [block("the loss itself", one)], "this is the loss: its gradient with respect to itself is 1"
    answer = Answer(
        equals(at(symbol, "i"), sum_over("users", at("dx", "user", "i"))),
        equals(at(symbol, *index), sum_over(f"{len(blocks)} users", at("dx", "user", *index))),
        blocks,
        words=words,
    )
    made = asked.explanation(answer, value, symbol)
    return _with_quantity(made, asked.quantity)


def _with_quantity(made: Explanation, quantity: str) -> Explanation:
    from dataclasses import replace

    return replace(made, quantity=quantity)

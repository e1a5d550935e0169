"""The whole gradient of a tensor: the sum of what each operation that used it sends back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backends.arrays import moved
from minicnn.study.explain.asked import Answer, Asked, explain_gradient
from minicnn.study.explain.explanation import Explanation
from minicnn.study.explain.notation import Part, at, equals, sum_over
from minicnn.study.explain.terms import Block, Index, block, counted
from minicnn.study.recording import Recording


def explain_users(recording: Recording, tensor: Tensor, index: Index) -> Explanation:
    """dL/dt[index], summed over the users of t; each term names one of them, and a part explains it.

    What the images or a parameter get from their only user is explained as that user's gradient.
    """
    every, name, maker = recording.users(tensor), recording.name_of(tensor), recording.maker(tensor)
    users = [(s, n) for s, n in every if s.dy is not None and n in s.gradients()]
    said = ", ".join(f"{s.layer or 'network'} ({s.operation.name}, {n})" for s, n in every)
    parts = [explain_gradient(recording, step, argument, index) for step, argument in users]
    if len(every) == len(users) == 1 and maker is None:
        return replace(
            parts[0], notes=(*parts[0].notes, f"{name} was used by {said} alone: this is its whole gradient")
        )
    engine, parameter = tensor.grad, recording.gradients.get(name)
    value = float(moved(parameter if parameter is not None or engine is None else engine.array, "cpu")[index])
    asked = Asked(recording, maker or every[0][0], "grad y" if maker else f"grad {name}", index)
    blocks: list[Block] = []
    for (step, argument), part in zip(users, parts, strict=True):
        source = f"sent back by {step.layer or 'network'}: {step.operation.name} (step {step.number})"
        sent = moved(step.gradients()[argument], "cpu")
        column = asked.column(f"d{argument}", *index, array=sent, source=source)
        blocks.append(block(f"{part.layer or 'network'}: {part.operation}", column))
    symbol, words = "dy" if maker else f"d({name})", f"{name} was used by {said}"
    if not blocks and tensor is recording.loss:
        one = asked.column("dL/dL", array=np.array(1.0), source="the beginning of the backward pass")
        blocks, words = [block("the loss itself", one)], "this is the loss: its gradient with respect to itself is 1"
        here: Part = 1
    else:
        here = sum_over(counted(len(blocks), "user"), at("dx", "user", *index))
    answer = Answer(
        equals(at(symbol, "i"), sum_over("users", at("dx", "user", "i"))),
        equals(at(symbol, *index) if index else symbol, here),
        blocks,
        words=words,
        parts=parts,
    )
    return replace(asked.explanation(answer, value, symbol), quantity=asked.quantity)

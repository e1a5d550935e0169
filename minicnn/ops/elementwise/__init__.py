r"""Arithmetic, element by element: add, sub, mul, div; and functions of one variable: pow, exp, log, sigmoid, tanh.

Of two operands (`binary.py`), with NumPy's broadcasting: `a`, `b` of shapes that fit, `y`, `dy` of the common shape. An
operand that was repeated along an axis gets the sum of its gradients over that axis (written sum_rep)::

    add   y = a + b      da = sum_rep dy          db = sum_rep dy
    sub   y = a - b      da = sum_rep dy          db = -sum_rep dy
    mul   y = a b        da = sum_rep dy b        db = sum_rep dy a
    div   y = a / b      da = sum_rep dy / b      db = -sum_rep dy (a / b) / b

Of one variable (`unary.py`): `x`, `y`, `dy` of one shape. Where y says all that the gradient needs, x can go::

    pow      y = x^e              dx = dy e x^(e-1)     (0 for e = 0)       keeps x
    exp      y = e^x              dx = dy y                                 keeps y
    log      y = ln x             dx = dy / x                               keeps x
    sigmoid  y = 1 / (1 + e^-x)   dx = dy y (1 - y)                         keeps y
    tanh     y = tanh x           dx = dy (1 - y^2)                         keeps y

e^-x overflows for very negative x. The sigmoid therefore uses t = e^-|x| <= 1: y = 1 / (1 + t) for x >= 0 and
y = t / (1 + t) for x < 0, which is the same number.

Outside the domain, as in PyTorch and without a warning: division by zero gives infinity or NaN, log(0) is minus
infinity, the logarithm (or a broken power) of a negative number is NaN.

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| vector  | images in one line, border and all | all of add | images of one shape; first for add |
| formula | NumPy, whose own loops are vector code | all | any float dtype; first, but for sigmoid |
| loops   | compiled, one loop on all threads; repeated operands written out | all | float32, float64; sigmoid first |
| cuda    | one thread four numbers in a line; repeated operands by steps of 0 | all | on the GPU: float32 and float64 |
"""

from minicnn.ops.elementwise.binary import (
    ADD,
    DIV,
    MUL,
    SUB,
    add_forward,
    add_grad_a,
    add_grad_b,
    div_forward,
    div_grad_a,
    div_grad_b,
    mul_forward,
    mul_grad_a,
    mul_grad_b,
    sub_forward,
    sub_grad_a,
    sub_grad_b,
)
from minicnn.ops.elementwise.unary import (
    EXP,
    LOG,
    POW,
    SIGMOID,
    TANH,
    exp_forward,
    exp_grad_input,
    log_forward,
    log_grad_input,
    pow_forward,
    pow_grad_input,
    sigmoid_forward,
    sigmoid_grad_input,
    tanh_forward,
    tanh_grad_input,
)

__all__ = [
    "ADD",
    "DIV",
    "EXP",
    "LOG",
    "MUL",
    "POW",
    "SIGMOID",
    "SUB",
    "TANH",
    "add_forward",
    "add_grad_a",
    "add_grad_b",
    "div_forward",
    "div_grad_a",
    "div_grad_b",
    "exp_forward",
    "exp_grad_input",
    "log_forward",
    "log_grad_input",
    "mul_forward",
    "mul_grad_a",
    "mul_grad_b",
    "pow_forward",
    "pow_grad_input",
    "sigmoid_forward",
    "sigmoid_grad_input",
    "sub_forward",
    "sub_grad_a",
    "sub_grad_b",
    "tanh_forward",
    "tanh_grad_input",
]

"""Where a number comes from: any entry of any operation's output or gradient, in a run of any network.

`explain(model, images, labels, layer, at, grad)` records a run and explains one number; `explain_recording` does so for
a run that is recorded already (`minicnn.study.recording`). The result is an `Explanation`: formula, terms, partial
sums, total, and the engine's value, which the total must equal to rounding. `str` of it is for a terminal, a notebook
shows it with its formula set in MathML, `as_dict` is for programs.

Nothing is computed as the kernels compute it: terms are read from the arrays of the run, multiplied and added in
float64, and compared with what the kernels left there. A file for each kind of operation holds its explainers;
`asked.py` has the table, `terms.py` and `explanation.py` what they make.
"""

from minicnn.study.explain import (
    arithmetic,
    batch_norm,
    conv2d,
    conv_transpose2d,
    cross_entropy,
    linear,
    moving,
    pointwise,
    pooling,
    recurrent,
    reductions,
    softmax,
    through_time,
)
from minicnn.study.explain.asked import EXPLAINERS
from minicnn.study.explain.chain import Chain, Link, explain_chain
from minicnn.study.explain.explaining import explain, explain_recording, recorded, unexplained
from minicnn.study.explain.explanation import Explanation
from minicnn.study.explain.terms import Factor, Term, Terms

__all__ = [
    "EXPLAINERS",
    "Chain",
    "Explanation",
    "Factor",
    "Link",
    "Term",
    "Terms",
    "arithmetic",
    "batch_norm",
    "conv2d",
    "conv_transpose2d",
    "cross_entropy",
    "explain",
    "explain_chain",
    "explain_recording",
    "linear",
    "moving",
    "pointwise",
    "pooling",
    "recorded",
    "recurrent",
    "reductions",
    "softmax",
    "through_time",
    "unexplained",
]

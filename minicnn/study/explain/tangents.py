"""How every output of a recurrent layer moves when one of its inputs does.

Backpropagation gives the sum over all outputs at once; a path from a number to the loss needs each alone. So one
input moves by one, and the product rule carries that forward through time (forward-mode differentiation, in float64).
"""

from __future__ import annotations

import numpy as np

from minicnn.ops.rnn.sequences import order
from minicnn.study.explain.asked import Asked
from minicnn.study.explain.recurrent_run import RecurrentRun


def tangents(asked: Asked) -> np.ndarray:
    """d y / d input[index], for the input (`asked.quantity`, `"grad x"`) and its index: float64, as large as y."""
    run, width = RecurrentRun(asked), asked.shape("w_hh")[1]
    given = {name: asked.array(name).astype(np.float64) for name in asked.step.names if asked.has(name)}
    moving = {name: np.zeros(array.shape) for name, array in given.items()}
    moving[asked.quantity[5:]][asked.index] = 1.0
    y, made = asked.array("y").astype(np.float64), np.zeros(asked.shape("y"))
    dh, dc = moving["h0"], moving.get("c0", np.zeros(()))
    for t in order(run.steps, run.reverse):
        before = run.h_before[t].astype(np.float64)
        da = moving["x"][t] @ given["w_ih"].T + given["x"][t] @ moving["w_ih"].T + moving.get("b_ih", 0.0)
        du = dh @ given["w_hh"].T + before @ moving["w_hh"].T + moving.get("b_hh", 0.0)
        if run.kind == "rnn":
            tanh = asked.options.get("nonlinearity", "tanh") == "tanh"
            dh = (da + du) * (1 - y[t] ** 2 if tanh else y[t] > 0)
        elif run.kind == "lstm":
            i, f, g, o = _blocks(run.gates[t].astype(np.float64), width)
            da_i, da_f, da_g, da_o = _blocks(da + du, width)
            cell = np.tanh(y[1, t])
            dc = da_f * f * (1 - f) * run.c_before[t] + f * dc + da_i * i * (1 - i) * g + i * da_g * (1 - g**2)
            dh = da_o * o * (1 - o) * cell + o * (1 - cell**2) * dc
            made[1, t] = dc
        else:
            r, z, n, u_n = _blocks(run.gates[t].astype(np.float64), width)
            (da_r, da_z, da_n), (du_r, du_z, du_n) = _blocks(da, width), _blocks(du, width)
            dr, dz = (da_r + du_r) * r * (1 - r), (da_z + du_z) * z * (1 - z)
            dn = (da_n + dr * u_n + r * du_n) * (1 - n**2)
            dh = dz * (before - n) + (1 - z) * dn + z * dh
        made[(0, t) if run.kind == "lstm" else t] = dh
    return made


def _blocks(rows: np.ndarray, width: int) -> list[np.ndarray]:
    """(N, gates H) as a block (N, H) for each gate."""
    return [rows[:, k : k + width] for k in range(0, rows.shape[1], width)]

"""Optimizers: each formula by hand, groups, states that go on bit for bit, and parameters that must not move."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from compare import assert_close

from minicnn import nn, optim
from minicnn.autograd import Tensor
from minicnn.errors import ArgumentError
from minicnn.ops.updates import loops

W = np.array([1.0, -2.0, 3.0])
G = [np.array([0.5, 1.0, -1.0]), np.array([-0.25, 0.5, 2.0]), np.array([1.0, 0.0, 0.5])]


def parameter(value=W, dtype=np.float64):
    return nn.Parameter(np.array(value, dtype))


def steps(optimizer, p, gradients=G):
    """The values of p after each step."""
    path = []
    for g in gradients:
        p.grad = Tensor(np.array(g, p.dtype))
        optimizer.step()
        path.append(p.array.copy())
    return path


def same_path(path, expected):
    for actual, wanted in zip(path, expected, strict=True):
        assert_close(actual, wanted, rtol=1e-14)


# ---- by hand --------------------------------------------------------------------------------------------------------


def test_sgd():
    p = parameter()
    w1 = W - 0.1 * G[0]
    w2 = w1 - 0.1 * G[1]
    same_path(steps(optim.SGD([p], lr=0.1), p), [w1, w2, w2 - 0.1 * G[2]])


def test_sgd_with_weight_decay():
    p = parameter()
    w1 = W - 0.1 * (G[0] + 0.5 * W)
    same_path(steps(optim.SGD([p], 0.1, weight_decay=0.5), p, G[:2]), [w1, w1 - 0.1 * (G[1] + 0.5 * w1)])


def test_sgd_with_momentum():
    p = parameter()
    v1 = G[0]  # the first velocity is the gradient itself, dampening or not
    v2 = 0.9 * v1 + 0.7 * G[1]
    v3 = 0.9 * v2 + 0.7 * G[2]
    w1 = W - 0.1 * v1
    same_path(
        steps(optim.SGD([p], 0.1, momentum=0.9, dampening=0.3), p),
        [w1, w1 - 0.1 * v2, w1 - 0.1 * v2 - 0.1 * v3],
    )


def test_sgd_with_nesterov():
    p = parameter()
    v1 = G[0]
    v2 = 0.9 * v1 + G[1]
    w1 = W - 0.1 * (G[0] + 0.9 * v1)
    path = steps(optim.SGD([p], 0.1, momentum=0.9, nesterov=True), p, G[:2])
    same_path(path, [w1, w1 - 0.1 * (G[1] + 0.9 * v2)])


def test_adam():
    p = parameter()
    b1, b2, eps, lr = 0.8, 0.9, 1e-3, 0.1
    m = v = np.zeros(3)
    w, expected = W, []
    for t, g in enumerate(G, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        w = w - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        expected.append(w)
    same_path(steps(optim.Adam([p], lr, (b1, b2), eps), p), expected)


def test_adam_with_weight_decay():
    """The first step of Adam has length lr, whatever the gradient's: only signs are left."""
    p = parameter()
    path = steps(optim.Adam([p], 0.1, eps=0.0, weight_decay=1.0), p, G[:1])
    same_path(path, [W - 0.1 * np.sign(G[0] + W)])


def test_adamw_shrinks_the_parameter_itself():
    p = parameter()
    path = steps(optim.AdamW([p], 0.1, eps=0.0, weight_decay=0.5), p, G[:1])
    same_path(path, [0.95 * W - 0.1 * np.sign(G[0])])


def test_adamax():
    p = parameter()
    m1, u1 = 0.2 * G[0], abs(G[0]) + 1e-3
    m2, u2 = 0.8 * m1 + 0.2 * G[1], np.maximum(0.9 * u1, abs(G[1]) + 1e-3)
    w1 = W - 0.1 / 0.2 * m1 / u1
    w2 = w1 - 0.1 / (1 - 0.8**2) * m2 / u2
    same_path(steps(optim.Adamax([p], 0.1, (0.8, 0.9), 1e-3), p, G[:2]), [w1, w2])


def test_adagrad():
    p = parameter()
    s1 = 0.5 + G[0] ** 2
    s2 = s1 + G[1] ** 2
    w1 = W - 0.1 * G[0] / (np.sqrt(s1) + 1e-3)
    w2 = w1 - 0.1 / 1.5 * G[1] / (np.sqrt(s2) + 1e-3)
    optimizer = optim.Adagrad([p], 0.1, lr_decay=0.5, initial_accumulator_value=0.5, eps=1e-3)
    same_path(steps(optimizer, p, G[:2]), [w1, w2])


def test_rmsprop():
    p = parameter()
    s1 = 0.1 * G[0] ** 2
    s2 = 0.9 * s1 + 0.1 * G[1] ** 2
    w1 = W - 0.1 * G[0] / (np.sqrt(s1) + 1e-3)
    same_path(steps(optim.RMSprop([p], 0.1, 0.9, 1e-3), p, G[:2]), [w1, w1 - 0.1 * G[1] / (np.sqrt(s2) + 1e-3)])


def test_rmsprop_centered_with_momentum():
    p = parameter()
    a1, s1 = 0.1 * G[0], 0.1 * G[0] ** 2
    a2, s2 = 0.9 * a1 + 0.1 * G[1], 0.9 * s1 + 0.1 * G[1] ** 2
    v1 = G[0] / (np.sqrt(s1 - a1**2) + 1e-3)
    v2 = 0.5 * v1 + G[1] / (np.sqrt(s2 - a2**2) + 1e-3)
    path = steps(optim.RMSprop([p], 0.1, 0.9, 1e-3, momentum=0.5, centered=True), p, G[:2])
    same_path(path, [W - 0.1 * v1, W - 0.1 * v1 - 0.1 * v2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_compiled_steps_equal_the_formula(make, dtype):
    """Above `loops.SMALL` numbers on several threads; a parameter with gaps in memory goes by the formula."""
    rng = np.random.default_rng(0)
    size = loops.SMALL + 3
    first, gradients = rng.standard_normal(size), rng.standard_normal((3, size)).astype(dtype)
    line, gaps = parameter(first, dtype), parameter(np.repeat(first, 2), dtype)
    gaps.array = gaps.array[::2]
    path = zip(steps(make([line]), line, gradients), steps(make([gaps]), gaps, gradients), strict=True)
    for compiled, formula in path:
        assert_close(compiled, formula, rtol=1e-6 if dtype == np.float32 else 1e-13)


def test_gradient_descent_is_sgd_on_one_batch_of_all_samples():
    """The mean of the gradients of all samples, in one step: the order of samples does not matter."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 3)), rng.standard_normal((8, 1))
    p = parameter(np.zeros((1, 3)))
    for order in ([0, 1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 3, 2, 1, 0]):
        p.array[...] = 0
        optimizer = optim.SGD([p], lr=0.1)
        optimizer.zero_grad()
        nn.functional.mse_loss(nn.functional.linear(Tensor(x[order]), p), Tensor(y[order])).backward()
        optimizer.step()
        assert_close(p.array, 0.1 * 2 / 8 * (y.T @ x))


def test_defaults():
    assert optim.SGD([parameter()]).state_dict()["param_groups"] == [
        {"lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "params": [0]}
    ]
    assert optim.Adam([parameter()]).state_dict()["param_groups"] == [
        {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "params": [0]}
    ]


# ---- values in place ------------------------------------------------------------------------------------------------

EVERY = {
    "SGD": lambda ps: optim.SGD(ps, 0.1),
    "momentum": lambda ps: optim.SGD(ps, 0.1, momentum=0.9, dampening=0.1, weight_decay=0.1),
    "nesterov": lambda ps: optim.SGD(ps, 0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "Adam": lambda ps: optim.Adam(ps, 0.1, weight_decay=0.1),
    "AdamW": lambda ps: optim.AdamW(ps, 0.1),
    "Adamax": lambda ps: optim.Adamax(ps, 0.1, weight_decay=0.1),
    "Adagrad": lambda ps: optim.Adagrad(ps, 0.1, lr_decay=0.1, weight_decay=0.1),
    "RMSprop": lambda ps: optim.RMSprop(ps, 0.1),
    "RMSprop, all": lambda ps: optim.RMSprop(ps, 0.1, momentum=0.5, centered=True, weight_decay=0.1),
}


@pytest.fixture(params=list(EVERY))
def make(request):
    return EVERY[request.param]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_change_in_place_and_keep_their_dtype(make, dtype):
    p = parameter(dtype=dtype)
    array = p.array
    optimizer = make([p])
    steps(optimizer, p)
    assert p.array is array
    assert array.dtype == dtype
    assert (array != W).all()
    assert all(v.dtype == dtype for v in optimizer.state[p].values() if isinstance(v, np.ndarray))


def test_gradients_are_not_changed(make):
    p = parameter()
    optimizer = make([p])
    for _ in range(2):
        p.grad = Tensor(G[0].copy())
        optimizer.step()
        assert np.array_equal(p.grad.array, G[0])


def test_single_numbers(make):
    """A parameter without axes moves as the same number in an array does."""
    p, twin = parameter(2.0), parameter([2.0])
    path = steps(make([p]), p, [0.5, -1.0, 0.25])
    expected = steps(make([twin]), twin, [[0.5], [-1.0], [0.25]])
    for actual, wanted in zip(path, expected, strict=True):
        assert actual.shape == ()
        assert_close(actual, wanted.reshape(()))


def test_a_learning_rate_that_changes():
    p = parameter()
    optimizer = optim.SGD([p], lr=0.1)
    steps(optimizer, p, G[:1])
    optimizer.param_groups[0]["lr"] = 0.01
    assert_close(steps(optimizer, p, G[1:2])[0], W - 0.1 * G[0] - 0.01 * G[1])


def test_gradients_that_blow_up_give_no_warning(make):
    p = parameter(dtype=np.float32)
    steps(make([p]), p, [[np.inf, 3e38, np.nan]] * 3)
    assert not np.isfinite(p.array[[0, 2]]).any()


def test_closure():
    p = parameter()
    optimizer = optim.SGD([p], 0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 14
    assert_close(p.array, 0.8 * W)
    assert optimizer.step() is None


def test_a_whole_problem():
    """Least squares: all find the solution."""
    rng = np.random.default_rng(0)
    a, wanted = rng.standard_normal((20, 3)), np.array([1.0, -2.0, 0.5])
    builds = [
        lambda p: optim.SGD([p], 0.1, momentum=0.9),
        lambda p: optim.Adam([p], 0.1),
        lambda p: optim.AdamW([p], 0.1, weight_decay=0.0),
        lambda p: optim.Adamax([p], 0.1),
        lambda p: optim.Adagrad([p], 0.5),
    ]
    for build in builds:
        p = parameter(np.zeros(3))
        optimizer = build(p)
        for _ in range(400):
            optimizer.zero_grad()
            nn.functional.mse_loss(Tensor(a) @ p.reshape(3, 1), Tensor((a @ wanted)[:, None])).backward()
            optimizer.step()
        assert_close(p.array, wanted, rtol=1e-4)


# ---- what must not move ---------------------------------------------------------------------------------------------


def test_no_gradient_no_move(make):
    """Neither weight decay nor momentum from before moves a parameter that has no gradient."""
    p, other = parameter(), parameter()
    optimizer = make([p, other])
    steps(optimizer, p, G[:1])
    assert np.array_equal(other.array, W)
    before = p.array.tobytes()
    p.grad = None
    other.grad = Tensor(G[0])
    optimizer.step()
    assert p.array.tobytes() == before
    assert (other.array != W).all()


def test_frozen_parameters_stay(make):
    p = parameter()
    optimizer = make([p])
    steps(optimizer, p, G[:1])
    before, state = p.array.tobytes(), copy.deepcopy(optimizer.state_dict())
    p.requires_grad = False
    p.grad = Tensor(G[1])  # left over from before
    optimizer.step()
    assert p.array.tobytes() == before
    np.testing.assert_equal(optimizer.state_dict(), state)


def test_a_gradient_of_zeros_is_a_gradient():
    """Weight decay works on it: None and 0 are different things."""
    p = parameter()
    steps(optim.SGD([p], 0.1, weight_decay=0.5), p, [np.zeros(3)])
    assert_close(p.array, 0.95 * W)


def test_zero_grad():
    p, q = parameter(), parameter()
    p.grad = q.grad = Tensor(G[0])
    optim.SGD([{"params": [p]}, {"params": [q]}]).zero_grad()
    assert p.grad is None
    assert q.grad is None


# ---- groups ---------------------------------------------------------------------------------------------------------


def test_groups_have_their_own_settings():
    body, head = parameter(), parameter()
    groups = [{"params": [body], "lr": 0.01, "weight_decay": 0.5}, {"params": head}]
    optimizer = optim.SGD(groups, lr=0.1)
    for p in (body, head):
        p.grad = Tensor(G[0])
    optimizer.step()
    assert_close(body.array, W - 0.01 * (G[0] + 0.5 * W))
    assert_close(head.array, W - 0.1 * G[0])


@pytest.mark.parametrize("wrap", [iter, list, lambda ps: (p for p in ps), lambda ps: {"params": ps}, lambda ps: ps[0]])
def test_ways_of_naming_parameters(wrap):
    p = parameter()
    optimizer = optim.SGD(wrap([p]), lr=0.1)
    assert len(optimizer.param_groups) == 1
    assert optimizer.param_groups[0]["params"][0] is p


def test_a_group_that_comes_later():
    body, head = parameter(), parameter()
    optimizer = optim.SGD([head], lr=0.1)
    optimizer.add_param_group({"params": body, "lr": 0.01})
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.01]
    with pytest.raises(ArgumentError, match="a parameter comes twice"):
        optimizer.add_param_group({"params": [head]})


def test_the_callers_dicts_are_not_changed():
    group = {"params": [parameter()]}
    optim.SGD([group], lr=0.1)
    assert list(group) == ["params"]


# ---- state ----------------------------------------------------------------------------------------------------------


def test_a_state_goes_on_bit_for_bit(make):
    p, q = parameter(dtype=np.float32), parameter(dtype=np.float32)
    whole = make([p])
    steps(whole, p, G[:2])
    q.array[...] = p.array
    half = make([q])
    half.load_state_dict(whole.state_dict())
    expected = steps(whole, p, G[::-1])
    actual = steps(half, q, G[::-1])
    assert [a.tobytes() for a in actual] == [e.tobytes() for e in expected]


def test_the_test_above_can_fail(make):
    """Without the state, the way goes elsewhere (but for plain SGD, which has none)."""
    p, q = parameter(), parameter()
    whole = make([p])
    steps(whole, p, G[:2])
    q.array[...] = p.array
    stateless = not whole.state_dict()["state"].get(0)
    assert np.array_equal(steps(whole, p, G[::-1])[-1], steps(make([q]), q, G[::-1])[-1]) == stateless


def test_states_are_copies():
    p = parameter()
    optimizer = optim.SGD([p], 0.1, momentum=0.9)
    steps(optimizer, p, G[:1])
    state = optimizer.state_dict()
    state["state"][0]["momentum_buffer"][...] = 99
    assert_close(optimizer.state[p]["momentum_buffer"], G[0])
    optimizer.load_state_dict(state)
    state["state"][0]["momentum_buffer"][...] = 7
    assert_close(optimizer.state[p]["momentum_buffer"], np.full(3, 99.0))


def test_settings_come_with_the_state():
    first, second = optim.SGD([parameter()], 0.1, momentum=0.9), optim.SGD([parameter()], 0.5)
    second.load_state_dict(first.state_dict())
    assert second.param_groups[0]["lr"] == 0.1
    assert second.param_groups[0]["momentum"] == 0.9
    assert len(second.param_groups[0]["params"]) == 1


def momentum_state(*shapes, split=False):
    parameters = [parameter(np.ones(shape)) for shape in shapes]
    optimizer = optim.SGD([{"params": p} for p in parameters] if split else parameters, 0.1, momentum=0.9)
    for p in parameters:
        p.grad = Tensor(np.ones(p.shape))
    optimizer.step()
    return optimizer.state_dict()


@pytest.mark.parametrize(
    "state",
    [
        momentum_state(3, 3),
        momentum_state(3, 3, split=True),
        momentum_state(4),
        momentum_state((1, 3)),
        optim.Adam([parameter()]).state_dict(),
    ],
    ids=["more parameters", "more groups", "another shape", "a shape that broadcasts", "another optimizer"],
)
def test_states_of_others(state):
    p = parameter()
    optimizer = optim.SGD([p], 0.5)
    with pytest.raises(ArgumentError) as caught:
        optimizer.load_state_dict(state)
    assert str(caught.value) == (
        "SGD.load_state_dict: the state is of another optimizer; "
        "rule: the same kind of optimizer, groups and shapes of parameters"
    )
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert optimizer.state == {}


# ---- errors ---------------------------------------------------------------------------------------------------------

NAN = float("nan")
WRONG = [
    (lambda p: optim.SGD([]), "SGD: no parameters; hint: pass model.parameters(); is everything frozen?"),
    (lambda p: optim.SGD([p], lr=-1), "SGD: lr is not valid; seen lr=-1; rule: lr >= 0"),
    (lambda p: optim.SGD([p], lr=NAN), "SGD: lr is not valid; seen lr=nan; rule: lr >= 0"),
    (lambda p: optim.SGD([p], lr="0.1"), "SGD: lr is not valid; seen lr='0.1'; rule: lr >= 0"),
    (lambda p: optim.SGD([p], momentum=-0.9), "SGD: momentum is not valid; seen momentum=-0.9; rule: momentum >= 0"),
    (lambda p: optim.SGD([p], weight_decay=-1), "SGD: weight_decay is not valid; seen weight_decay=-1; rule: weight_d"),
    (lambda p: optim.SGD([p], nesterov=True), "SGD: nesterov needs momentum, and no dampening; rule: momentum > 0, da"),
    (
        lambda p: optim.SGD([p], momentum=0.9, dampening=0.1, nesterov=True),
        "SGD: nesterov needs momentum, and no dampening; rule: momentum > 0, dampening = 0",
    ),
    (lambda p: optim.Adam([p], betas=(0.9, 1.0)), "Adam: betas are not valid; seen (0.9, 1.0); rule: two, 0 <= beta <"),
    (lambda p: optim.Adam([p], betas=(0.9,)), "Adam: betas are not valid; seen (0.9,); rule: two, 0 <= beta < 1"),
    (lambda p: optim.Adam([p], betas=0.9), "Adam: betas are not valid; seen 0.9; rule: two, 0 <= beta < 1"),
    (lambda p: optim.Adam([p], eps=-1e-8), "Adam: eps is not valid; seen eps=-1e-08; rule: eps >= 0"),
    (lambda p: optim.AdamW([p], betas=(-0.1, 0.9)), "AdamW: betas are not valid; seen (-0.1, 0.9); rule: two, 0 <= "),
    (lambda p: optim.RMSprop([p], alpha=1.5), "RMSprop: alpha is not valid; seen alpha=1.5; rule: 0 <= alpha <= 1"),
    (lambda p: optim.Adagrad([p], lr_decay=-1), "Adagrad: lr_decay is not valid; seen lr_decay=-1; rule: lr_decay >="),
    (lambda p: optim.Adam([p], weight_decay=NAN), "Adam: weight_decay is not valid; seen weight_decay=nan; rule: weig"),
    (
        lambda p: optim.SGD([{"params": [p], "beta": 0.9}]),
        "SGD: unknown setting 'beta'; rule: settings: dampening, lr, momentum, nesterov, weight_decay",
    ),
    (lambda p: optim.SGD([{"params": [p], "lr": -2}]), "SGD: lr is not valid; seen lr=-2; rule: lr >= 0"),
    (lambda p: optim.SGD([p, p]), "SGD: a parameter comes twice; seen shape (3,)"),
    (lambda p: optim.SGD([{"params": [p]}, {"params": p}]), "SGD: a parameter comes twice; seen shape (3,)"),
    (lambda p: optim.SGD([W]), "SGD: not a parameter; seen ndarray"),
    (lambda p: optim.SGD([("name", p)]), "SGD: not a parameter; seen tuple"),
    (lambda p: optim.SGD([{"lr": 1}]), 'SGD: not a parameter group; rule: {"params": [...], ...} each'),
    (lambda p: optim.SGD([{"params": [p]}, p]), 'SGD: not a parameter group; rule: {"params": [...], ...} each'),
    (
        lambda p: optim.SGD([p * 2.0]),
        "SGD: not a leaf: an operation made this tensor; seen <mul: a (3,), b () -> (3,)>; hint: detach() it",
    ),
]


@pytest.mark.parametrize(("build", "text"), WRONG, ids=[text[:50] for _, text in WRONG])
def test_bad_arguments(build, text):
    with pytest.raises(ArgumentError) as caught:
        build(parameter())
    assert str(caught.value).startswith(text)


def test_an_optimizer_needs_a_formula():
    p = parameter()
    optimizer = optim.Optimizer([p], {"lr": 0.1})
    p.grad = Tensor(G[0])
    with pytest.raises(ArgumentError, match=r"^Optimizer: this optimizer has no update$"):
        optimizer.step()

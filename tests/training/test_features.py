"""Features computed once must train the head just as the whole frozen network does."""

from __future__ import annotations

import pytest
from compare import assert_close

from minicnn import nn, optim
from minicnn.autograd import Tensor, no_grad
from minicnn.data import DataLoader
from minicnn.errors import ArgumentError
from minicnn.training import Trainer, freeze
from minicnn.training.features import features


def fit(model, train, validation):
    optimizer = optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    trainer = Trainer(model, optimizer, nn.CrossEntropyLoss(), progress=False)
    return trainer.fit(DataLoader(train, 7, shuffle=True, seed=3), DataLoader(validation, 16), 3)


def test_the_same_training_as_with_the_whole_network(tiny, stripes):
    train, validation = stripes(30), stripes(24, seed=1)
    whole, model = tiny(), tiny()
    freeze(whole, "backbone")
    freeze(model, "backbone")
    expected = fit(whole, train, validation)
    parts = [features(model, model.top, DataLoader(part, 8), train.classes) for part in (train, validation)]
    assert parts[0][0][0].shape == (8,)
    assert parts[0].classes == train.classes
    history = fit(model.top, *parts)
    for column in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "macro_f1"):
        assert_close(history.column(column), expected.column(column), rtol=1e-5)
    for name, array in whole.state_dict().items():
        assert_close(model.state_dict()[name], array, rtol=1e-5)
    with no_grad():
        assert model.eval()(Tensor(train.images)).shape == (30, 3)  # no hook is left that would keep images


def test_a_network_that_still_learns(tiny, stripes):
    model = tiny()
    freeze(model, "until=bn")
    with pytest.raises(ArgumentError, match="features: the network is not frozen; rule: all but the head is frozen"):
        features(model, model.top, DataLoader(stripes(6), 3), ["a", "b", "c"])


def test_a_network_that_goes_on_after_its_head(tiny, stripes):
    model = nn.Sequential(tiny(), nn.Softmax(1))
    freeze(model, "backbone")
    with pytest.raises(ArgumentError, match="does not end in its head; seen Sequential: something follows Linear"):
        features(model, model[0].top, DataLoader(stripes(6), 3), ["a", "b", "c"])
    assert not model[0].top._hooks

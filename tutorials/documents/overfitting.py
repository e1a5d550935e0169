"""S10: what helps against overfitting, on 100 digits to learn from.

    python tutorials/documents/overfitting.py [SEEDS]

With so few images a network learns each of them by heart: accuracy 100 % on what it learned from, less on others. The
documents name L1, L2, dropout and augmentation against it; each is a line of code here:

- L1: the sum of |w|, times a strength, is added to the loss. Every weight is pulled towards 0 with the same force.
- L2: the same with w squared: large weights are pulled most. (With SGD it is `weight_decay`, of twice the strength.)
- dropout: in each step half of the numbers before the last layer are set to 0 at random; or whole channels of them.
- augmentation: in each epoch every image is moved by up to one pixel, anew.
- label smoothing: the network is to be 90 % sure, not 100 %.
- early stopping: the training ends when the loss on 30 images that were set aside gets no better. These are missing
  among those to learn from: it costs something before it brings something.

Each is trained with the same seeds; a seed decides which 100 digits, the first weights, and the order of the images.
What is measured are the 1,697 other digits: accuracy, and the loss, in which being wrong and sure of it weighs most.
"""

import sys

import numpy as np

import minicnn
from minicnn import nn, optim
from minicnn.data import DataLoader, Subset, digits, stratified_split, transforms
from minicnn.training import EarlyStopping, Trainer, cosine

SEEDS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
EPOCHS, BATCH = 40, 50

plain = [transforms.ToTensor(), transforms.Normalize((0.3,), (0.38,))]
data = digits(transforms.Compose(plain))
moved = digits(transforms.Compose([transforms.RandomCrop(8, padding=1), *plain]))


def train(seed, *, l1=0.0, l2=0.0, dropout=0.0, channels=0.0, smoothing=0.0, augment=False, stop=False):
    """Accuracy on what was learned from; accuracy and loss on all other digits; epochs."""
    few, rest = stratified_split(data.targets, per_class=10, seed=seed)
    aside, few_left = stratified_split(data.targets[few], per_class=3, seed=seed)
    learned = np.asarray(few)[few_left] if stop else few
    minicnn.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout2d(channels),
        nn.Flatten(), nn.Dropout(dropout), nn.Linear(256, 10),
    )  # fmt: skip
    weights = [p for p in model.parameters() if p.ndim > 1]
    penalties = {"l1": lambda: nn.l1_penalty(weights, l1), "l2": lambda: nn.l2_penalty(weights, l2)}
    trainer = Trainer(
        model,
        optim.Adam(model.parameters(), lr=0.01),
        nn.CrossEntropyLoss(label_smoothing=smoothing),
        schedule=cosine(),
        penalty=penalties["l1"] if l1 else penalties["l2"] if l2 else None,
        early_stopping=EarlyStopping(patience=5) if stop else None,
        progress=False,
    )
    loader = DataLoader(Subset(moved if augment else data, learned), BATCH, shuffle=True)
    validation = DataLoader(Subset(data, np.asarray(few)[aside]), 100) if stop else None
    history = trainer.fit(loader, validation, epochs=EPOCHS)
    trainer.loss = nn.CrossEntropyLoss()  # all are measured with the same loss
    known = trainer.evaluate(DataLoader(Subset(data, learned), 100))
    others = trainer.evaluate(DataLoader(Subset(data, rest), 1000))
    return known.metrics.accuracy, others.metrics.accuracy, others.loss, len(history)


MEANS = {
    "nothing": {},
    "L1, 0.003": {"l1": 3e-3},
    "L2, 0.01": {"l2": 1e-2},
    "dropout, 0.5": {"dropout": 0.5},
    "dropout of channels, 0.2": {"channels": 0.2},
    "label smoothing, 0.1": {"smoothing": 0.1},
    "augmentation": {"augment": True},
    "early stopping": {"stop": True},
}
results = {name: np.array([train(seed, **means) for seed in range(SEEDS)]) for name, means in MEANS.items()}

print(f"100 digits to learn from; means of {SEEDS} seeds, +- their standard deviation\n")
print(f"{'against overfitting':26}{'learned from':>13}{'others':>16}{'loss of others':>16}{'epochs':>8}")
for name, values in results.items():
    known, others, loss, epochs = values.mean(axis=0)
    deviation = values[:, 1].std(ddof=1) if SEEDS > 1 else 0.0
    print(f"{name:26}{known:>13.1%}{others:>9.1%} +-{deviation:>4.1%}{loss:>16.3f}{epochs:>8.0f}")

accuracy = {name: values[:, 1].mean() for name, values in results.items()}
best = max(accuracy, key=lambda name: accuracy[name])
print(f"\naccuracy on others: {accuracy['nothing']:.1%} with nothing, {accuracy[best]:.1%} with {best}, the best")
loss = {name: values[:, 2].mean() for name, values in results.items()}

# What is expected: everything is learned by heart; some means bring a little, and none does wonders.
assert results["nothing"][:, 0].min() == 1
assert accuracy["label smoothing, 0.1"] > accuracy["nothing"] + 0.005
assert loss["label smoothing, 0.1"] > loss["nothing"]  # it is less sure, also where it is right
assert results["early stopping"][:, 3].mean() < EPOCHS
assert all(abs(value - accuracy["nothing"]) < 0.06 for value in accuracy.values())

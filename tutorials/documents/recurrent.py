"""S5: a recurrent network that reads digits row by row, brackets letter by letter; and how far back it remembers.

    python tutorials/documents/recurrent.py [EPOCHS] [STEPS]

What is other than in the printed listing, and why:

- Printed, `train_loader` does not exist, and 10 features and 3 classes belong to no data. Here a digit of 8 x 8 pixels
  is a sequence of 8 rows, 8 features each, of 10 classes. Sizes (50 units, 2 layers), Adam and its loop are as printed.
- Printed, nothing is measured: no loss, no other data, no `eval`. Here half of the digits are only tested on.
- Printed, `h0` is made by hand, of zeros. It is what the layer takes when it is given none; left out.
- The text's formula (D4.3) puts the sigmoid around the state and around the output of every step. `nn.RNN` has tanh for
  the state, which is centred at 0. The output is taken after the last row only, and goes into the cross-entropy as it
  is: that contains the softmax, and a sigmoid before it would cap every score at 1.
- The text promises relations over long distances. The gradient passes W_hh and s' once a step, so it fades (or grows:
  clip it). The last part measures it, and an LSTM's remedy: a gate for forgetting, which must be open at first.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import minicnn
from minicnn import nn, optim
from minicnn.data import DataLoader, Subset, digits, stratified_split, transforms
from minicnn.nn.utils import clip_grad_norm_

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 200


class RNN(nn.Module):
    """Layers of recurrent units; the last step goes into a linear layer."""

    def __init__(self, input_size, hidden_size, num_layers, num_classes):
        super().__init__()
        self.rnn = nn.RNN(input_size, hidden_size, num_layers, batch_first=True)
        self.fc = nn.Linear(hidden_size, num_classes)

    def forward(self, x):
        """(N, 8 steps, 8 features) -> (N, 10)."""
        output, _ = self.rnn(x)  # (N, 8 steps, 50), and the last states of both layers
        return self.fc(output[:, -1, :])


# ---- digits, row by row ---------------------------------------------------------------------------------------------


def rows(image):
    """(1, 8, 8), an image of one channel -> (8, 8), 8 steps of 8 features."""
    return image[0]


source = digits(transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.3,), (0.38,)), rows]))
train_set, test_set = (Subset(source, part) for part in stratified_split(source.targets, 0.5, seed=0))
minicnn.manual_seed(0)
model = RNN(input_size=8, hidden_size=50, num_layers=2, num_classes=10)
criterion = nn.CrossEntropyLoss()
optimizer = optim.Adam(model.parameters(), lr=0.003)

# Backpropagation through time, twice: as one operation for the whole sequence (`minicnn.ops.rnn`), and step by step on
# the tape, where each step is a handful of nodes. The gradients are the same.
inputs, labels = next(iter(DataLoader(train_set, batch_size=32)))
gradients = []
for by_tape in (False, True):
    model.rnn.by_tape = by_tape
    optimizer.zero_grad()
    criterion(model(inputs), labels).backward()
    gradients.append(model.rnn.weight_hh_l0.grad.numpy())
difference = np.abs(gradients[0] - gradients[1]).max() / np.abs(gradients[0]).max()
print(f"dL/dW_hh by one operation and by the tape: relative difference {difference:.1e}")
assert difference < 1e-4
model.rnn.by_tape = False

for epoch in range(EPOCHS):
    losses = []
    for inputs, labels in DataLoader(train_set, batch_size=32, shuffle=True, seed=epoch):
        outputs = model(inputs)
        loss = criterion(outputs, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    if epoch % 5 == 4:
        print(f"epoch {epoch + 1}: mean loss {np.mean(losses):.3f}")
model.eval()
with minicnn.no_grad():
    right = [model(x).argmax(1).numpy() == y.numpy() for x, y in DataLoader(test_set, batch_size=300)]
accuracy = np.concatenate(right).mean()
print(f"digits row by row: accuracy {accuracy:.1%} on {len(test_set)} others")
assert accuracy > 0.92

# What does the network know before it has read the whole digit? The same weights, given fewer rows:
with minicnn.no_grad():
    images, labels = next(iter(DataLoader(test_set, batch_size=len(test_set))))
    known = [(model(images[:, :rows]).argmax(1).numpy() == labels.numpy()).mean() for rows in range(1, 9)]
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
axis.plot(range(1, 9), known, "ko-")
axis.axhline(0.1, color="0.6", linestyle=":", label="guessing")
axis.set(xlabel="rows read", ylabel="accuracy", ylim=(0, 1), title="a digit, row by row")
axis.legend(frameon=False)
figure.savefig("recurrent.png", dpi=110)
assert known[-1] == accuracy > known[0]

# ---- brackets, letter by letter -------------------------------------------------------------------------------------

OPEN, CLOSE, LENGTH, DEPTH, FAR = "([{", ")]}", 40, 8, 10
LETTERS = OPEN + CLOSE


def brackets(rng):
    """A balanced text such as ([]{()}), and for each letter that closes how far back its partner is."""
    text, far, open_ones = "", [], []
    while len(text) < LENGTH:
        full = len(open_ones) == min(LENGTH - len(text), DEPTH)
        if open_ones and (full or rng.random() < 0.5):
            kind, place = open_ones.pop()
            far.append(len(text) - place)
            text += CLOSE[kind]
        else:
            open_ones.append((int(rng.integers(3)), len(text)))
            far.append(0)
            text += OPEN[open_ones[-1][0]]
    return [LETTERS.index(letter) for letter in text], far


class Reader(nn.Module):
    """Scores after each letter."""

    def __init__(self, layer, letters, outputs, hidden_size=32):
        super().__init__()
        self.rnn = layer(letters, hidden_size, batch_first=True)
        self.fc = nn.Linear(hidden_size, outputs)

    def forward(self, x):
        """(N, T, letters) -> (N, T, outputs)."""
        output, _ = self.rnn(x)
        return self.fc(output)


def train(model, x, target, steps, last_only=False):
    """The first 2,000 texts teach; the scores of the others come back."""
    draw, optimizer = np.random.default_rng(0), optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        chosen = draw.integers(0, 2000, 64)
        scores = model(minicnn.from_numpy(x[chosen]))
        scores = scores[:, -1] if last_only else scores.flatten(0, 1)
        loss = criterion(scores, minicnn.from_numpy(target[chosen].reshape(-1)))
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    with minicnn.no_grad():
        return model(minicnn.from_numpy(x[2000:])).numpy()


rng = np.random.default_rng(0)
texts, far = (np.array(values) for values in zip(*(brackets(rng) for _ in range(2500)), strict=True))
x, target = np.eye(len(LETTERS), dtype=np.float32)[texts[:, :-1]], texts[:, 1:]
print("brackets:", "".join(LETTERS[i] for i in texts[0]))
for layer in (nn.RNN, nn.LSTM):
    minicnn.manual_seed(0)
    scores = train(Reader(layer, len(LETTERS), len(LETTERS)), x, target, STEPS)
    right = scores[..., 3:].argmax(-1) + 3 == target[2000:]  # the kind, where something is closed
    near, distant = (
        right[(least <= far[2000:, 1:]) & (far[2000:, 1:] < most)].mean() for least, most in ((1, FAR), (FAR, LENGTH))
    )
    print(
        f"{layer.__name__}: closed rightly {near:.1%} of those opened under {FAR} letters ago, {distant:.1%} of others"
    )
    assert near > 0.9
    assert distant > 0.4  # guessing has a third

# ---- one letter, 24 letters ago -------------------------------------------------------------------------------------
# The first letter is one of three, and is asked for after 23 others that mean nothing. As it is made, an LSTM forgets
# half of its cell at every step: s(0) = 1/2. With a bias of 3 it keeps 0.95. Whether the RNN learns it, is luck: with
# some seeds it tells all three apart, with others two.

texts = rng.integers(3, 9, (2500, 24))
texts[:, 0] = kind = rng.integers(0, 3, 2500)
x, found = np.eye(9, dtype=np.float32)[texts], {}
for name, layer, bias in (("RNN", nn.RNN, None), ("LSTM", nn.LSTM, 0.0), ("LSTM, open", nn.LSTM, 3.0)):
    minicnn.manual_seed(0)
    model = Reader(layer, 9, 3)
    if bias is not None:
        state = model.state_dict()
        state["rnn.bias_ih_l0"][32:64] = bias  # of the four gates i, f, g, o the second
        model.load_state_dict(state)
    found[name] = (train(model, x, kind, 100, last_only=True)[:, -1].argmax(1) == kind[2000:]).mean()
    print(f"{name}: knows the first of 24 letters in {found[name]:.1%}")
assert found["LSTM, open"] > 0.95
assert found["LSTM"] < 0.6  # guessing has a third

"""S11: how good is it, and where does it fail? A network judged on digits, and a detection on scenes of digits.

    python tutorials/documents/judging.py

Writes the folder `judging/`: report.html (one page with everything in it; open it in a browser), metrics.json, and
pictures of the sweep, the learning curve and the detection. With files of your own, the first half is one command:

    minicnn evaluate runs/photos/model.h5 photos/ --report report --maps

The documents name accuracy, precision, recall, F1 and, for detection, average precision, recall and F1; they show none
of them, and measure the accuracy on the images that were learned from.
"""

from pathlib import Path

import numpy as np
from scipy import ndimage

import minicnn
from minicnn import models, nn, optim, weights
from minicnn.data import ArrayDataset, DataLoader, Subset, digits, stratified_split, write_image_set
from minicnn.training import Trainer
from minicnn.training.detection import Boxes, measure_detection
from minicnn.training.judging import judge
from minicnn.training.judging_pictures import detection_picture
from minicnn.training.judging_report import write_report
from minicnn.training.learning_curve import learning_curve
from minicnn.training.learning_rate_finder import find_learning_rate

FOLDER = Path("judging")
FOLDER.mkdir(exist_ok=True)
ARGUMENTS = {"num_classes": 10, "image_size": 8, "in_channels": 1}
NAMES = [str(i) for i in range(10)]
INFO = weights.WeightsInfo("cnn", ARGUMENTS, NAMES, 8, (0.3,), (0.38,), trained_on="digits", channels="L")
to_array = INFO.transforms()
drawn = digits()  # 8x8, uint8
data = ArrayDataset(np.stack([to_array(image) for image in drawn.images]), drawn.labels, NAMES)
few, rest = stratified_split(data.targets, per_class=40, seed=0)
test = Subset(data, rest)


def new_trainer(seed, lr=1e-3):
    """A new network, and what trains it."""
    minicnn.manual_seed(seed)
    model = models.cnn(**ARGUMENTS)
    return Trainer(model, optim.Adam(model.parameters(), lr=lr), nn.CrossEntropyLoss(), progress=False)


# 1. Which learning rate? One sweep tells where the loss falls fastest, and where it turns.
trainer = new_trainer(0)
loader = DataLoader(Subset(data, few), 20, shuffle=True, seed=0)
sweep = find_learning_rate(trainer.model, trainer.optimizer, trainer.loss, loader, steps=80)
(FOLDER / "learning-rate.png").write_bytes(sweep.picture())
print(sweep)
assert 1e-5 < sweep.suggestion < sweep.largest < 1


# 2. Would more images help? Train on 20, 80, 320 of them, twice each.
def accuracy(part, seed):
    """Of a new network trained on a part of the images, on those that it has not seen."""
    small = new_trainer(seed)
    small.fit(DataLoader(part, 20, shuffle=True, seed=seed), epochs=max(6, 600 // len(part)))
    return small.evaluate(DataLoader(test, 200)).metrics.accuracy


curve = learning_curve(accuracy, Subset(data, few), [20, 80, 320], repeats=2)
(FOLDER / "learning-curve.png").write_bytes(curve.picture("digits"))
print(curve)
assert curve.mean[0] < 0.8 < 0.88 < curve.mean[-1]

# 3. Train far too long on 50 images, so that the network is too sure of itself; judge it on images that are new to it.
trainer = new_trainer(0)
trainer.fit(DataLoader(Subset(data, few[::8]), 20, shuffle=True, seed=0), epochs=80)
weights.save(FOLDER / "model.h5", trainer.model.state_dict(), INFO)
write_image_set(FOLDER / "digits.h5", {"test": Subset(drawn, rest)}, layout="pixels", progress=False)
judgement = judge(FOLDER / "model.h5", FOLDER / "digits.h5", progress=False)
page = write_report(judgement, FOLDER, maps=True)
print(judgement)
print(f"report: {page}")
calibration, pair = judgement.calibration, judgement.pairs[0]
assert judgement.metrics.accuracy > 0.7
assert calibration.temperature > 1.2  # too sure: the scores must be divided
assert calibration.ece_scaled < 0.6 * calibration.ece
print(f"ECE {calibration.ece:.3f}; with temperature {calibration.temperature:.2f}: {calibration.ece_scaled:.3f}")
assert pair.prediction in (8, 9)  # what it says when it does not know
print(f"most confused: {pair.target} called {pair.prediction}, {pair.count} of {pair.count / pair.share:.0f}")

# 4. A detection. Scenes of four digits; what hangs together is a thing, and the network says which. The true box is
# that of a digit's ink. Things are looked for in darker ink, so that boxes are a little small; digits that touch become
# one thing, and some fall into two.
rng = np.random.default_rng(0)
true, found = [], []
for scene in range(60):
    canvas = np.zeros((48, 48), np.uint8)
    for corner in rng.permutation(16)[:4]:
        index = rng.choice(rest)
        top, left = 4 + 10 * (corner // 4) + rng.integers(0, 4), 4 + 10 * (corner % 4) + rng.integers(0, 4)
        place = canvas[top : top + 8, left : left + 8]
        np.maximum(place, drawn.images[index], out=place)
        rows, columns = np.nonzero(drawn.images[index] > 20)
        box = left + columns.min(), top + rows.min(), left + columns.max() + 1, top + rows.max() + 1
        true.append((scene, drawn.labels[index], *box))
    things, _ = ndimage.label(canvas > 60, np.ones((3, 3)))
    for rows, columns in ndimage.find_objects(things):
        top = np.clip((rows.start + rows.stop - 8) // 2, 0, 40)
        left = np.clip((columns.start + columns.stop - 8) // 2, 0, 40)
        crop = to_array(canvas[top : top + 8, left : left + 8])
        found.append((scene, (columns.start, rows.start, columns.stop, rows.stop), crop))
probabilities = trainer.predict(np.stack([crop for *_, crop in found]))
true = np.array(true)
truth = Boxes(true[:, 0], true[:, 1], true[:, 2:])
boxes = np.array([box for _, box, _ in found], float)
guess = Boxes([scene for scene, *_ in found], probabilities.argmax(1), boxes, probabilities.max(1))
detection = measure_detection(truth, guess, NAMES)
(FOLDER / "detection.png").write_bytes(detection_picture(detection))
print(detection)
print(", ".join(f"{name} {value:.3f}" for name, value in detection.stats.items() if value >= 0))
stats = detection.stats
assert 0.3 < stats["AP"] < stats["AP50"] < 1
assert stats["AR1"] < stats["AR10"] == stats["AR100"]
assert stats["AP_small"] == stats["AP"]  # all digits are small: below 32 x 32
assert stats["AP_large"] == -1

# Exercises: (a) which digits does the page show as the worst mistakes, and would you have known them? (b) train on all
# 400: what becomes of the temperature? (c) demand larger things (8 pixels or more): which numbers rise, which fall?

"""Floor 6: training. It knows models as modules whose output is a score a class, and nothing about their layers.

::

    from minicnn import nn, optim
    from minicnn.training import Checkpoints, Trainer, cosine

    trainer = Trainer(model, optim.Adam(model.parameters()), nn.CrossEntropyLoss(), schedule=cosine())
    history = trainer.fit(train_loader, validation_loader, epochs=10)

    # the same, and after any interruption once more the same, which goes on to the same bits:
    trainer.fit(train_loader, validation_loader, epochs=10, checkpoints=Checkpoints("states"), resume=True)

    from minicnn.training import Settings, finetune

    print(finetune(Settings(data="photos", epochs=20)))

| file | what is in it |
|---|---|
| `trainer.py`, `evaluation.py` | `Trainer`: fit, evaluate, predict |
| `history.py`, `progress.py`, `stopwatch.py` | what is noted each epoch; the progress bar; seconds without compiling |
| `schedules.py` | learning rates over time: `constant`, `warm_up`, `step`, `multistep`, `exponential`, `cosine`, ... |
| `steering.py` | what changes the steps besides: penalty, clipping, average of weights |
| `plateau.py`, `early_stopping.py`, `monitor.py` | what the validation decides: lower rates, the end |
| `metrics.py` | `measure`: accuracy, F1, confusion matrix, ... |
| `last_and_best.py` | `LastAndBest`: the weights after the last and the best epoch, written after each epoch |
| `checkpoints.py`, `saving.py`, `state.py` | `Checkpoints`: states from which a training goes on to the same bits |
| `fingerprint.py`, `position.py`, `interrupts.py` | of which images, at which step; Ctrl-C |
| `divergence.py` | where NaN began |
| `finetune.py`, `results.py` | `finetune`: the main job, from settings to the final table |
| `resuming.py`, `way_files.py` | `resume`: go on with a fine-tuning that was interrupted; its checkpoints |
| `pretrained.py`, `sources.py` | where its network and its images come from |
| `ways.py`, `freezing.py`, `features.py` | the ways it compares; which part learns; frozen features, computed once |
| `depth.py` | rates by depth, gradual unfreezing |
| `crossval.py`, `folds.py`, `fold_processes.py`, `fold_picture.py` | `cross_validate`: a fine-tuning for each fold |
| `compiled.py`, `compiled_layers.py`, `compiled_labels.py` | `Sequential` with compile, fit, predict: Keras's style |
| `predict.py` | from image files to class names and probabilities |
| `judging.py`, `judging_report.py` | `judge`: a network on new images; `write_report`: one page about it |
| `calibration.py`, `score_curves.py`, `mistakes.py` | of it: calibration, curves, worst mistakes |
| `html_page.py`, `judging_pictures.py`, `drawing.py` | of the page: HTML that no name can break; pictures |
| `maps.py` | where a network looked: `grad_cam`, `occlusion`, `overlay` |
| `learning_curve.py`, `learning_rate_finder.py` | accuracy against images; a sweep of the learning rate |
| `detection.py`, `detection_boxes.py`, `detection_result.py` | `measure_detection`: boxes, as COCO does |
| `report.py`, `pictures.py`, `toml.py` | the run's folder, and what is in it |

scikit-learn, matplotlib, tqdm and Numba are imported when something needs them, not before.
"""

from minicnn.training.calibration import Calibration, calibrate
from minicnn.training.checkpoints import Checkpoints
from minicnn.training.crossval import CrossValidation, cross_validate, resume_cross_validation
from minicnn.training.detection import Boxes, DetectionMetrics, measure_detection
from minicnn.training.early_stopping import EarlyStopping
from minicnn.training.evaluation import Evaluation
from minicnn.training.finetune import Settings, finetune
from minicnn.training.freezing import freeze, head_of
from minicnn.training.history import Epoch, History
from minicnn.training.judging import Judgement, judge
from minicnn.training.judging_report import write_report
from minicnn.training.last_and_best import LastAndBest
from minicnn.training.learning_curve import LearningCurve, learning_curve
from minicnn.training.learning_rate_finder import LearningRates, find_learning_rate
from minicnn.training.maps import grad_cam, occlusion, overlay
from minicnn.training.metrics import ClassMetrics, Metrics, measure
from minicnn.training.plateau import ReduceOnPlateau
from minicnn.training.pretrained import transform_for
from minicnn.training.results import FinetuneResult, Row
from minicnn.training.resuming import resume
from minicnn.training.schedules import constant, cosine, exponential, multistep, one_cycle, step, warm_up
from minicnn.training.trainer import Trainer

__all__ = [
    "Boxes",
    "Calibration",
    "Checkpoints",
    "ClassMetrics",
    "CrossValidation",
    "DetectionMetrics",
    "EarlyStopping",
    "Epoch",
    "Evaluation",
    "FinetuneResult",
    "History",
    "Judgement",
    "LastAndBest",
    "LearningCurve",
    "LearningRates",
    "Metrics",
    "ReduceOnPlateau",
    "Row",
    "Settings",
    "Trainer",
    "calibrate",
    "constant",
    "cosine",
    "cross_validate",
    "exponential",
    "find_learning_rate",
    "finetune",
    "freeze",
    "grad_cam",
    "head_of",
    "judge",
    "learning_curve",
    "measure",
    "measure_detection",
    "multistep",
    "occlusion",
    "one_cycle",
    "overlay",
    "resume",
    "resume_cross_validation",
    "step",
    "transform_for",
    "warm_up",
    "write_report",
]

"""What a code is worth to a classifier, beside raw pixels and as many principal components.

Every figure is an accuracy on test images, in [0, 1]. The classifiers are scikit-learn's, imported on use.
"""

import numpy as np
import torch

from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import Split, pixel_rows
from core_torch.models.autoencoder import Autoencoder
from core_torch.models.evaluating import evaluating
from core_torch.objectives.reconstruction import EVALUATION_BATCH
from core_torch.spec.baselines import principal_components

NEIGHBOURS = 3
MOST_ITERATIONS = 500  # of L-BFGS, where pixels take fewer than 200; scikit-learn warns where it has not converged

Representation = tuple[np.ndarray, np.ndarray]  # of the training and of the test images, each (N, width)


def probe(model: Autoencoder, train: Split, test: Split) -> dict[str, dict[str, float]]:
    """Classify by the code, raw pixels, and PCA of equal width: {representation: {"linear", "nearest neighbours"}}."""
    rows = pixel_rows(train), pixel_rows(test)
    width = min(model.architecture.code_width, rows[0].shape[1])
    mean, directions = principal_components(rows[0], width)
    representations: dict[str, Representation] = {
        "code": (encode(model, train), encode(model, test)),
        "raw pixels": rows,
        f"PCA-{width}": ((rows[0] - mean) @ directions.T, (rows[1] - mean) @ directions.T),
    }
    return {
        name: {
            "linear": linear_probe(features, train.labels, test.labels),
            "nearest neighbours": nearest_neighbours(features, train.labels, test.labels),
        }
        for name, features in representations.items()
    }


def encode(model: Autoencoder, split: Split, *, batch_size: int = EVALUATION_BATCH) -> np.ndarray:
    """Encode a split, `batch_size` images at a time: (N, code width). The model's mode is restored."""
    dataset = ResidentDataset(split, device=next(model.parameters()).device, residency="uint8")
    with evaluating(model):
        codes = [model.encode(images).cpu() for images, _ in dataset.batches(batch_size, shuffle=False)]
    return torch.cat(codes).numpy()


def linear_probe(features: Representation, train_labels: np.ndarray, test_labels: np.ndarray) -> float:
    """Logistic regression, L2 penalty 1, on features standardised by the training images: to convergence, or to
    `MOST_ITERATIONS` of features that hardly differ from each other.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MOST_ITERATIONS))
    return float(classifier.fit(features[0], train_labels).score(features[1], test_labels))


def nearest_neighbours(features: Representation, train_labels: np.ndarray, test_labels: np.ndarray) -> float:
    """Classify by the majority of the nearest training images, in the features' own Euclidean distance."""
    from sklearn.neighbors import KNeighborsClassifier

    classifier = KNeighborsClassifier(NEIGHBOURS, algorithm="brute")
    return float(classifier.fit(features[0], train_labels).score(features[1], test_labels))

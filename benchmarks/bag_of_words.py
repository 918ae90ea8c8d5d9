"""A bag-of-words Bradley-Terry baseline: what word counts alone know about which answer is better.

    python benchmarks/bag_of_words.py train=pairs.train.jsonl test=pairs.test.jsonl objectives=truthful,informative

Logistic regression without intercept on the difference of the two answers' word features (binary unigrams and bigrams,
and log length), the penalty chosen by cross-validation within the training prompts.  Prints accuracy, log-loss and
calibration over 15 equal-mass bins per objective, as the tables of a reward run define them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from made_by import made_by
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold

from mora.functional.calibration import calibration
from mora.functional.stats import clustered_stderr

BINS = 15


def rows_of(path: str, objective: str) -> list[dict[str, Any]]:
    """Labelled pairs of one objective."""
    column = "better_response_id" if objective == "better" else f"{objective}_response_id"
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    return [row | {"label": row[column]} for row in rows if row.get(column) is not None]


def differences(rows: list[dict[str, Any]], words: CountVectorizer) -> csr_matrix:
    """Features of response_1 minus those of response_0."""
    sides = [[row[f"response_{side}"] for row in rows] for side in (0, 1)]
    lengths = [np.log1p([[len(text.split())] for text in texts]) for texts in sides]
    return csr_matrix(hstack([words.transform(sides[1]) - words.transform(sides[0]), lengths[1] - lengths[0]]))


def main() -> None:
    """Fit and print one line per objective."""
    print(made_by())
    arguments = dict(argument.split("=", 1) for argument in sys.argv[1:])
    for objective in arguments["objectives"].split(","):
        train, test = (rows_of(arguments[split], objective) for split in ("train", "test"))
        words = CountVectorizer(binary=True, ngram_range=(1, 2), min_df=2, token_pattern=r"(?u)\b\w+\b")
        words.fit([row[f"response_{side}"] for row in train for side in (0, 1)])
        x, y = differences(train, words), np.array([row["label"] for row in train])
        mirrored = csr_matrix(np.vstack([x.toarray(), -x.toarray()])), np.concatenate([y, 1 - y])
        groups = np.tile(np.unique([row["prompt"] for row in train], return_inverse=True)[1], 2)
        model = GridSearchCV(
            LogisticRegression(fit_intercept=False, max_iter=2000),
            {"C": [0.003, 0.01, 0.03, 0.1, 0.3, 1.0]},
            cv=GroupKFold(5),
            scoring="neg_log_loss",
        ).fit(*mirrored, groups=groups)
        labels = np.array([row["label"] for row in test])
        chance = model.predict_proba(differences(test, words))[:, 1]
        right = ((chance > 0.5) == labels) + 0.0
        loss = -np.log(np.where(labels == 1, chance, 1 - chance)).mean()
        prompts = np.array([row["prompt"] for row in test])
        found = calibration(chance, labels.astype(float), prompts, bins=BINS, level=0.95)
        spread, (low, high) = float(clustered_stderr(right, prompts)), found["error"]["interval"]
        print(
            f"{objective:<14} accuracy {right.mean():.3f} +- {spread:.3f}  log-loss {loss:.3f}  ECE {found['ece']:.3f} "
            f"(if calibrated {found['ece_if_calibrated']:.3f})  calibration error {found['error']['value']:.3f} "
            f"[{low:.3f}, {high:.3f}]  n {len(test)}"
        )


if __name__ == "__main__":
    main()

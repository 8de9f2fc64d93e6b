"""Models on disk: versions, champions, cards. What every model room shares and no step knows about.

Belongs here: saving and loading versions (`data/models/<model>/<version>/`), the champion, the rule of promotion, the model card.
Does not belong here: estimators, features, labels, metrics of a step.

A version is a folder that appears whole or not at all: `parameters.json`, `card.json`, and `estimator.skops` where there is a
scikit-learn object (never a pickle). The champion is named in a file that is switched by one atomic rename.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from cx_pipeline.core.errors import EngineError, Problem

_CHAMPION = "champion"
CARD_SECTIONS = (
    "model_details",
    "intended_use",
    "factors",
    "metrics",
    "evaluation_data",
    "training_data",
    "quantitative_analyses",
    "ethical_considerations",
    "caveats_and_recommendations",
)


@dataclass(frozen=True)
class ModelCard:
    """The nine sections of Mitchell et al. 2019, each a paragraph or a list in Markdown."""

    model_details: str
    intended_use: str
    factors: str
    metrics: str
    evaluation_data: str
    training_data: str
    quantitative_analyses: str
    ethical_considerations: str
    caveats_and_recommendations: str

    def markdown(self) -> str:
        """The card as Markdown, one heading per section."""
        return "\n\n".join(f"### {name.replace('_', ' ').capitalize()}\n\n{getattr(self, name)}" for name in CARD_SECTIONS)


@dataclass(frozen=True)
class Metric:
    """One figure of a model out of time, beside the same figure of a baseline (None where a baseline makes no sense).

    Attributes:
        window: what it was measured on, e.g. `2017-10-01..2017-12-31`.
        metric: auc, brier, spearman, bias, mae, ...
        value, baseline: the model's figure and the naive rule's.
    """

    window: str
    metric: str
    value: float | None
    baseline: float | None = None


@dataclass(frozen=True)
class TrainedModel:
    """What training hands over to be stored.

    Attributes:
        model: name of the model, e.g. `purchase_90d`.
        trained_on: the as-of date of the training data.
        parameters: everything scoring needs, as JSON values (feature names, coefficients, bounds ...).
        metrics: out-of-time figures.
        card: the model card.
        is_better: whether it beats its baseline out of time and is calibrated; a model that is not may not be used.
        verdict: that judgement in a sentence.
        estimator: a scikit-learn object, or None.
    """

    model: str
    trained_on: date
    parameters: Mapping[str, Any]
    metrics: Sequence[Metric]
    card: ModelCard
    is_better: bool
    verdict: str
    estimator: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class ModelVersion:
    """A stored version: `load_estimator` gives the scikit-learn object back.

    Attributes:
        model, version: names; a version is `<as-of date>-<digest of its parameters>`, so the same training gives the same name.
        parameters, card, metrics: as stored.
        is_better, verdict: the judgement at training.
    """

    model: str
    version: str
    folder: Path
    trained_on: date
    parameters: Mapping[str, Any]
    card: ModelCard
    metrics: tuple[Metric, ...]
    is_better: bool
    verdict: str

    def load_estimator(self) -> Any:
        """The stored scikit-learn object.

        Raises:
            EngineError: if the file holds types that are not scikit-learn's or NumPy's.
        """
        from skops.io import get_untrusted_types, load

        path = self.folder / "estimator.skops"
        untrusted = [name for name in get_untrusted_types(file=path) if not name.startswith(("sklearn.", "numpy.", "scipy."))]
        if untrusted:
            raise EngineError(Problem("the stored model holds foreign types", f"models/{self.model}/{self.version}", len(untrusted)))
        return load(path, trusted=get_untrusted_types(file=path))


class ModelStore:
    """The models of a data directory.

    Args:
        root: the data directory's `models/`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def save(self, trained: TrainedModel) -> ModelVersion:
        """Store a trained model as a new version; the same parameters on the same date are the same version."""
        payload = json.dumps(trained.parameters, sort_keys=True, default=str)
        estimator = _dumped(trained.estimator)
        digest = hashlib.sha256(payload.encode() + estimator_digest(trained.estimator)).hexdigest()[:8]
        version = f"{trained.trained_on.isoformat()}-{digest}"
        final = self.root / trained.model / version
        partial = final.with_name(f"{version}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (partial / "parameters.json").write_text(payload, encoding="utf-8")
        if estimator is not None:
            (partial / "estimator.skops").write_bytes(estimator)
        card = {
            "trained_on": trained.trained_on.isoformat(),
            "card": asdict(trained.card),
            "metrics": [asdict(metric) for metric in trained.metrics],
            "is_better": trained.is_better,
            "verdict": trained.verdict,
        }
        (partial / "card.json").write_text(json.dumps(card, indent=1), encoding="utf-8")
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
        return self.load(trained.model, version)

    def load(self, model: str, version: str) -> ModelVersion:
        """A stored version.

        Raises:
            EngineError: if it is not there.
        """
        folder = self.root / model / version
        if not (folder / "card.json").is_file():
            raise EngineError(Problem("there is no such model version", f"models/{model}/{version}", remedy="cx train"))
        stored = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        return ModelVersion(
            model=model,
            version=version,
            folder=folder,
            trained_on=date.fromisoformat(stored["trained_on"]),
            parameters=json.loads((folder / "parameters.json").read_text(encoding="utf-8")),
            card=ModelCard(**stored["card"]),
            metrics=tuple(Metric(**metric) for metric in stored["metrics"]),
            is_better=stored["is_better"],
            verdict=stored["verdict"],
        )

    def versions(self, model: str) -> list[ModelVersion]:
        """All stored versions of a model, oldest first."""
        folder = self.root / model
        if not folder.is_dir():
            return []
        names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.endswith(".partial"))
        return [self.load(model, name) for name in names]

    def champion(self, model: str) -> ModelVersion | None:
        """The version in use, or None where none was ever trained."""
        pointer = self.root / model / _CHAMPION
        return self.load(model, pointer.read_text(encoding="utf-8").strip()) if pointer.is_file() else None

    def promote(self, version: ModelVersion) -> None:
        """Make a version the champion, by one atomic rename."""
        new = self.root / version.model / f".{_CHAMPION}.new"
        new.write_text(f"{version.version}\n", encoding="utf-8")
        new.replace(self.root / version.model / _CHAMPION)


def decide(challenger: ModelVersion, champion: ModelVersion | None, metric: str, *, higher_is_better: bool) -> tuple[bool, str]:
    """Whether a challenger is promoted, and why.

    It must beat its own baseline; and where there is a champion that does too, be at least as good on the deciding metric, each
    on its own out-of-time window.

    Args:
        challenger: the version just trained.
        champion: the version in use, if any.
        metric: name of the deciding metric.
        higher_is_better: its direction.
    """
    if not challenger.is_better:
        return champion is None, f"not better than its baseline: {challenger.verdict}"
    if champion is None:
        return True, "the first version"
    if not champion.is_better:
        return True, "the champion is not better than its baseline"
    values = [_value_of(version, metric) for version in (challenger, champion)]
    if values[0] is None or values[1] is None:
        return values[0] is not None, f"{metric} is not known of both"
    is_at_least = values[0] >= values[1] if higher_is_better else values[0] <= values[1]
    return is_at_least, f"{metric} {values[0]:.4g} against the champion's {values[1]:.4g}"


def _value_of(version: ModelVersion, metric: str) -> float | None:
    return next((m.value for m in version.metrics if m.metric == metric), None)


def _dumped(estimator: Any) -> bytes | None:
    if estimator is None:
        return None
    from skops.io import dumps

    data: bytes = dumps(estimator)
    return data


def estimator_digest(estimator: Any) -> bytes:
    """Digest of a fitted estimator's content, independent of object identities and time stamps in its file."""
    import zipfile
    from io import BytesIO

    data = _dumped(estimator)
    if data is None:
        return b""
    digest = hashlib.sha256()
    with zipfile.ZipFile(BytesIO(data)) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".npy"):
                digest.update(archive.read(name))
    return digest.digest()

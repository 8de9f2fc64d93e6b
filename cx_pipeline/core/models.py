"""Models on disk: versions, champions, cards. What every model room shares and no step knows about.

Belongs here: saving and loading versions (`data/models/<model>/<version>/`), the champion, the rule of promotion, the model card,
the tables of figures and versions that every model room publishes.
Does not belong here: estimators, features, labels, metrics of a step.

A version is a folder that appears whole or not at all: `parameters.json`, `card.json`, and `estimator.skops` where there is a
scikit-learn object (never a pickle). `decision.json` says later whether it was promoted, and why. The champion is named in a file
that is switched by one atomic rename.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cx_pipeline.core.errors import EngineError, Problem

if TYPE_CHECKING:
    import narwhals as nw
    import polars as pl

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
# Types beyond skops' own list that a stored estimator may hold: parts of fitted scikit-learn objects that only compute.
TRUSTED_TYPES = frozenset(
    {
        "numpy.dtype",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        "scipy.interpolate._bsplines.BSpline",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
    }
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
        sections = ((name.replace("_", " ").capitalize(), getattr(self, name)) for name in CARD_SECTIONS)
        return "\n\n".join(f"### {title}\n\n{text}" for title, text in sections)


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
        decision: whether it was promoted when it was trained, and why; empty where nobody decided.
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
    decision: str = ""

    @property
    def has_estimator(self) -> bool:
        """Whether there is a stored scikit-learn object."""
        return (self.folder / "estimator.skops").is_file()

    def load_estimator(self) -> Any:
        """The stored scikit-learn object.

        Raises:
            EngineError: if there is none, or if the file holds types other than scikit-learn's known ones.
        """
        from skops.io import loads

        path = self.folder / "estimator.skops"
        where = f"models/{self.model}/{self.version}"
        if not self.has_estimator:
            raise EngineError(Problem("this version has no estimator", where))
        data = path.read_bytes()
        return loads(data, trusted=_checked_types(data, where))

    def metric(self, name: str) -> float | None:
        """Value of a stored figure; None where it is not known."""
        return next((metric.value for metric in self.metrics if metric.metric == name), None)


class ModelStore:
    """The models of a data directory.

    Args:
        root: the data directory's `models/`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def save(self, trained: TrainedModel) -> ModelVersion:
        """Store a trained model as a new version; the same parameters on the same date are the same version.

        Raises:
            EngineError: if parameters are no JSON values, or the estimator holds types that could not be loaded again.
        """
        where = f"models/{trained.model}"
        payload = _json(trained.parameters, where)
        estimator = _dumped(trained.estimator)
        if estimator is not None:
            _checked_types(estimator, where)
        digest = hashlib.sha256(payload.encode() + _content_digest(estimator)).hexdigest()[:8]
        final = self.root / trained.model / f"{trained.trained_on.isoformat()}-{digest}"
        card = {
            "trained_on": trained.trained_on.isoformat(),
            "card": asdict(trained.card),
            "metrics": [asdict(metric) | {"value": _finite(metric.value)} for metric in trained.metrics],
            "is_better": trained.is_better,
            "verdict": trained.verdict,
        }
        if final.exists():
            # Only the judgement can differ: the version that may be in use is never taken away to be put back.
            _write(final / "card.json", _json(card, where))
            return self.load(trained.model, final.name)
        partial = final.with_name(f"{final.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (partial / "parameters.json").write_text(payload, encoding="utf-8")
        if estimator is not None:
            (partial / "estimator.skops").write_bytes(estimator)
        (partial / "card.json").write_text(_json(card, where), encoding="utf-8")
        partial.rename(final)
        return self.load(trained.model, final.name)

    def submit(self, trained: TrainedModel, metric: str, *, higher_is_better: bool) -> ModelVersion:
        """Save a challenger, decide between it and the champion, promote it if it wins, and keep the decision with it.

        The same version again changes nothing but its card. Arguments as in `decide`.
        """
        champion = self.champion(trained.model)
        version = self.save(trained)
        if version.decision or (champion and champion.version == version.version):
            return version
        is_promoted, why = decide(version, champion, metric, higher_is_better=higher_is_better)
        decision = f"{'promoted' if is_promoted else 'not promoted'}: {why}"
        _write(version.folder / "decision.json", json.dumps({"decision": decision}))
        if is_promoted:
            self.promote(version)
        return self.load(version.model, version.version)

    def load(self, model: str, version: str) -> ModelVersion:
        """A stored version.

        Raises:
            EngineError: if it is not there.
        """
        folder = self.root / model / version
        if not (folder / "card.json").is_file():
            raise EngineError(Problem("there is no such model version", f"models/{model}/{version}", remedy="cx train"))
        stored = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        decided = folder / "decision.json"
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
            decision=json.loads(decided.read_text(encoding="utf-8"))["decision"] if decided.is_file() else "",
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
        _write(self.root / version.model / _CHAMPION, f"{version.version}\n")


def decide(
    challenger: ModelVersion, champion: ModelVersion | None, metric: str, *, higher_is_better: bool
) -> tuple[bool, str]:
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
    new, old = challenger.metric(metric), champion.metric(metric)
    if new is None or old is None:
        return new is not None, f"{metric} is not known of both"
    is_at_least = new >= old if higher_is_better else new <= old
    return is_at_least, f"{metric} {new:.4g} against the champion's {old:.4g}"


def metric_rows(store: ModelStore, models: Sequence[str], as_of: date) -> pl.DataFrame:
    """One row per stored version and figure: model, version, window, metric, value, baseline, as_of."""
    import polars as pl

    schema = {
        "model": pl.String, "version": pl.String, "window": pl.String, "metric": pl.String,
        "value": pl.Float64, "baseline": pl.Float64, "as_of": pl.Date,
    }  # fmt: skip
    rows = [
        (version.model, version.version, metric.window, metric.metric, metric.value, metric.baseline, as_of)
        for model in models
        for version in store.versions(model)
        for metric in version.metrics
    ]
    return pl.DataFrame(rows, schema=schema, orient="row")


def version_rows(store: ModelStore, models: Sequence[str], as_of: date) -> pl.DataFrame:
    """One row per stored version: model, version, trained_on, is_champion, is_better, verdict, decision, card, as_of."""
    import polars as pl

    schema = {
        "model": pl.String, "version": pl.String, "trained_on": pl.Date, "is_champion": pl.Boolean,
        "is_better": pl.Boolean, "verdict": pl.String, "decision": pl.String, "card": pl.String, "as_of": pl.Date,
    }  # fmt: skip
    rows = []
    for model in models:
        champion = store.champion(model)
        for version in store.versions(model):
            is_champion = champion is not None and champion.version == version.version
            told = (version.is_better, version.verdict, version.decision, version.card.markdown())
            rows.append((model, version.version, version.trained_on, is_champion, *told, as_of))
    return pl.DataFrame(rows, schema=schema, orient="row")


def champion_cards(versions: nw.LazyFrame[Any]) -> str:
    """The cards of the champions as Markdown, for the UI: what `version_rows` made, as written."""
    import narwhals as nw

    from cx_pipeline.core.frames import to_polars

    rows = to_polars(versions.filter(nw.col("is_champion")).select("model", "version", "decision", "card"))
    if rows.is_empty():
        return "No model: there is too little to train one on."
    parts = [
        f"## {row['model']} {row['version']}\n\n{row['decision']}\n\n{row['card']}"
        for row in rows.sort("model").to_dicts()
    ]
    return "\n\n".join(parts)


def _write(path: Path, text: str) -> None:
    """Replace a small file by one atomic rename."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _json(values: object, where: str) -> str:
    """JSON text that is the same for equal values; NumPy scalars and dates are written as what they stand for."""

    def plain(value: object) -> object:
        if isinstance(value, date):
            return value.isoformat()
        if hasattr(value, "tolist"):
            return value.tolist()
        raise TypeError(type(value).__name__)

    try:
        return json.dumps(values, sort_keys=True, default=plain, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise EngineError(
            Problem(
                f"what was learnt cannot be stored as JSON ({error})", where, remedy="hand over finite plain values"
            )
        ) from None


def _dumped(estimator: Any) -> bytes | None:
    if estimator is None:
        return None
    from skops.io import dumps

    data: bytes = dumps(estimator)
    return data


def _checked_types(data: bytes, where: str) -> list[str]:
    """Types of a skops file beyond skops' own list, all of them known."""
    from skops.io import get_untrusted_types

    types: list[str] = get_untrusted_types(data=data)
    foreign = sorted(set(types) - TRUSTED_TYPES)
    if foreign:
        raise EngineError(
            Problem("the model holds foreign types", where, len(foreign), foreign[0], "do not load it; train it anew")
        )
    return types


def _content_digest(data: bytes | None) -> bytes:
    """Digest of a skops file that does not depend on memory addresses, which name its parts and stand in its schema."""
    import zipfile
    from io import BytesIO

    if data is None:
        return b""
    seen: dict[int, int] = {}
    with zipfile.ZipFile(BytesIO(data)) as archive:

        def canonical(node: Any) -> Any:
            if isinstance(node, list):
                return [canonical(item) for item in node]
            if not isinstance(node, dict):
                return node
            result: dict[str, Any] = {}
            for key, value in node.items():
                if key == "__id__":
                    result[key] = seen.setdefault(value, len(seen))
                elif key == "file":
                    result[key] = hashlib.sha256(archive.read(value)).hexdigest()
                else:
                    result[key] = canonical(value)
            return result

        text = json.dumps(canonical(json.loads(archive.read("schema.json"))))
    return hashlib.sha256(text.encode()).digest()

"""Which linkage model a night uses, and what it leaves for the next one.

Belongs here: the champion of the model store, the rule when a night trains for itself, the files of the linkage's state. Does not
belong here: learning (training.py), scoring (linkage.py).
"""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path

import polars as pl

from cx_pipeline.core.models import ModelStore
from cx_pipeline.identity.incremental import LinkageState
from cx_pipeline.identity.linkage import train
from cx_pipeline.identity.linkage_model import MODEL, LinkageModel, usable_model
from cx_pipeline.identity.policy import LinkagePolicy
from cx_pipeline.identity.training import DECIDING_METRIC, trained_model


def model_in_use(
    store: ModelStore,
    records: pl.DataFrame,
    policy: LinkagePolicy,
    duplicate_free: frozenset[str],
    hash_key: str,
    trained_on: date,
    *,
    trains: bool = False,
) -> LinkageModel | None:
    """The champion; where it is none, or does not fit the records (see `usable_model`), or in training, a new one is trained.

    A new model that fails its guards is used only where there is no other.

    Args:
        store: of the data directory.
        records: numbered and standardised.
        policy: of the linkage.
        duplicate_free: channels that hold one record per person.
        hash_key: of the company.
        trained_on: as-of date, for the version's name.
        trains: whether a challenger is wanted although the champion fits.

    Returns:
        None where no column names anybody or there is no pair to learn from.
    """
    champion = store.champion(MODEL)
    held = usable_model(dict(champion.parameters) if champion else None, records, policy, hash_key)
    if held and not trains:
        return held
    found = train(records, policy, duplicate_free, hash_key)
    if found is None:
        return held
    store.submit(trained_model(found, trained_on), DECIDING_METRIC, higher_is_better=True)
    champion = store.champion(MODEL)
    return usable_model(dict(champion.parameters) if champion else None, records, policy, hash_key) or found


def state_folder(warehouse: Path) -> Path:
    """Where the linkage's state lies: beside the database file."""
    return warehouse.parent / "linkage"


def write_state(folder: Path, state: LinkageState | None) -> None:
    """Replaces what last night left; with None nothing is left.

    Parquet files beside the database and no tables of it, because their columns follow the model and nothing but the next night
    reads them. They hold keyed hashes and numbers; whoever deletes them loses time, nothing else.
    """
    if state is None:
        shutil.rmtree(folder, ignore_errors=True)
        return
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    state.records.write_parquet(partial / "records.parquet", compression="lz4", statistics=False)
    state.pairs.write_parquet(partial / "pairs.parquet", compression="lz4", statistics=False)
    (partial / "signature.json").write_text(json.dumps({"signature": state.signature}), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def read_state(folder: Path) -> LinkageState | None:
    """What last night left, or None."""
    signature = folder / "signature.json"
    if not signature.is_file():
        return None
    return LinkageState(
        json.loads(signature.read_text(encoding="utf-8"))["signature"],
        pl.read_parquet(folder / "records.parquet"),
        pl.read_parquet(folder / "pairs.parquet"),
    )

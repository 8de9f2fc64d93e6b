"""Identity at scale: a night with a trained model, a night with 1 % new records, and bare Splink on the same rules and levels.

Run with `cx bench identity_scale` (100,000 records) or `python benchmarks/identity_scale.py 100000 1000000`; with `budgets 50000` it
shows what the budget of candidate pairs costs in F1. People come from the simulator's population; each stands in 2.2 records on
average, with missing values, typing errors and moves. Each case runs in a process of its own; CPU is that of all its threads.
"""

from __future__ import annotations

import json
import multiprocessing as mp
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

SHARE_OF_NEW_RECORDS = 0.01
KEY = "benchmark"


def main() -> None:
    """Print one line per case and phase."""
    words = [word for word in sys.argv[1:] if word == "budgets" or word.isdigit()]
    if words[:1] == ["budgets"]:
        for n in map(int, words[1:] or ["50000"]):
            _budgets(n)
        return
    for n in map(int, words or ["100000"]):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            found = {case: _alone(_CASES[case], n, folder) for case in ("train", "before", "full", "night", "splink")}
            for case, phases in found.items():
                for phase, figures in phases.items():
                    print(f"{n:>9,} {case:<7} {phase:<22}" + "".join(f"{k} {v:>12,.1f}  " for k, v in figures.items()))
            ours, bare = found["full"]["link"], found["splink"]["predict"]
            print(f"{n:>9,} blocking, levels, scoring over bare Splink: wall {ours['wall s'] / bare['wall s']:.2f}, "
                  f"CPU {ours['cpu s'] / bare['cpu s']:.2f}")  # fmt: skip
            for unit in ("wall s", "cpu s"):
                share = found["night"]["all"][unit] / found["full"]["all"][unit]
                print(
                    f"{n:>9,} night with {SHARE_OF_NEW_RECORDS:.0%} new records over a full one: {unit} {share:.3f}",
                    flush=True,
                )


def _alone(case: Any, *arguments: Any) -> Any:
    with mp.get_context("spawn").Pool(1) as pool:
        return json.loads(pool.apply(case, arguments))


class Clock:
    """Wall, CPU and peak memory of named phases."""

    def __init__(self) -> None:
        self.phases: dict[str, dict[str, float]] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[dict[str, float]]:
        """Measures what is done inside; figures of one's own may be added to what it yields."""
        wall, cpu = time.perf_counter(), time.process_time()
        figures: dict[str, float] = {}
        yield figures
        divisor = 1 << 20 if sys.platform == "darwin" else 1 << 10
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / divisor
        measured = {"wall s": time.perf_counter() - wall, "cpu s": time.process_time() - cpu, "peak MB": peak}
        self.phases[phase] = measured | figures


def _train(n: int, folder: Path) -> str:
    from cx_pipeline.identity.linkage import train
    from cx_pipeline.identity.policy import LinkagePolicy

    parties(n).write_parquet(folder / "parties.parquet")
    clock = Clock()
    records = _records(folder, n)
    with clock("all") as figures:
        model = train(records, LinkagePolicy(), frozenset(), KEY)
        assert model is not None
        text = json.dumps(model.as_dict())
        figures["model MB"] = len(text) / 1e6
    (folder / "model.json").write_text(text)
    return json.dumps(clock.phases)


def _before(n: int, folder: Path) -> str:
    """The night before: all but the newest records; leaves its state."""
    from cx_pipeline.identity.champion import write_state

    phases, state = _night(n - int(n * SHARE_OF_NEW_RECORDS), folder, None)
    write_state(folder / "state", state)
    return json.dumps(phases)


def _full(n: int, folder: Path) -> str:
    phases, state = _night(n, folder, None)
    state.pairs.select("left", "right", "match_weight").write_parquet(folder / "full.parquet")
    return json.dumps(phases)


def _incremental(n: int, folder: Path) -> str:
    phases, state = _night(n, folder, folder / "state")
    full = pl.read_parquet(folder / "full.parquet").filter(pl.col("match_weight") > 0)
    assert state.pairs.select(full.columns).filter(pl.col("match_weight") > 0).equals(full), (
        "not what a full night gives"
    )
    return json.dumps(phases)


def _night(n: int, folder: Path, state: Path | None) -> tuple[dict[str, Any], Any]:
    from cx_pipeline.identity.champion import read_state
    from cx_pipeline.identity.linkage import link
    from cx_pipeline.identity.linkage_model import LinkageModel
    from cx_pipeline.identity.policy import LinkagePolicy, ResolutionPolicy
    from cx_pipeline.identity.resolution import resolve

    clock = Clock()
    nothing = pl.DataFrame(schema={"left": pl.Int64, "right": pl.Int64})
    with clock("all") as all_figures:
        model = LinkageModel.from_dict(json.loads((folder / "model.json").read_text()))
        with clock("standardise, number"):
            records = _records(folder, n)
        with clock("read state"):
            previous = read_state(state) if state else None
        with clock("link") as figures:
            linkage = link(records, LinkagePolicy(), frozenset(), model, KEY, previous)
            figures["pairs"] = linkage.report["blocking"]["n_scored_pairs"]
            figures["edges"] = linkage.edges.height
        with clock("resolve"):
            clusters = resolve(records.height, linkage.edges, nothing, ResolutionPolicy())
        truth = pl.read_parquet(folder / "parties.parquet", columns=["record_id", "person"])
        joined = records.select("record", "record_id").join(truth, on="record_id").join(clusters, on="record")
        all_figures["pair F1 %"] = 100 * pair_f1(joined["cluster"], joined["person"])
    return clock.phases, linkage.state


def _splink(n: int, folder: Path) -> str:
    """Splink blocks by the same keys (a code column each, NULL where the block is too large) and scores with the same levels."""
    from cx_pipeline.identity.blocking import TOKEN_PAIRS, block_codes
    from cx_pipeline.identity.fields import comparison_columns
    from cx_pipeline.identity.hashing import Hasher
    from cx_pipeline.identity.linkage import _Engine
    from cx_pipeline.identity.linkage_model import LinkageModel
    from cx_pipeline.identity.model import atoms, splink_settings
    from cx_pipeline.identity.policy import LinkagePolicy

    model = LinkageModel.from_dict(json.loads((folder / "model.json").read_text()))
    hasher = Hasher(KEY)
    table = comparison_columns(_records(folder, n), model.fields, hasher, model.tokens)
    codes = block_codes(table, atoms(model.fields), hasher)
    rules: list[str | dict[str, Any]] = []
    for i, key in enumerate(model.keys):
        entries, _, sizes = codes.entries(key.atoms).in_blocks()
        kept = np.repeat(sizes <= key.max_records, sizes)
        column = pl.DataFrame({"place": entries.records[kept], "code": entries.codes[kept]})
        is_list = key.atoms == (TOKEN_PAIRS,)
        column = column.group_by("place").agg(pl.col("code") if is_list else pl.col("code").first())
        every = pl.DataFrame({"place": np.arange(n)}).join(column, on="place", how="left", maintain_order="left")
        table = table.with_columns(every["code"].alias(f"key_{i}"))
        rule = f"l.key_{i} = r.key_{i}"
        rules.append({"blocking_rule": rule, "arrays_to_explode": [f"key_{i}"]} if is_list else rule)
    scorer = model.scorer(of_organisations=False)
    settings = splink_settings(
        model.comparisons, scorer.model.share_match, (), use_term_frequencies=True, estimate=scorer.margins()
    )
    settings |= {
        "retain_intermediate_calculation_columns": False,
        "blocking_rules_to_generate_predictions": [
            rule if isinstance(rule, dict) else {"blocking_rule": rule} for rule in rules
        ],
    }
    clock = Clock()
    with _Engine(table, LinkagePolicy()).opened() as engine, clock("predict") as figures:
        predicted = engine.linker(settings).inference.predict(threshold_match_weight=-14.4, warning_mode="never")
        figures["edges"] = predicted.as_duckdbpyrelation().count("*").fetchall()[0][0]
    return json.dumps(clock.phases)


def _budgets(n: int) -> None:
    print("pairs a record: budget, used, pair F1 after resolution")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parties(n).write_parquet(folder / "parties.parquet")
        for budget in (10.0, 20.0, 40.0, 80.0):
            figures = _alone(_budget, n, folder, budget)
            print(f"{budget:>6.0f} {figures['used']:>8.1f} {figures['f1']:>8.4f}", flush=True)


def _budget(n: int, folder: Path, budget: float) -> str:
    from cx_pipeline.identity.linkage import link
    from cx_pipeline.identity.policy import LinkagePolicy, ResolutionPolicy
    from cx_pipeline.identity.resolution import resolve

    records = _records(folder, n)
    linkage = link(records, LinkagePolicy(pairs_per_record=budget), frozenset(), hash_key=KEY)
    nothing = pl.DataFrame(schema={"left": pl.Int64, "right": pl.Int64})
    clusters = resolve(records.height, linkage.edges, nothing, ResolutionPolicy())
    truth = pl.read_parquet(folder / "parties.parquet", columns=["record_id", "person"])
    joined = records.select("record", "record_id").join(truth, on="record_id").join(clusters, on="record")
    f1 = pair_f1(joined["cluster"], joined["person"])
    return json.dumps({"used": linkage.report["blocking"]["n_pairs"] / n, "f1": f1})


def pair_f1(cluster: pl.Series, truth: pl.Series) -> float:
    """Harmonic mean of precision and recall over pairs of records."""
    both = pl.DataFrame({"cluster": cluster, "truth": truth})

    def pairs(*columns: str) -> float:
        sizes = both.group_by(*columns).len()["len"].cast(pl.Float64)
        return float((sizes * (sizes - 1) / 2).sum())

    return 2 * pairs("cluster", "truth") / max(pairs("cluster") + pairs("truth"), 1.0)


def _records(folder: Path, n: int) -> pl.DataFrame:
    from cx_pipeline.core.frames import lazy, to_polars
    from cx_pipeline.identity.fields import number_records
    from cx_pipeline.identity.standardise import standardise

    # The newest records come last in the file, anywhere in the order of ids.
    rows = pl.read_parquet(folder / "parties.parquet", n_rows=n).drop("person")
    return number_records(to_polars(standardise(lazy(rows))))


def parties(n_records: int, seed: int = 7) -> pl.DataFrame:
    """Rows of `staging.parties` with `person`, the truth."""
    from cx_pipeline.simulate.population import draw_population

    rng = np.random.default_rng(seed)
    people = draw_population(int(n_records / 2.2), 365, seed).persons
    again = rng.integers(0, people.height, n_records - people.height)
    who = rng.permutation(np.concatenate([np.arange(people.height), again]))
    seen = people[who]
    has_moved = pl.Series(rng.random(n_records) < 0.5) & seen["moved_at"].is_not_null()

    def address(part: str) -> pl.Series:
        return seen.select(pl.when(has_moved).then(f"previous_{part}").otherwise(part).alias(part)).to_series()

    # Column -> its values, share with an error, share missing.
    columns = {
        "given_name": (seen["given_name"], 0.06, 0.02),
        "surname": (seen["surname"], 0.06, 0.02),
        "birth_date": (seen["birth_date"].cast(pl.String), 0.03, 0.3),
        "email": (seen["email"], 0.04, 0.3),
        "phone": (seen["mobile_phone"], 0.03, 0.4),
        "address_street": (address("street"), 0.05, 0.2),
        "address_number": (address("house_number"), 0.02, 0.2),
        "address_city": (address("city"), 0.04, 0.15),
        "address_postcode": (address("postcode"), 0.04, 0.15),
    }
    channel = pl.Series(["web", "store", "crm", "app"])[rng.choice(4, n_records, p=[0.4, 0.25, 0.2, 0.15])]
    numbers = pl.Series(rng.permutation(n_records)).cast(pl.String).str.zfill(9)
    return pl.DataFrame(
        {"channel": channel, "record_id": numbers, "person": who}
        | {name: _spoilt(values, errors, missing, rng) for name, (values, errors, missing) in columns.items()}
    )


def _spoilt(values: pl.Series, errors: float, missing: float, rng: np.random.Generator) -> pl.Series:
    """One character replaced, in a share of the values; none at all, in another."""
    frame = pl.DataFrame({"value": values, "at": rng.random(len(values))})
    at = (pl.col("at") * pl.col("value").str.len_chars()).cast(pl.Int64)
    letters = pl.Series(list("abcdefghijklmnopqrstuvwxyz"))[rng.integers(0, 26, len(values))]
    wrong = pl.concat_str(pl.col("value").str.slice(0, at), letters, pl.col("value").str.slice(at + 1))
    is_wrong, is_there = (pl.Series(rng.random(len(values)) < share) for share in (errors, 1 - missing))
    return frame.select(pl.when(is_there).then(pl.when(is_wrong).then(wrong).otherwise("value"))).to_series()


_CASES = {"train": _train, "before": _before, "full": _full, "night": _incremental, "splink": _splink}

if __name__ == "__main__":
    main()

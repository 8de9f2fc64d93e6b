"""Identity on labelled sets: ours beside the public peers on the same data in one run; quality, wall, CPU, peak memory.

Run with `CX_BENCH_DATA=DIR cx bench identity`, where DIR holds

- Parquet files with `source`, `rec_id`, `truth_id` (the true entity, read by the evaluation only) and fields as text, such as Splink's
  historical_50k and fake_1000 or recordlinkage's febrl3; and
- folders of simulated companies after a night (`truth/records.parquet` beside `published/` or `warehouse/cx.duckdb`): case `published`
  judges the customer_xref that the night left, persons and accounts; its cost is that of the night.

| case | |
|---|---|
| ours | label-free, defaults |
| splink | plain Splink training and scores in our blocking and resolution |
| splink-docs | Splink with its documentation's settings and blocking rules for the set, connected components at p >= 0.95 |
| splink-docs-cut | the same at the threshold that the documentation clusters at, where it is another one |
| recordlinkage | its ECM classifier where a surname, birth date, postcode, e-mail address or identifier agrees, connected components |
| recordlinkage-docs | the same within the blocking rules of splink-docs |
| goldenmatch | GoldenMatch, zero-config |
| exact | stitching: connected components over equal identifiers, e-mail addresses, and full name with birth date |

Peers get the fields, never `source`, `rec_id` or `truth_id`. They come with `pip install 'cx-pipeline[bench]'`; or CX_BENCH_PEERS_PYTHON
names the Python of another environment (it needs the peer, polars, pandas and scipy). CX_BENCH_SETS and CX_BENCH_CASES choose some by
name, comma-separated. Each case runs in a process of its own that is stopped after CX_BENCH_SECONDS (default 300); imports and reading
the set are not counted in the times but are in the memory.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

ROOT = Path(__file__).parents[1]
# Field of a set -> column of staging.parties; the only thing that is said about a set.
FIELDS = {
    "given_name": "given_name",
    "first_name": "given_name",
    "surname": "surname",
    "full_name": "full_name",
    "dob": "birth_date",
    "date_of_birth": "birth_date",
    "birth_place": "birth_place",
    "occupation": "occupation",
    "gender": "sex",
    "postcode": "address_postcode",
    "postcode_fake": "address_postcode",
    "city": "address_city",
    "suburb": "address_city",
    "state": "address_region",
    "street_number": "address_number",
    "address_1": "address_street",
    "address_2": "address_line",
    "email": "email",
}
IDENTIFIERS = {"soc_sec_id": "ssn"}
NOT_FIELDS = ("source", "rec_id", "truth_id")
# Compared by Jaro-Winkler similarity for recordlinkage, as in its documentation; the others exactly.
SPELT = {
    "given_name",
    "surname",
    "full_name",
    "birth_place",
    "occupation",
    "address_city",
    "address_street",
    "address_line",
    "email",
}
SIMILAR = 0.85
BLOCKS = {"surname", "birth_date", "address_postcode", "email", "id"}
SURE = 0.95
SEED = 1
CHOICES = ("CX_BENCH_SETS", "CX_BENCH_CASES")
WIDTHS = ("<16", "<20", "<8", ">8", ">8", ">9", ">9", ">8", ">8", ">9")

Clusters = pl.Series
Run = Callable[[], Clusters]


@dataclass(frozen=True)
class Documented:
    """Splink's documentation on one set: the notebook's settings as data.

    Attributes:
        blocking: rules for predictions; a rule is columns that must agree, `column:3` on its first three characters.
        sure: rules that find `recall` of the matches, for the prior; a text is a condition in SQL.
        training: rules for expectation maximisation.
        max_pairs: random pairs for u.
        cut: the match probability at which the notebook clusters; None: it does not.
        without_tf: whether expectation maximisation leaves term frequencies out.
    """

    blocking: tuple[tuple[str, ...], ...]
    sure: tuple[tuple[str, ...] | str, ...]
    recall: float
    training: tuple[tuple[str, ...], ...]
    max_pairs: float
    cut: float | None = None
    without_tf: bool = False


# docs/demos of moj-analytical-services/splink: deduplicate_50k_synthetic, febrl3, tutorials 04 and 05.
DOCUMENTED = {
    "historical_50k": Documented(
        blocking=(
            ("first_name:3", "surname:4"),
            ("surname", "dob"),
            ("first_name", "dob"),
            ("postcode_fake", "first_name"),
            ("postcode_fake", "surname"),
            ("dob", "birth_place"),
            ("postcode_fake:3", "dob"),
            ("postcode_fake:3", "first_name"),
            ("postcode_fake:3", "surname"),
            ("first_name:2", "surname:2", "dob:4"),
        ),
        sure=(
            ("first_name", "surname", "dob"),
            ("first_name:2", "surname", "postcode_fake:2"),
            ("dob", "postcode_fake"),
        ),
        recall=0.6,
        training=(("first_name", "surname"), ("dob",)),
        max_pairs=1e7,
        cut=0.95,
        without_tf=True,
    ),
    "febrl3": Documented(
        blocking=(("soc_sec_id",), ("given_name",), ("surname",), ("date_of_birth",), ("postcode",)),
        sure=(
            ("soc_sec_id",),
            ("given_name", "surname", "date_of_birth"),
            "l.given_name = r.surname and l.surname = r.given_name and l.date_of_birth = r.date_of_birth",
        ),
        recall=0.9,
        training=(("date_of_birth",), ("postcode",)),
        max_pairs=1e6,
    ),
    "fake_1000": Documented(
        blocking=(("first_name", "city"), ("surname",)),
        sure=(
            ("first_name", "dob"),
            "l.first_name = r.first_name and levenshtein(r.surname, l.surname) <= 2",
            ("email",),
        ),
        recall=0.7,
        training=(("first_name", "surname"), ("dob",)),
        max_pairs=2e6,
        cut=0.2,
    ),
}


def main() -> None:
    """Print one line per set and case."""
    named = os.environ.get("CX_BENCH_DATA")
    if not named:
        raise SystemExit("CX_BENCH_DATA names no folder with labelled sets: see the head of benchmarks/identity.py")
    folder = Path(named).resolve()
    sets = [
        *sorted(folder.glob("*.parquet")),
        *(path.parents[1] for path in sorted(folder.glob("*/truth/records.parquet"))),
    ]
    chosen = " ".join(f"{name}={os.environ[name]}" for name in CHOICES if name in os.environ)
    print(f"{chosen} cx bench identity".strip(), f"({os.cpu_count()} cores, at most {_limit():.0f} s a case)")
    titles = ("set", "case", "version", "pair P", "pair R", "pair F1", "B-cubed", "wall s", "CPU s", "peak MB")
    print("".join(f"{title:{width}}" for title, width in zip(titles, WIDTHS, strict=True)))
    for path in _chosen(sets, "CX_BENCH_SETS", lambda path: path.stem):
        for case in _chosen(CASES if path.is_file() else ("published",), "CX_BENCH_CASES", str):
            if case != "splink-docs-cut" or _own_cut(path.stem):
                print("".join(_line(path, case)), flush=True)


def _limit() -> float:
    """Seconds that a case may take."""
    return float(os.environ.get("CX_BENCH_SECONDS", 300))


def _chosen(all_of: Iterable[Any], variable: str, name: Callable[[Any], str]) -> list[Any]:
    wanted = os.environ.get(variable)
    return [one for one in all_of if wanted is None or name(one) in wanted.split(",")]


def _own_cut(name: str) -> bool:
    documented = DOCUMENTED.get(name)
    return documented is not None and documented.cut not in (None, SURE)


def _line(path: Path, case: str) -> list[str]:
    found = _measured(path, case)
    start = [f"{text:{width}}" for text, width in zip((path.stem, case), WIDTHS, strict=False)]
    if isinstance(found, str):
        return [*start, found]
    cells = [found["version"], *(f"{found[name]:.4f}" for name in ("precision", "recall", "f1", "b_cubed"))]
    cells += [
        "-" if found[name] is None else f"{found[name]:.{n}f}" for name, n in (("wall", 1), ("cpu", 1), ("peak", 0))
    ]
    return [*start, *(f"{cell:{width}}" for cell, width in zip(cells, WIDTHS[2:], strict=True))]


def _measured(path: Path, case: str) -> dict[str, Any] | str:
    """What a process of its own found, or why it found nothing."""
    limit = _limit()
    named = os.environ.get("CX_BENCH_PEERS_PYTHON", sys.executable) if case in PEERS else sys.executable
    python = shutil.which(named)
    if python is None:
        return "skipped: CX_BENCH_PEERS_PYTHON names no program"
    # Peers keep what they learnt under the working and the home folder: each run starts without.
    with tempfile.TemporaryDirectory(prefix="cx_bench_") as folder:
        answer, errors = Path(folder) / "answer.json", Path(folder) / "errors.txt"
        with errors.open("wb") as log:
            process = subprocess.Popen(
                [str(Path(python).absolute()), str(Path(__file__).resolve()), case, str(path), str(answer)],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": folder},
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
            try:
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                return f"> {limit:.0f} s"
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        if status == 0:
            found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
            return found
        return _reason(errors.read_text(encoding="utf-8", errors="replace"), status)


def _reason(errors: str, status: int) -> str:
    """Why a case failed: never more than the kind of error, since messages may quote values."""
    missing = re.findall(r"^ModuleNotFoundError: No module named '([\w.]+)'", errors, re.MULTILINE)
    if missing:
        remedy = "pip install 'cx-pipeline[bench]', or CX_BENCH_PEERS_PYTHON names a Python that has it"
        return f"skipped: {missing[-1]} is not installed ({remedy})"
    no_settings = re.findall(r"^(skipped: .*)$", errors, re.MULTILINE)
    if no_settings:
        return str(no_settings[-1])
    kinds = re.findall(r"^([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit))\b", errors, re.MULTILINE)
    return f"failed: {kinds[-1] if kinds else f'exit status {status}'}"


# --- the cases, each in a process of its own: what is prepared is not timed, the function returned is ------------------------


def ours(data: pl.DataFrame, name: str, model: str = "population") -> Run:
    """Our linkage and resolution at their defaults."""
    import splink  # noqa: F401

    from cx_pipeline.core.frames import lazy, to_polars
    from cx_pipeline.identity.fields import number_records
    from cx_pipeline.identity.linkage import link
    from cx_pipeline.identity.policy import LinkagePolicy, ResolutionPolicy
    from cx_pipeline.identity.resolution import resolve
    from cx_pipeline.identity.standardise import standardise

    parties = _parties(data)
    identifiers = [
        parties.select("channel", "record_id").with_columns(
            pl.lit(namespace).alias("namespace"), data[field].alias("value")
        )
        for field, namespace in IDENTIFIERS.items()
        if field in data.columns
    ]

    def run() -> Clusters:
        known = pl.concat(identifiers).drop_nulls() if identifiers else None
        records = number_records(to_polars(standardise(lazy(parties))), known)
        linkage = link(records, LinkagePolicy(model=model), frozenset())  # type: ignore[arg-type]
        nothing = pl.DataFrame(schema={"left": pl.Int64, "right": pl.Int64})
        clusters = resolve(records.height, linkage.edges, nothing, ResolutionPolicy())
        found = records.select("record", "record_id").join(clusters, on="record")
        return parties.select("record_id").join(found, on="record_id", how="left", maintain_order="left")["cluster"]

    return run


def plain_splink(data: pl.DataFrame, name: str) -> Run:
    """Plain Splink, trained and scoring on its own, inside our blocking and resolution."""
    return ours(data, name, "splink")


def splink_docs(data: pl.DataFrame, name: str, cut: float = SURE) -> Run:
    """Splink as its documentation has it for the set."""
    import logging

    from splink import DuckDBAPI, Linker, SettingsCreator

    documented = _documented(name)
    logging.getLogger("splink").setLevel(logging.ERROR)
    table = data.drop("source", "rec_id", "truth_id", strict=False).with_row_index("unique_id")
    if name == "historical_50k":
        table = table.with_columns(first_name_surname_concat=pl.concat_str("first_name", "surname", separator=" "))
    settings = SettingsCreator(
        link_type="dedupe_only",
        blocking_rules_to_generate_predictions=[_rule(rule) for rule in documented.blocking],
        comparisons=_splink_comparisons(name),
    )

    def run() -> Clusters:
        linker = Linker(DuckDBAPI().register(table.to_arrow()), settings, log_level=None)
        training = linker.training
        training.estimate_probability_two_random_records_match(
            [_rule(rule) for rule in documented.sure], recall=documented.recall
        )
        training.estimate_u_using_random_sampling(max_pairs=documented.max_pairs, seed=SEED)
        for rule in documented.training:
            training.estimate_parameters_using_expectation_maximisation(
                _rule(rule), estimate_without_term_frequencies=documented.without_tf
            )
        scored = linker.inference.predict(threshold_match_probability=cut)
        clusters = linker.clustering.cluster_pairwise_predictions_at_threshold(scored, threshold_match_probability=cut)
        found: Clusters = clusters.as_duckdbpyrelation().pl().sort("unique_id")["cluster_id"]
        return found

    return run


def splink_docs_cut(data: pl.DataFrame, name: str) -> Run:
    """Splink as its documentation has it, clustered where the documentation does."""
    return splink_docs(data, name, _documented(name).cut or SURE)


def _documented(name: str) -> Documented:
    if name not in DOCUMENTED:
        raise SystemExit("skipped: Splink's documentation has no settings for this set")
    return DOCUMENTED[name]


def _rule(rule: tuple[str, ...] | str) -> Any:
    from splink import block_on

    if isinstance(rule, str):
        return rule
    parts = [column.partition(":") for column in rule]
    return block_on(*(f"substr({column}, 1, {length})" if length else column for column, _, length in parts))


def _splink_comparisons(name: str) -> list[Any]:
    import splink.comparison_library as cl

    def frequent(column: str) -> Any:
        return cl.ExactMatch(column).configure(term_frequency_adjustments=True)

    if name == "historical_50k":
        return [
            cl.ForenameSurnameComparison(
                "first_name", "surname", forename_surname_concat_col_name="first_name_surname_concat"
            ),
            cl.DateOfBirthComparison("dob", input_is_string=True),
            cl.PostcodeComparison("postcode_fake"),
            frequent("birth_place"),
            frequent("occupation"),
        ]
    if name == "febrl3":
        return [
            cl.NameComparison("given_name"),
            cl.NameComparison("surname"),
            cl.DateOfBirthComparison("date_of_birth", input_is_string=True, datetime_format="%Y%m%d"),
            cl.DamerauLevenshteinAtThresholds("soc_sec_id", [2]),
            frequent("street_number"),
            frequent("postcode"),
        ]
    return [
        cl.NameComparison("first_name"),
        cl.NameComparison("surname"),
        cl.LevenshteinAtThresholds("dob", 1),
        frequent("city"),
        cl.EmailComparison("email"),
    ]


def recordlinkage_ecm(data: pl.DataFrame, name: str, rules: tuple[tuple[str, ...], ...] = ()) -> Run:
    """The ECM classifier of recordlinkage at its defaults, in blocks of one field each where no rules are given."""
    import recordlinkage as rl
    from recordlinkage.index import Block

    roles = {column: FIELDS.get(column, "id") for column in data.columns if column in FIELDS or column in IDENTIFIERS}
    if {"given_name", "surname"} <= set(roles.values()):
        # The same name twice would count twice.
        roles = {column: role for column, role in roles.items() if role != "full_name"}
    rules = rules or tuple((column,) for column, role in roles.items() if role in BLOCKS)
    parts = {part: part.split(":") for rule in rules for part in rule if ":" in part}
    starts = [pl.col(column).str.slice(0, int(length)).alias(part) for part, (column, length) in parts.items()]
    frame = data.select(*roles, *starts).to_pandas()

    def run() -> Clusters:
        index = rl.Index()
        for rule in rules:
            index.add(Block(list(rule)))
        compare = rl.Compare()
        for column, role in roles.items():
            if role in SPELT:
                compare.string(column, column, method="jarowinkler", threshold=SIMILAR, label=column)
            else:
                compare.exact(column, column, label=column)
        links = rl.ECMClassifier().fit_predict(compare.compute(index.index(frame), frame))
        return _components(data.height, links.get_level_values(0), links.get_level_values(1))

    return run


def recordlinkage_docs(data: pl.DataFrame, name: str) -> Run:
    """The same in the blocks of Splink's documentation for the set."""
    return recordlinkage_ecm(data, name, _documented(name).blocking)


def goldenmatch_zero_config(data: pl.DataFrame, name: str) -> Run:
    """GoldenMatch, which looks at the fields and configures itself."""
    import goldenmatch

    fields = data.drop(NOT_FIELDS, strict=False)

    def run() -> Clusters:
        clusters = goldenmatch.dedupe_df(fields).clusters
        members = [(row, number) for number, cluster in clusters.items() for row in cluster["members"]]
        found = pl.DataFrame(members, schema={"row": pl.Int64, "cluster": pl.Int64}, orient="row")
        if found.height != data.height or found["row"].n_unique() != data.height:
            raise ValueError("the clusters are not a partition of the records")
        return found.sort("row")["cluster"]

    return run


def exact_stitching(data: pl.DataFrame, name: str) -> Run:
    """What identity graphs without scores do: equal keys join."""
    import scipy.sparse.csgraph  # noqa: F401

    parties = _parties(data)

    def run() -> Clusters:
        has = set(parties.columns)
        names = ["given_name", "surname"] if {"given_name", "surname"} <= has else ["full_name"]
        keys = [data[field] for field in IDENTIFIERS if field in data.columns]
        if "email" in has:
            keys.append(parties["email"])
        if {*names, "birth_date"} <= has:
            keys.append(parties.select(pl.concat_str(*names, "birth_date", separator="\x1f"))[:, 0])
        pairs = [pl.DataFrame(schema={"row": pl.UInt32, "first": pl.UInt32})]
        for key in keys:
            same = pl.DataFrame({"key": key.str.to_lowercase().str.strip_chars()}).with_row_index("row")
            same = same.filter(pl.col("key").str.strip_chars("\x1f") != "")
            pairs.append(same.select("row", pl.col("row").first().over("key").alias("first")))
        edges = pl.concat(pairs)
        return _components(data.height, edges["row"], edges["first"])

    return run


def published(folder: Path) -> dict[str, Any]:
    """How good the published customer_xref of a simulated company is; records that are in no customer stand alone."""
    import duckdb

    snapshot = folder / "published" / "current" / "identity" / "customer_xref.parquet"
    if snapshot.exists():
        xref = pl.read_parquet(snapshot, columns=["channel", "record_id", "customer_id"])
    else:
        with duckdb.connect(str(folder / "warehouse" / "cx.duckdb"), read_only=True) as connection:
            xref = connection.sql("SELECT channel, record_id, customer_id FROM identity.customer_xref").pl()
    truth = pl.read_parquet(folder / "truth" / "records.parquet").with_row_index("row")
    entity = pl.coalesce(pl.format("person {}", "person_id"), pl.format("account {}", "account_id"))
    judged = truth.with_columns(entity=entity).join(
        xref, on=["channel", "record_id"], how="left", maintain_order="left"
    )
    alone = pl.format("none {}", "row")
    clusters = judged.select(
        pl.coalesce("customer_id", alone).alias("cluster"), pl.coalesce("entity", alone).alias("truth")
    )
    return {**quality(clusters["cluster"], clusters["truth"]), "wall": None, "cpu": None, "peak": None}


CASES: dict[str, Callable[[pl.DataFrame, str], Run]] = {
    "ours": ours,
    "splink": plain_splink,
    "splink-docs": splink_docs,
    "splink-docs-cut": splink_docs_cut,
    "recordlinkage": recordlinkage_ecm,
    "recordlinkage-docs": recordlinkage_docs,
    "goldenmatch": goldenmatch_zero_config,
    "exact": exact_stitching,
}
PEERS = ("recordlinkage", "recordlinkage-docs", "goldenmatch")


def _parties(data: pl.DataFrame) -> pl.DataFrame:
    return data.select(
        pl.col("source").alias("channel") if "source" in data.columns else pl.lit("people").alias("channel"),
        pl.col("rec_id").cast(pl.String).alias("record_id"),
        *(pl.col(field).cast(pl.String).alias(column) for field, column in FIELDS.items() if field in data.columns),
    )


def _components(n_records: int, left: Any, right: Any) -> Clusters:
    """Connected components: the cluster of each row."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, columns = np.asarray(left, dtype=np.int64), np.asarray(right, dtype=np.int64)
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(n_records, n_records))
    return pl.Series("cluster", connected_components(graph, directed=False)[1])


def quality(cluster: pl.Series, truth: pl.Series) -> dict[str, Any]:
    """Pair precision, recall, F1 and B-cubed F1 of a partition against the truth."""
    both = pl.DataFrame({"cluster": cluster, "truth": truth})

    def pairs(columns: list[str]) -> float:
        n = both.group_by(columns).len()["len"].cast(pl.Float64)
        return float((n * (n - 1) / 2).sum())

    hits = pairs(["cluster", "truth"])
    precision, recall = hits / max(pairs(["cluster"]), 1), hits / max(pairs(["truth"]), 1)
    cells = both.group_by("cluster", "truth").len("n")
    cells = cells.with_columns(
        pl.col("n").sum().over("cluster").alias("n_cluster"), pl.col("n").sum().over("truth").alias("n_truth")
    )
    b_precision, b_recall = (
        float((cells["n"] ** 2 / cells[side]).sum()) / both.height for side in ("n_cluster", "n_truth")
    )
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / max(precision + recall, 1e-12),
        "b_cubed": 2 * b_precision * b_recall / (b_precision + b_recall),
    }


def _case(case: str, path: Path) -> dict[str, Any]:
    if case == "published":
        return {**published(path), "version": "-"}
    data = pl.read_parquet(path)
    run = CASES[case](data, path.stem)
    before, started = _cpu(), time.perf_counter()
    clusters = run()
    wall, cpu = time.perf_counter() - started, _cpu() - before
    usages = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    peak = max(usages) / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    package = case.partition("-")[0]
    used = version(package) if package in ("splink", "recordlinkage", "goldenmatch") else "-"
    return {**quality(clusters, data["truth_id"]), "wall": wall, "cpu": cpu, "peak": peak, "version": used}


def _cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in (*CASES, "published"):
        Path(sys.argv[3]).write_text(json.dumps(_case(sys.argv[1], Path(sys.argv[2]))), encoding="utf-8")
    else:
        main()

"""What identifiers say: which of them are strong, which values are nobody's, and which records they put together.

Belongs here: deterministic evidence and the guards on it. Pure. Does not belong here: comparing records (linkage.py), joining
(resolution.py), ids of customers (customers.py, ledger.py).

Strong identifiers (crm, loyalty, passport ...) name one customer: records that carry the same one belong together, and so do strong
identifiers seen together. Weak ones (e-mail, phone, cookie, device, household) may be shared: they lead to a customer but join none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from cx_pipeline.identity.agglomeration import FloatArray, IntArray
from cx_pipeline.identity.nicknames import given_name_roots
from cx_pipeline.identity.policy import CustomerPolicy

ID = ["namespace", "value"]
PAIR = ["left_namespace", "left_value", "right_namespace", "right_value"]
# A namespace is finer than another one when this share of the other's values are seen with several of it, and hardly any the other way.
_MIN_SHARE_OF_COARSE, _MAX_SHARE_OF_FINE = 1 / 3, 0.05
_FINER_THAN = ("cookie", "device")
# Effective numbers of people: two at least; and three at least, because records of one person with many errors look like two.
_DIFFERENT_PEOPLE, _FAMILY = 1.5, 2.5


@dataclass(frozen=True)
class IdentifierEvidence:
    """What identifiers say.

    Attributes:
        strengths: namespace, rank (0: strong; else weak, the strongest first), basis (listed | data).
        refused: namespace, value, reason (blocked_value | crowded_identifier | hot_identifier): what joins no records.
        nobodys: namespace, value, reason: of those, what leads to no customer either.
        pairs: `PAIR`, n_records, first_seen_at, last_seen_at: identifiers seen together, in all channels.
        refused_pairs: `PAIR`, reason: those of them that are not believed.
        groups: namespace, value, group: strong identifiers of one customer.
    """

    strengths: pl.DataFrame
    refused: pl.DataFrame
    nobodys: pl.DataFrame
    pairs: pl.DataFrame
    refused_pairs: pl.DataFrame
    groups: pl.DataFrame

    @property
    def plausible_pairs(self) -> pl.DataFrame:
        """The pairs that are believed."""
        return self.pairs.join(self.refused_pairs, on=PAIR, how="anti")


def judge_identifiers(
    records: pl.DataFrame,
    identifiers: pl.DataFrame,
    party_identifiers: pl.DataFrame,
    pairs: pl.DataFrame,
    policy: CustomerPolicy,
) -> IdentifierEvidence:
    """Find what identifiers can be relied on for.

    Args:
        records: channel, record_id and, where there are such, given_name, birth_year, organisation_name (standardised).
        identifiers: namespace, value (any number of rows for each), raw_value where patterns are to be looked for.
        party_identifiers: channel, record_id, namespace, value.
        pairs: `PAIR`, n_records and, where known, first_seen_at, last_seen_at; any number of rows for each pair.
        policy: lists and bounds.
    """
    pairs = _both_channels(pairs)
    people = people_per_value(records, party_identifiers)
    strengths = namespace_strengths(identifiers, people, pairs, policy)
    blocked = blocked_identifiers(identifiers, policy)
    crowded = people.filter(pl.col("n_records") > policy.max_records_per_identifier).select(ID)
    shared = people.filter(pl.col("n_people") > policy.max_people_per_identifier).select(ID)
    hot = hot_identifiers(pairs.join(_touching(pairs, blocked), on=PAIR, how="anti"), strengths, policy)
    nobodys = _first_reason((blocked, "blocked_value"), (hot, "hot_identifier"))
    refused = _first_reason((blocked, "blocked_value"), (crowded, "crowded_identifier"), (shared, "hot_identifier"))
    refused_pairs = _refused_pairs(pairs, nobodys)
    nodes = strong_identifiers(identifiers, strengths).join(refused, on=ID, how="anti")
    groups, cut = strong_groups(nodes, pairs.join(refused_pairs, on=PAIR, how="anti"), policy)
    return IdentifierEvidence(strengths, refused, nobodys, pairs, pl.concat([refused_pairs, cut]), groups)


def _both_channels(pairs: pl.DataFrame) -> pl.DataFrame:
    """One row per pair: what several channels have shown put together."""
    times = [
        pl.col(name) if name in pairs.columns else pl.lit(None, dtype=pl.Datetime("us")).alias(name)
        for name in ("first_seen_at", "last_seen_at")
    ]
    return (
        pairs.with_columns(times)
        .group_by(PAIR)
        .agg(pl.col("n_records").sum(), pl.col("first_seen_at").min(), pl.col("last_seen_at").max())
        .sort(PAIR)
    )


def _first_reason(*reasons: tuple[pl.DataFrame, str]) -> pl.DataFrame:
    """namespace, value, reason: the first reason that holds for an identifier."""
    return pl.concat([frame.select(ID).with_columns(pl.lit(why).alias("reason")) for frame, why in reasons]).unique(
        ID, keep="first", maintain_order=True
    )


def people_per_value(records: pl.DataFrame, party_identifiers: pl.DataFrame) -> pl.DataFrame:
    """How many records, and how many people as far as one can see, carry each identifier that several records carry.

    Two records speak of different people where both the first two letters of their given names (without nicknames) and their years of
    birth differ: one error is not enough. Of n records the effective number of people is n^2 / (ordered pairs, with themselves, that
    agree in one of the two), which is the inverse Simpson index with that notion of agreement. Where years of birth are
    missing the given names alone are taken, or the years; where both are, the first letters of organisations' names.

    Returns:
        namespace, value, n_records, n_people (1 where nothing is known), n_surnames (likewise, by their first three letters).
    """
    shared = party_identifiers.group_by(ID).agg(pl.len().alias("n_records")).filter(pl.col("n_records") > 1)
    shared = shared.sort(ID).with_row_index("code")
    traits = records.select("channel", "record_id", *_traits(records))
    carried = party_identifiers.join(shared.select(*ID, "code"), on=ID).join(traits, on=["channel", "record_id"])
    codes = carried["code"].to_numpy().astype(np.int64)
    trait = {name: _numbered(carried[name]) for name in ("given", "born", "organisation", "family")}
    given, born = trait["given"], trait["born"]
    whole = np.where((given >= 0) & (born >= 0), given * (born.max(initial=0) + 1) + born, -1)
    counts = {name: _agreeing(codes, values, shared.height) for name, values in trait.items()}
    is_whole = whole >= 0
    both = _agreeing(codes, whole, shared.height)
    joint = (
        _agreeing(codes, np.where(is_whole, given, -1), shared.height)
        + _agreeing(codes, np.where(is_whole, born, -1), shared.height)
        - both
    )
    effective = {"joint": _effective(both, joint), **{name: _effective(pairs, pairs) for name, pairs in counts.items()}}
    n_people = np.ones(shared.height)
    for name in ("organisation", "born", "given", "joint"):
        n_people = np.where(np.isnan(effective[name]), n_people, effective[name])
    return shared.select(
        *ID,
        "n_records",
        pl.Series("n_people", n_people).round(6),
        pl.Series("n_surnames", np.nan_to_num(effective["family"], nan=1.0)).round(6),
    )


def _numbered(values: pl.Series) -> IntArray:
    """Values as numbers from 0, -1 where there is none."""
    numbers: IntArray = (values.rank("dense").cast(pl.Int64) - 1).fill_null(-1).to_numpy()
    return numbers


def _agreeing(codes: IntArray, values: IntArray, n_codes: int) -> IntArray:
    """(2, n_codes) of each code's records that have a value: their number, and the ordered pairs of them that agree."""
    known = values >= 0
    pairs, counts = np.unique(codes[known] * (values.max(initial=0) + 1) + values[known], return_counts=True)
    owner = pairs // (values.max(initial=0) + 1)
    return np.vstack(
        [
            np.bincount(owner, counts, minlength=n_codes),
            np.bincount(owner, counts.astype(np.float64) ** 2, minlength=n_codes),
        ]
    ).astype(np.int64)


def _effective(known: IntArray, agreeing: IntArray) -> FloatArray:
    """(n_codes,) effective number of people; NaN where fewer than two records are known."""
    n = known[0].astype(np.float64)
    found: FloatArray = np.where(n > 1, n**2 / np.maximum(agreeing[1], 1), np.nan)
    return found


def _traits(records: pl.DataFrame) -> list[pl.Expr]:
    def column(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.String) if name in records.columns else pl.lit(None, dtype=pl.String)

    return [
        column("given_name").replace(given_name_roots()).str.slice(0, 2).alias("given"),
        column("birth_year").alias("born"),
        column("organisation_name").str.slice(0, 4).alias("organisation"),
        column("surname").str.slice(0, 3).alias("family"),
    ]


def blocked_identifiers(identifiers: pl.DataFrame, policy: CustomerPolicy) -> pl.DataFrame:
    """namespace, value of placeholders: what matches one of the policy's patterns as it was delivered."""
    if "raw_value" not in identifiers.columns or not policy.blocked_patterns:
        return identifiers.select(ID).clear()
    named = pl.concat_str(["namespace", "raw_value"], separator=":")
    matches = pl.any_horizontal(named.str.contains(pattern) for pattern in policy.blocked_patterns)
    return identifiers.filter(matches).select(ID).unique().sort(ID)


def namespace_strengths(
    identifiers: pl.DataFrame, people: pl.DataFrame, pairs: pl.DataFrame, policy: CustomerPolicy
) -> pl.DataFrame:
    """Which namespaces are strong: those that are listed, and those whose values each belong to one customer.

    A namespace that no policy lists is weak when different people share its values (records with other given names and other
    years of birth, or several strong identifiers seen with it), or when it is finer than a cookie, a device or a strong
    namespace: a session, a ticket, which are many to one of those and so lead to a customer without naming one.

    Args:
        identifiers: namespace.
        people: from `people_per_value`.
        pairs: `PAIR`.
        policy: lists and bounds.

    Returns:
        namespace, rank, basis (see `IdentifierEvidence`), conflict_rate (NULL where nothing was judged).
    """
    present = identifiers["namespace"].unique().sort().to_list()
    listed = {name: rank for rank, name in enumerate(policy.weak_namespaces, start=1)}
    listed |= dict.fromkeys(policy.strong_namespaces, 0)
    unlisted = [name for name in present if name not in listed]
    rates = _conflict_rates(unlisted, people, pairs, policy) if unlisted else {}
    than = (*_FINER_THAN, *policy.strong_namespaces)
    finer = _finer_namespaces(unlisted, pairs, than, policy) if unlisted else set()
    weak = sorted(
        (name for name in unlisted if rates.get(name, 0.0) > policy.max_conflict_rate or name in finer),
        key=lambda name: (rates.get(name, 0.0), name),
    )
    ranks = listed | dict.fromkeys(unlisted, 0) | {name: len(listed) + i for i, name in enumerate(weak, start=1)}
    return pl.DataFrame(
        [
            (name, ranks[name], "listed" if name in listed else "data", None if name in listed else rates.get(name))
            for name in present
        ],
        schema={"namespace": pl.String, "rank": pl.Int64, "basis": pl.String, "conflict_rate": pl.Float64},
        orient="row",
    )


def _conflict_rates(
    namespaces: list[str], people: pl.DataFrame, pairs: pl.DataFrame, policy: CustomerPolicy
) -> dict[str, float]:
    """Share of the values that could show it that belong to different people; of namespaces with enough of them."""
    carried = people.filter(pl.col("namespace").is_in(namespaces)).select(
        *ID, (pl.col("n_people") >= _DIFFERENT_PEOPLE).alias("is_shared")
    )
    seen = (
        both_ways(pairs)
        .filter(pl.col("namespace").is_in(namespaces), pl.col("other").is_in(list(policy.strong_namespaces)))
        .group_by(*ID, "other")
        .agg((pl.col("other_value").n_unique() > 1).alias("is_shared"))
        .select(*ID, "is_shared")
    )
    judged = (
        pl.concat([carried, seen])
        .group_by(ID)
        .agg(pl.col("is_shared").any())
        .group_by("namespace")
        .agg(pl.len().alias("n"), pl.col("is_shared").mean().alias("rate"))
        .filter(pl.col("n") >= policy.min_shared_values)
    )
    return dict(zip(judged["namespace"].to_list(), judged["rate"].to_list(), strict=True))


def _finer_namespaces(
    namespaces: list[str], pairs: pl.DataFrame, than: tuple[str, ...], policy: CustomerPolicy
) -> set[str]:
    """Namespaces that are many to one of another one. Values are counted, not pairs: a kiosk weighs no more than another cookie."""
    both = both_ways(pairs).filter(pl.col("namespace") != pl.col("other"))

    def with_several(of: list[str], seen_with: list[str]) -> pl.DataFrame:
        return (
            both.filter(pl.col("namespace").is_in(of), pl.col("other").is_in(seen_with))
            .group_by(*ID, "other")
            .agg((pl.col("other_value").n_unique() > 1).alias("share"))
            .group_by("namespace", "other")
            .agg(pl.len().alias("n"), pl.col("share").mean())
        )

    coarse = with_several(list(than), namespaces).filter(
        pl.col("n") >= policy.min_shared_values, pl.col("share") >= _MIN_SHARE_OF_COARSE
    )
    fine = with_several(namespaces, list(than)).filter(pl.col("share") <= _MAX_SHARE_OF_FINE)
    found = fine.join(coarse, left_on=["namespace", "other"], right_on=["other", "namespace"])
    return set(found["namespace"].to_list())


def hot_identifiers(pairs: pl.DataFrame, strengths: pl.DataFrame, policy: CustomerPolicy) -> pl.DataFrame:
    """Identifiers seen with more partners than a person has: a kiosk's cookie, a call centre's phone, a test account.

    Only partners count whose namespace is at least as strong: an account with fifty cookies is a loyal customer, a cookie
    with fifty accounts is a kiosk.

    Returns:
        namespace, value.
    """
    rank = dict(zip(strengths["namespace"].to_list(), strengths["rank"].to_list(), strict=True))

    def strength(column: str) -> pl.Expr:
        return pl.col(column).replace_strict(rank, default=0, return_dtype=pl.Int64)

    return (
        both_ways(pairs)
        .filter(strength("other") <= strength("namespace"))
        .group_by(*ID, "other")
        .agg(pl.col("other_value").n_unique().alias("n"))
        .filter(pl.col("n") > policy.max_partners)
        .select(ID)
        .unique()
    )


def _refused_pairs(pairs: pl.DataFrame, nobodys: pl.DataFrame) -> pl.DataFrame:
    """Pairs of which an end is nobody's, with the reason."""
    ends = [
        pairs.join(nobodys, left_on=[f"{side}_namespace", f"{side}_value"], right_on=ID).select(*PAIR, "reason")
        for side in ("left", "right")
    ]
    return pl.concat(ends).unique(PAIR, keep="first", maintain_order=True)


def _touching(pairs: pl.DataFrame, unwanted: pl.DataFrame) -> pl.DataFrame:
    return _refused_pairs(pairs, unwanted.with_columns(pl.lit("").alias("reason"))).select(PAIR)


def both_ways(pairs: pl.DataFrame) -> pl.DataFrame:
    """Each pair seen from both of its ends: namespace, value, other, other_value, n_records."""
    return pl.concat(
        [
            pairs.select(
                pl.col(f"{a}_namespace").alias("namespace"),
                pl.col(f"{a}_value").alias("value"),
                pl.col(f"{b}_namespace").alias("other"),
                pl.col(f"{b}_value").alias("other_value"),
                "n_records",
            )
            for a, b in (("left", "right"), ("right", "left"))
        ]
    )


def strong_identifiers(identifiers: pl.DataFrame, strengths: pl.DataFrame) -> pl.DataFrame:
    """namespace, value of the identifiers of strong namespaces, sorted."""
    strong = strengths.filter(pl.col("rank") == 0)["namespace"].to_list()
    return identifiers.select(ID).unique().filter(pl.col("namespace").is_in(strong)).sort(ID)


def strong_groups(
    strong: pl.DataFrame, pairs: pl.DataFrame, policy: CustomerPolicy
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Groups of strong identifiers that name the same customer, and the links that were refused because a group grew too large.

    Two strong identifiers seen together join their groups. A group with more identifiers of one namespace than a customer has is
    chained through something that nobody noticed: none of its links is believed.

    Args:
        strong: namespace, value.
        pairs: believed pairs.
        policy: how many identifiers are plausible.

    Returns:
        (namespace, value, group), (`PAIR`, reason)
    """
    nodes = strong.sort(ID).with_row_index("node").with_columns(pl.col("node").cast(pl.Int64))
    links = pairs.join(nodes, left_on=["left_namespace", "left_value"], right_on=ID).join(
        nodes, left_on=["right_namespace", "right_value"], right_on=ID, suffix="_right"
    )
    group = connected_groups(nodes.height, links["node"].to_numpy(), links["node_right"].to_numpy())
    counted = nodes.with_columns(pl.Series("group", group, dtype=pl.Int64)).group_by("group", "namespace").len()
    large = counted.filter(pl.col("len") > policy.max_identifiers_per_customer)["group"].unique()
    is_cut = pl.Series(np.isin(group[links["node"].to_numpy()], large.to_numpy()), dtype=pl.Boolean)
    kept = links.filter(~is_cut)
    group = connected_groups(nodes.height, kept["node"].to_numpy(), kept["node_right"].to_numpy())
    return (
        nodes.select(*ID, pl.Series("group", group, dtype=pl.Int64)),
        links.filter(is_cut).select(*PAIR, pl.lit("size_cap").alias("reason")),
    )


def connected_groups(n: int, left: IntArray, right: IntArray) -> IntArray:
    """Number of the connected component of each of n nodes; components are numbered by their first node."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if n == 0:
        return np.zeros(0, dtype=np.int64)
    graph = coo_matrix((np.ones(len(left), dtype=np.int8), (left, right)), shape=(n, n))
    labels: IntArray = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def must_links(records: pl.DataFrame, party_identifiers: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """Pairs of records that carry identifiers of the same group: a chain through each group.

    Args:
        records: record, channel, record_id.
        party_identifiers: channel, record_id, namespace, value.
        groups: from `strong_groups`.

    Returns:
        left, right: record numbers.
    """
    members = (
        party_identifiers.join(groups, on=ID)
        .join(records.select("record", "channel", "record_id"), on=["channel", "record_id"])
        .select("group", pl.col("record").cast(pl.Int64))
        .unique()
        .sort("group", "record")
    )
    chain = members.with_columns(pl.col("record").shift(1).over("group").alias("left"))
    return chain.drop_nulls("left").select("left", pl.col("record").alias("right"))


def without_hot_values(records: pl.DataFrame, policy: CustomerPolicy) -> pl.DataFrame:
    """The records without e-mail addresses and telephones that say nothing about one person, for their comparison.

    What a call centre or a shop writes into every record says nothing about any of them. A mailbox belongs to a person, so it weighs
    heavily, unless it is a family's: carried by people of one surname with other given names and years of birth. A
    telephone is known to be shared by households and stays.

    Args:
        records: standardised: channel, record_id, given_name, surname, birth_year, organisation_name, email, phone.
        policy: bounds.
    """
    is_crowd = pl.col("n_people") > policy.max_people_per_identifier
    is_family = (pl.col("n_people") >= _FAMILY) & (pl.col("n_surnames") < _DIFFERENT_PEOPLE)
    # Traits tell no more people apart than there are of their values: records count beside them.
    nobodys = {"email": is_crowd | is_family, "phone": is_crowd & (pl.col("n_records") > policy.max_partners)}
    for column, is_hot in nobodys.items():
        if column not in records.columns:
            continue
        carried = records.select("channel", "record_id", pl.lit(column).alias("namespace"), value=column).drop_nulls()
        hot = people_per_value(records, carried).filter(is_hot)["value"]
        if len(hot):
            keep = ~pl.col(column).is_in(hot.implode())
            records = records.with_columns(pl.when(keep).then(pl.col(column)).alias(column))
    return records

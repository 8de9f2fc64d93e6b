from __future__ import annotations

from datetime import date, datetime

import polars as pl
import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.profile import checks
from cx_pipeline.profile.overlay import KEYS, observations, overlay, overlay_matches, record_keys
from cx_pipeline.profile.policy import OverlayPolicy
from cx_pipeline.staging.canonical import CONTACT_ROLES
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import channel_of, frame_of
from cx_pipeline_tests.parity import same_on_polars_and_duckdb
from cx_pipeline_tests.tiny_company import personal

STAGING, IDENTITY, PROFILE, CHANNELS = (load_step(step) for step in ("staging", "identity", "profile", "channels"))
CATALOGUE = frame_of(CHANNELS["catalogue"], channel=["crm", "census"], kind=["party", "overlay"])
# e1, p1 lead to A, e2 and p2 to B; e9 is known to the third party only, although identity gives it a customer.
XREF = frame_of(
    IDENTITY["identifier_xref"],
    namespace=["email", "phone", "email", "phone", "email"],
    value=["e1", "p1", "e2", "p2", "e9"],
    customer_id=["A", "A", "B", "B", "Z"],
)
IDENTIFIERS = frame_of(
    STAGING["identifiers"],
    channel=["crm"] * 4 + ["census"] * 3,
    namespace=["email", "phone", "email", "phone", "email", "phone", "email"],
    value=["e1", "p1", "e2", "p2", "e1", "p2", "e9"],
    raw_value=["e1", "+44 7000000001", "e2", "07000000002", "e1", "07000000002", "e9"],
)
PHONES = {"p1": "07000000001", "p2": "+447000000002", "p8": "+4483000000002"}


def keys_of(**records: list[str]) -> pl.DataFrame:
    rows = [
        ("census", record, "phone" if key in PHONES else "email", PHONES.get(key, key))
        for record in records
        for key in records[record]
    ]
    return pl.DataFrame(
        rows, schema=dict.fromkeys(("channel", "record_id", "namespace", "key"), pl.String), orient="row"
    )


def matched(records: dict[str, list[str]]) -> dict[str, dict[str, object]]:
    observed = pl.DataFrame(
        {"channel": "census", "record_id": list(records), "observed_at": datetime(2024, 1, 1)},
        schema_overrides={"observed_at": pl.Datetime("us")},
    )
    found = same_on_polars_and_duckdb(overlay_matches, observed, keys_of(**records), IDENTIFIERS, XREF, CATALOGUE)
    return {row["record_id"]: row for row in found.to_dicts()}


# Keys of a record -> customer, matched_by, is_ambiguous, reason.
MATCHING: dict[str, tuple[list[str], tuple[str | None, str | None, bool, str | None]]] = {
    "e-mail only": (["e1"], ("A", "email", False, None)),
    "phone only": (["p2"], ("B", "phone", False, None)),
    "both agree": (["e1", "p1"], ("A", "both", False, None)),
    "they differ: e-mail wins": (["e1", "p2"], ("A", "email", True, None)),
    "unknown e-mail, known phone": (["e8", "p2"], ("B", "phone", False, None)),
    "known e-mail, unknown phone": (["e2", "p8"], ("B", "email", False, None)),
    "two e-mails of two customers": (["e1", "e2"], ("A", "email", True, None)),
    "nobody's e-mail": (["e8"], (None, None, False, "unknown_key")),
    "known to the third party only": (["e9"], (None, None, False, "unknown_key")),
    "neither": ([], (None, None, False, "no_key")),
}


def test_overlay_matches_when_keys_lead_somewhere_or_nowhere_then_email_before_phone() -> None:
    found = matched({name: keys for name, (keys, _) in MATCHING.items()})
    names = ("customer_id", "matched_by", "is_ambiguous", "reason")
    assert {name: tuple(row[column] for column in names) for name, row in found.items()} == {
        name: expected for name, (_, expected) in MATCHING.items()
    }
    assert {name: row["n_keys"] for name, row in found.items()} == {
        name: len(keys) for name, (keys, _) in MATCHING.items()
    }


def test_overlay_matches_when_a_phone_is_written_with_and_without_its_country_then_both_lead_to_its_customers() -> None:
    identifiers = frame_of(
        STAGING["identifiers"],
        channel="crm",
        namespace="phone",
        value=["#a", "#b", "#c"],
        raw_value=["+447700900123", "07700900123", "07700900124"],
    )
    for owners, customer, is_ambiguous in ((["A", "A", "B"], "A", False), (["B", "A", "B"], "A", True)):
        xref = frame_of(IDENTITY["identifier_xref"], namespace="phone", value=["#a", "#b", "#c"], customer_id=owners)
        keys = pl.DataFrame({"channel": "census", "record_id": ["1"], "namespace": "phone", "key": "+447700900123"})
        observed = keys.select("channel", "record_id", observed_at=pl.lit(None, dtype=pl.Datetime("us")))
        (row,) = same_on_polars_and_duckdb(overlay_matches, observed, keys, identifiers, xref, CATALOGUE).to_dicts()
        assert (row["customer_id"], row["is_ambiguous"], row["n_keys"]) == (customer, is_ambiguous, 1)


def test_record_keys_when_written_in_any_form_then_one_key_for_each_email_and_phone() -> None:
    channel = channel_of(
        "census",
        "overlay",
        {
            "id": {"role": "record.id"},
            "mail": personal("contact.email"),
            "phone": personal("contact.phone"),
            "mobile": personal("contact.phone"),
        },
    )
    rows = pl.DataFrame(
        {
            "id": ["1", "2", "3"],
            "mail": [" Ada@X.example ", None, " "],
            "phone": ["0044 (7700) 900-123", "112", None],
            "mobile": ["07700 900123", None, "none"],
            "source_file": "a.csv",
            "source_line": [1, 2, 3],
        }
    )
    found = same_on_polars_and_duckdb(lambda r: record_keys(r, channel), rows)
    assert sorted(found.select("record_id", "namespace", "key").rows()) == [
        ("1", "email", "ada@x.example"),
        ("1", "phone", "+447700900123"),
        ("1", "phone", "07700900123"),
        ("2", "phone", "112"),
    ]


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        pytest.param({"seen": {"role": "event.at"}, "changed": {"role": "record.updated_at"}}, [1, 9, None], id="both"),
        pytest.param(
            {"seen": {"role": "event.at"}, "changed": {}}, [1, None, None], id="a text that is no time is none"
        ),
        pytest.param({"seen": {}, "changed": {}}, [None, None, None], id="no time at all"),
    ],
)
def test_observations_when_a_record_has_times_then_the_first_that_says_one(
    roles: dict[str, dict[str, str]], expected: list[int | None]
) -> None:
    channel = channel_of("census", "overlay", {"id": {"role": "record.id"}, "mail": personal("contact.email"), **roles})
    rows = pl.DataFrame(
        {
            "id": ["1", "2", None],
            "mail": ["a", "b", "c"],
            "seen": ["2024-01-01", "soon", None],
            "changed": ["2024-01-08", "2024-01-09", None],
            "source_file": "a.csv",
            "source_line": [1, 2, 3],
        }
    )
    found = same_on_polars_and_duckdb(lambda r: observations(r, channel), rows).sort("record_id")
    assert found["record_id"].to_list() == ["1", "2", "a.csv:3"]
    assert [at.day if at else None for at in found["observed_at"]] == expected


def test_keys_when_compared_with_staging_then_they_are_what_it_takes_identifiers_from() -> None:
    assert KEYS == CONTACT_ROLES


def matches_of(**columns: object) -> pl.DataFrame:
    given = {"channel": "census", "customer_id": "A", "matched_by": "email", "is_ambiguous": False, **columns}
    return frame_of(PROFILE["overlay_matches"], **given)


def test_overlay_when_a_customer_has_several_records_then_the_newest_stands_with_its_age() -> None:
    matches = matches_of(
        record_id=["1", "2", "3", "4", "5"],
        customer_id=["A", "A", "A", "B", None],
        observed_at=[datetime(2023, 1, 1), datetime(2024, 3, 1, 9), None, None, datetime(2024, 3, 3)],
    )
    found = same_on_polars_and_duckdb(lambda m: overlay(m, OverlayPolicy(), date(2024, 3, 31)), matches)
    rows = {row["customer_id"]: row for row in found.to_dicts()}
    assert set(rows) == {"A", "B"}
    assert {name: rows["A"][name] for name in ("record_id", "n_records", "age_days", "is_stale", "provider")} == {
        "record_id": "2",
        "n_records": 3,
        "age_days": 30,
        "is_stale": False,
        "provider": "census",
    }
    assert (rows["B"]["age_days"], rows["B"]["is_stale"]) == (None, None)


@pytest.mark.parametrize(
    ("observed_at", "age_days", "is_stale"),
    [
        (datetime(2024, 3, 21, 23, 59), 10, False),
        (datetime(2024, 3, 20, 23, 59), 11, True),
        (datetime(2024, 4, 2), 0, False),
    ],
)
def test_overlay_when_a_record_has_an_age_then_the_policy_says_whether_it_is_stale(
    observed_at: datetime, age_days: int, is_stale: bool
) -> None:
    policy = OverlayPolicy(overlay_stale_after_days=10)
    found = same_on_polars_and_duckdb(
        lambda m: overlay(m, policy, date(2024, 3, 31)), matches_of(record_id="1", observed_at=observed_at)
    ).to_dicts()[0]
    assert (found["age_days"], found["is_stale"]) == (age_days, is_stale)


def test_overlay_when_two_records_are_as_new_then_the_unambiguous_one_stands_whatever_the_order() -> None:
    matches = matches_of(record_id=["1", "2", "3"], is_ambiguous=[False, False, True], observed_at=datetime(2024, 1, 1))
    for rows in (matches, matches.reverse()):
        found = same_on_polars_and_duckdb(lambda m: overlay(m, OverlayPolicy(), date(2024, 3, 31)), rows)
        assert found["record_id"].to_list() == ["2"]


def test_every_overlay_record_is_matched_or_says_why_when_a_row_is_missing_silent_or_strange_then_it_is_broken() -> (
    None
):
    overlays = frame_of(
        STAGING["overlays"], channel="census", record_id=["1", "2", "3"], identifier_value=["e1", "e2", None]
    )
    good = matches_of(
        record_id=["1", "2", "3"],
        customer_id=["A", None, None],
        reason=[None, "unknown_key", "no_key"],
        n_keys=[1, 1, 0],
    )
    check = checks.every_overlay_record_is_matched_or_says_why

    def broken(matches: pl.DataFrame) -> int:
        return n_offending(check, profile__overlay_matches=matches, staging__overlays=overlays)

    assert broken(good) == 0
    assert broken(good.head(2)) == 1
    assert broken(good.with_columns(reason=pl.lit(None, dtype=pl.String))) == 2
    assert broken(good.with_columns(n_keys=pl.lit(0, dtype=pl.Int64))) == 2
    assert broken(pl.concat([good, good.head(1).with_columns(record_id=pl.lit("4"))])) == 1


def test_third_party_data_make_no_customer_when_only_a_third_party_knows_somebody_then_it_is_broken() -> None:
    tables = {
        "identity__customer_xref": frame_of(IDENTITY["customer_xref"], channel="crm", record_id="1", customer_id="C"),
        "identity__identifier_xref": XREF,
        "staging__identifiers": IDENTIFIERS,
        "channels__catalogue": CATALOGUE,
    }
    for customer, n in (("A", 0), ("C", 0), ("Z", 1)):
        rows = frame_of(PROFILE["overlay"], customer_id=customer, provider="census")
        assert n_offending(checks.third_party_data_make_no_customer, profile__overlay=rows, **tables) == n


def test_the_newest_third_party_record_stands_when_it_does_not_then_it_is_broken() -> None:
    matches = matches_of(record_id=["1", "2"], observed_at=[datetime(2024, 1, 1), datetime(2024, 2, 1)])

    def broken(at: datetime | None, customer: str = "A") -> int:
        rows = frame_of(PROFILE["overlay"], customer_id=customer, provider="census", record_id="1", observed_at=at)
        return n_offending(
            checks.the_newest_third_party_record_stands, profile__overlay=rows, profile__overlay_matches=matches
        )

    assert broken(datetime(2024, 2, 1)) == 0
    assert broken(datetime(2024, 1, 1)) == broken(None) == broken(datetime(2024, 2, 1), "B") == 1


def test_third_party_values_stand_at_the_customer_they_are_matched_to_when_they_do_not_then_it_is_broken() -> None:
    values = frame_of(
        PROFILE["attribute_values"],
        customer_id=["A", "B", "A"],
        channel=["census", "census", "crm"],
        record_id=["1", "2", "1"],
        attribute="income",
    )
    matches = matches_of(record_id=["1", "2"], customer_id=["A", "B"])
    check = checks.third_party_values_stand_at_the_customer_they_are_matched_to
    assert n_offending(check, profile__attribute_values=values, profile__overlay_matches=matches) == 0
    wrong = matches_of(record_id=["1", "2"], customer_id=["A", None])
    assert n_offending(check, profile__attribute_values=values, profile__overlay_matches=wrong) == 1

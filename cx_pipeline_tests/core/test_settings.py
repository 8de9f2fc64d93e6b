import dataclasses
import stat
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

import pytest

from cx_pipeline.core.errors import ConfigurationError
from cx_pipeline.core.settings import AlertPolicy, CompanyPolicy, Environment, Settings, hash_key
from cx_pipeline.core.workspace import all_policies
from cx_pipeline.staging.policy import StagingPolicy


@dataclass(frozen=True)
class PulsePolicy:
    active_window_days: int = 365
    min_share: float = 0.1
    max_share: float | None = None
    basis: Literal["orders", "contracts"] = "orders"
    starts_on: date | None = None
    bands: tuple[int, ...] = (1, 2)
    weights: dict[str, float] = field(default_factory=dict)
    is_strict: bool = True


# The step of a policy is the folder it stands in.
PulsePolicy.__module__ = "cx_pipeline.metrics.policy"
POLICIES = (PulsePolicy, StagingPolicy)


def load(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return Settings.load(path, POLICIES)


@pytest.mark.parametrize("text", [None, "", "# nothing yet\n"], ids=["no file", "empty", "a comment"])
def test_settings_when_nothing_is_set_then_defaults_hold(tmp_path: Path, text: str | None) -> None:
    settings = Settings.load(tmp_path / "settings.yaml", POLICIES) if text is None else load(tmp_path, text)
    assert settings.policy(PulsePolicy) == PulsePolicy()
    assert settings.company == CompanyPolicy("UTC", "EUR", None)
    assert settings.policy(AlertPolicy).file == "reports/alerts.jsonl"


def test_settings_when_fields_are_set_then_they_are_in_force_with_their_types(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
        company: {time_zone: Europe/Berlin, phone_region: DE}
        metrics:
          {active_window_days: 180, min_share: 1, max_share: 2, basis: contracts, starts_on: 2024-01-31, bands: [3, 4],
           weights: {a: 1.5}, is_strict: no}
        staging: {tolerated_reject_rate: 0}
        """,
    )
    assert settings.policy(PulsePolicy) == PulsePolicy(
        180, 1.0, 2.0, "contracts", date(2024, 1, 31), (3, 4), {"a": 1.5}, False
    )
    assert isinstance(settings.policy(PulsePolicy).min_share, float)
    assert isinstance(settings.policy(PulsePolicy).max_share, float)
    assert settings.policy(StagingPolicy).tolerated_reject_rate == 0
    assert settings.company == CompanyPolicy("Europe/Berlin", "EUR", "DE")


WRONG = {
    "an unknown step": (
        "metrix: {x: 1}",
        "settings.yaml: metrix",
        "there is no step `metrix`",
        "did you mean `metrics`?",
    ),
    "an unknown setting": (
        "metrics: {active_window_day: 1}",
        "settings.yaml: metrics.active_window_day",
        "no setting `active_window_day`",
        "did you mean `active_window_days`?",
    ),
    "a text for a number": (
        "metrics: {active_window_days: soon}",
        "settings.yaml: metrics.active_window_days",
        "type int",
        "",
    ),
    "a truth for a number": (
        "metrics: {active_window_days: true}",
        "settings.yaml: metrics.active_window_days",
        "type int",
        "",
    ),
    "a fraction for a whole number": (
        "metrics: {active_window_days: 1.5}",
        "settings.yaml: metrics.active_window_days",
        "type int",
        "",
    ),
    "a choice that is none": ("metrics: {basis: payments}", "settings.yaml: metrics.basis", "Literal", ""),
    "a date that is none": ("metrics: {starts_on: soon}", "settings.yaml: metrics.starts_on", "date", ""),
    "a list of texts for numbers": ("metrics: {bands: [a]}", "settings.yaml: metrics.bands", "tuple", ""),
    "a number for a truth": ("metrics: {is_strict: 1}", "settings.yaml: metrics.is_strict", "type bool", ""),
    "null where it makes no sense": ("company: {time_zone: null}", "settings.yaml: company.time_zone", "type str", ""),
    "an unknown time zone": (
        "company: {time_zone: Mars}",
        "settings.yaml: company.time_zone",
        "`Mars` is no time zone",
        "IANA",
    ),
    "a step that is no mapping": ("metrics: 3", "settings.yaml: metrics", "mapping of policy fields", ""),
    "a list": ("- a", "settings.yaml", "mapping of steps", ""),
    "a key twice": ("company: {}\ncompany: {}", "settings.yaml: line 2, column 1", "stands twice", ""),
}


@pytest.mark.parametrize(("text", "where", "what", "remedy"), WRONG.values(), ids=WRONG.keys())
def test_settings_when_something_is_wrong_then_place_fault_and_nearest_word_are_named(
    tmp_path: Path, text: str, where: str, what: str, remedy: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, text)
    (problem,) = raised.value.problems
    assert problem.where == where
    assert what in problem.what
    assert remedy in problem.remedy
    assert raised.value.exit_code == 2


def test_settings_when_several_things_are_wrong_then_all_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, "metrix: {}\nmetrics: {bands: 1, basis: x}\n")
    assert len(raised.value.problems) == 3


def test_the_environment_when_nothing_is_set_then_it_is_the_folder_data_and_duckdb() -> None:
    environment = Environment.read({})
    assert environment.data.root == Path("data").resolve()
    assert (environment.engine, environment.as_of, environment.memory_limit, environment.threads) == (
        "duckdb",
        None,
        None,
        None,
    )


def test_the_environment_when_all_is_set_then_it_is_read_and_empty_means_unset(tmp_path: Path) -> None:
    environment = Environment.read(
        {
            "CX_DATA_DIR": str(tmp_path),
            "CX_AS_OF": "2024-01-31",
            "CX_MEMORY_LIMIT": "2.5GB",
            "CX_THREADS": "2",
            "CX_HASH_KEY": "k",
        }
    )
    assert environment.data.warehouse == tmp_path / "warehouse" / "cx.duckdb"
    assert (environment.as_of, environment.memory_limit, environment.threads) == (date(2024, 1, 31), "2.5GB", 2)
    assert "k'" not in repr(environment)
    assert Environment.read({"CX_AS_OF": "", "CX_THREADS": "", "CX_ENGINE": "", "CX_DATA_DIR": ""}) == Environment.read(
        {}
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CX_ENGINE", "ducdb", "did you mean `duckdb`?"),
        ("CX_ENGINE", "spark", "not built yet"),
        ("CX_AS_OF", "31.1.2024", "2026-01-31"),
        ("CX_THREADS", "many", "e.g. 2"),
        ("CX_THREADS", "0", "e.g. 2"),
        ("CX_MEMORY_LIMIT", "lots", "e.g. 4GB"),
    ],
)
def test_the_environment_when_a_variable_is_wrong_then_it_is_named(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Environment.read({name: value})
    assert name in str(raised.value)
    assert said in str(raised.value)


def test_the_hash_key_when_none_is_set_then_one_is_made_once_that_only_we_can_read(tmp_path: Path) -> None:
    environment = Environment.read({"CX_DATA_DIR": str(tmp_path)})
    key = hash_key(environment)
    path = tmp_path / "warehouse" / "hash.key"
    assert len(key) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert hash_key(environment) == key
    assert hash_key(dataclasses.replace(environment, hash_key="given")) == "given"


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe"], ids=["empty", "blank", "no text"])
def test_the_hash_key_when_its_file_is_broken_then_it_says_so_and_makes_no_other(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "warehouse" / "hash.key"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"warehouse/hash\.key"):
        hash_key(Environment.read({"CX_DATA_DIR": str(tmp_path)}))
    assert path.read_bytes() == content


def test_the_policies_of_all_steps_when_gathered_then_each_can_be_made_without_settings() -> None:
    policies = all_policies()
    assert StagingPolicy in policies
    for policy in policies:
        assert dataclasses.is_dataclass(policy)
        assert Settings().policy(policy) == policy()

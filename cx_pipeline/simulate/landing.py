"""The landing folder as the company's systems fill it: monthly files per channel, and what goes wrong with deliveries.

Belongs here: which rows go into which file, repeated, late and corrected files, rows that break the contract. Does not belong here: file
formats (`writing.py`), errors inside the facts themselves (`corruption.py`).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from cx_pipeline.simulate.parameters import DELIVERY_FAULTS
from cx_pipeline.simulate.randomness import Indices, stream
from cx_pipeline.simulate.writing import contract, extract_format, write_extract

BULK_FROM = 50_000
_SMALL_BELOW = 20_000
_BULK_SUFFIX = "parquet"
_SORTED_BELOW = 250_000
# Channels with few rows send a file a quarter while the company is small.
_OCCASIONAL = frozenset(
    {
        "addressable_tv",
        "call_centre",
        "deliveries",
        "device_telemetry",
        "direct_mail",
        "display_search_ads",
        "email_responses",
        "field_service",
        "opportunities",
        "payments",
        "private_community",
        "public_social",
        "referral_programme",
        "sensor_requests",
        "subscriptions",
        "surveys",
        "web_shop_lines",
    }
)
_LATE_DAYS = 3


@dataclass
class Landing:
    """Collects the rows of each file and writes it once they are complete.

    Attributes:
        out: the data directory.
        seed: of the company.
        customers: its size: large companies deliver Parquet throughout, small ones fewer files.
        months: labels of the window's months.
        label: every file is of this one part and free of faults (answers to a plan); None: files by month.
        dirt: what went wrong, a row per file: channel, file, kind, n_rows, n_rejected, n_superseded, status.
        monthly: channel -> rows of each month.
    """

    out: Path
    seed: int
    customers: int
    months: tuple[str, ...]
    label: str | None = None
    dirt: list[dict[str, object]] = field(default_factory=list)
    monthly: dict[str, Indices] = field(default_factory=dict)
    _waiting: dict[tuple[str, str], list[pl.DataFrame]] = field(default_factory=dict)
    _written: set[tuple[str, str]] = field(default_factory=set)

    def add(self, channel: str, rows: pl.DataFrame, month: str) -> None:
        """Keep rows of a channel for the file of their month."""
        if rows.height:
            counts = self.monthly.setdefault(channel, np.zeros(len(self.months), dtype=np.int64))
            counts[self.months.index(month)] += rows.height
            self._waiting.setdefault((channel, self._part(channel, month)), []).append(rows)

    def flush(self, channels: frozenset[str] | None = None, month: str | None = None) -> None:
        """Write files that will get no more rows.

        Args:
            channels: of these channels; None: of all.
            month: those that end with this month; None: all.
        """
        done = [
            (channel, part)
            for channel, part in self._waiting
            if (channels is None or channel in channels)
            and (month is None or (part == self._part(channel, month) and self._is_last_of_part(channel, month)))
        ]
        for channel, part in sorted(done):
            self._write(channel, part, pl.concat(self._waiting.pop((channel, part))))

    def _part(self, channel: str, month: str) -> str:
        if self.label is not None:
            return self.label
        if self.customers >= _SMALL_BELOW or channel not in _OCCASIONAL:
            return month
        year, number = month.split("-")
        return f"{year}-Q{(int(number) + 2) // 3}"

    def _is_last_of_part(self, channel: str, month: str) -> bool:
        later = self.months[self.months.index(month) + 1 :]
        return not later or self._part(channel, later[0]) != self._part(channel, month)

    def _suffix(self, channel: str) -> str:
        return _BULK_SUFFIX if self.customers >= BULK_FROM else extract_format(channel).suffix

    def _write(self, channel: str, part: str, rows: pl.DataFrame) -> None:
        if (channel, part) in self._written:
            raise RuntimeError(f"{channel} {part} was written before it was complete")
        self._written.add((channel, part))
        compiled = contract(channel)
        at = time_column(channel)
        if at and rows.height < _SORTED_BELOW:
            rows = rows.sort(at, maintain_order=True)
        # A UTC channel's times are written in its own zone.
        if compiled.time_zone == "UTC":
            times = [name for name, dtype in rows.schema.items() if isinstance(dtype, pl.Datetime)]
            rows = rows.with_columns(as_utc(pl.col(name)) for name in times)
        if self.label is not None:
            write_extract(self.out, channel, rows, part, self._suffix(channel))
            return
        faults, ordinals = DELIVERY_FAULTS, self._ordinals(channel, part)
        if at and ordinals & set(faults.late.get(channel, ())):
            first = rows[at].min()
            is_late = (pl.col(at) - first).dt.total_days() < _LATE_DAYS
            late, rows = rows.filter(is_late), rows.filter(~is_late)
            self._deliver(channel, f"{part}_late", late, "late", len(late))
        months, column = faults.corrected.get(channel, ((), ""))
        if ordinals & set(months):
            rows = self._with_correction(channel, part, rows, column)
        if channel in faults.broken:
            rows, n_broken = self._with_broken_rows(channel, part, rows, at)
        else:
            n_broken = 0
        path = write_extract(self.out, channel, rows, part, self._suffix(channel))
        if path and n_broken:
            self._note(channel, path.name, "broken_rows", rows.height, n_rejected=n_broken)
        if path and ordinals & set(faults.repeated.get(channel, ())):
            again = path.with_name(path.name.replace(f"_{part}.", f"_{part}_again."))
            shutil.copyfile(path, again)
            self._note(channel, again.name, "repeated", rows.height, status="repeated")

    def _ordinals(self, channel: str, part: str) -> set[int]:
        return {i for i, month in enumerate(self.months) if self._part(channel, month) == part}

    def _deliver(self, channel: str, part: str, rows: pl.DataFrame, kind: str, n_rows: int) -> None:
        path = write_extract(self.out, channel, rows, part, self._suffix(channel))
        if path:
            self._note(channel, path.name, kind, n_rows)

    def _with_correction(self, channel: str, part: str, rows: pl.DataFrame, column: str) -> pl.DataFrame:
        """Rows of which some are wrong; the right ones are delivered in a further file, whose name comes later."""
        rng = stream(self.seed, f"landing.corrected.{channel}.{part}")
        wrong = np.zeros(rows.height, dtype=bool)
        n_wrong = min(rows.height, max(1, round(DELIVERY_FAULTS.corrected_share * rows.height)))
        wrong[rng.permutation(rows.height)[:n_wrong]] = True
        right = rows.filter(pl.Series(wrong))
        self._deliver(channel, f"{part}_corrected", right, "corrected", right.height)
        name = f"{channel}_{part}.{self._suffix(channel)}"
        self._note(channel, name, "corrected_original", rows.height, n_superseded=right.height)
        return rows.with_columns(
            pl.when(pl.Series(wrong)).then((pl.col(column) * 10).round(2)).otherwise(pl.col(column)).alias(column)
        )

    def _with_broken_rows(
        self, channel: str, part: str, rows: pl.DataFrame, at: str | None
    ) -> tuple[pl.DataFrame, int]:
        """Rows and some further ones without a time (or another required value), under numbers of their own."""
        rng = stream(self.seed, f"landing.broken.{channel}.{part}")
        n_broken = int(rng.poisson(DELIVERY_FAULTS.broken_rate * rows.height))
        if not n_broken or not at:
            return rows, 0
        key = contract(channel).table.primary_key[0]
        copies = rows[rng.integers(0, rows.height, n_broken)].with_columns(
            pl.format("{}-B{}", key, pl.int_range(n_broken)).alias(key), pl.lit(None, dtype=rows.schema[at]).alias(at)
        )
        return pl.concat([rows, copies]), n_broken

    def _note(
        self,
        channel: str,
        file: str,
        kind: str,
        n_rows: int,
        *,
        n_rejected: int = 0,
        n_superseded: int = 0,
        status: str = "loaded",
    ) -> None:
        self.dirt.append(
            {
                "channel": channel,
                "file": file,
                "kind": kind,
                "n_rows": n_rows,
                "n_rejected": n_rejected,
                "n_superseded": n_superseded,
                "status": status,
            }
        )

    def dirt_table(self) -> pl.DataFrame:
        """truth/dirt: what went wrong with deliveries."""
        schema = {
            "channel": pl.String,
            "file": pl.String,
            "kind": pl.String,
            "n_rows": pl.Int64,
            "n_rejected": pl.Int64,
            "n_superseded": pl.Int64,
            "status": pl.String,
        }
        return pl.DataFrame(self.dirt, schema=schema).sort("channel", "file", "kind")


def time_column(channel: str) -> str | None:
    """The column by which a channel's rows are dated: its required time."""
    compiled = contract(channel)
    for role in ("event.at", "campaign.sent_at", "campaign.responded_at", "payment.due_on", "subscription.started_on"):
        if column := compiled.column_of(role):
            return column
    return None


def as_utc(times: pl.Expr) -> pl.Expr:
    """Wall-clock times of the company as UTC; the hour that spring skips counts as the one after, the repeated one as the first."""
    from cx_pipeline.simulate.population import TIME_ZONE

    def zoned(expression: pl.Expr) -> pl.Expr:
        return expression.dt.replace_time_zone(TIME_ZONE, ambiguous="earliest", non_existent="null")

    return (
        pl.coalesce(zoned(times), zoned(times + pl.duration(hours=1)))
        .dt.convert_time_zone("UTC")
        .dt.replace_time_zone(None)
    )

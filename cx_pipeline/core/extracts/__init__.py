"""One landing file -> typed rows and rejected rows: every row of the file is in exactly one of the two.

Belongs here: how a file of each format is read, cut into rows, typed and judged row by row, from the contract alone.
Does not belong here: which files are new (the load manifest), uniqueness across files, canonical tables (`staging/`), rules as SQL
(`expectations.py`).

    formats.py     what the contract says about a file; structural rules      files.py       bytes: gzip, encodings, work files
    structure.py   lines, quotes and NUL bytes of a text file                  delimited.py   header and grammar of CSV
    json_lines.py  keys of JSON                                                parquet.py     columns of Parquet
    layout.py      the file's columns against the contract's                   values.py      SQL of typed values; dates.py date formats
    repair.py      a broken file cut into rows line by line                    load.py        the load itself
"""

from cx_pipeline.core.extracts.dates import strptime_pattern
from cx_pipeline.core.extracts.files import remove_leftovers
from cx_pipeline.core.extracts.formats import (
    FORMATS,
    HAS_NO_NUL_BYTES,
    HAS_THE_HEADERS_COLUMNS,
    IS_A_JSON_OBJECT,
    IS_NOT_TOO_LONG,
    MAX_ROW_BYTES,
    QUOTES_ARE_CLOSED,
    ExtractFormat,
)
from cx_pipeline.core.extracts.load import LoadedExtract, load_extract, read_header

__all__ = [
    "FORMATS",
    "HAS_NO_NUL_BYTES",
    "HAS_THE_HEADERS_COLUMNS",
    "IS_A_JSON_OBJECT",
    "IS_NOT_TOO_LONG",
    "MAX_ROW_BYTES",
    "QUOTES_ARE_CLOSED",
    "ExtractFormat",
    "LoadedExtract",
    "load_extract",
    "read_header",
    "remove_leftovers",
    "strptime_pattern",
]

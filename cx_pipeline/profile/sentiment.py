"""Mean sentiment, the same on every engine and in every order of rows.

Belongs here: adding up sentiments and dividing. Does not belong here: finding sentiment in text, what a mean means.
"""

from __future__ import annotations

import narwhals as nw

# Sums of doubles depend on the order of rows, sums of decimals do not.
SENTIMENT = nw.Decimal(18, 6)


def mean_sentiment(total: nw.Expr, n: nw.Expr) -> nw.Expr:
    """The mean (-1 to 1) to nine digits; NULL of nothing.

    Args:
        total: sum of `SENTIMENT`s.
        n: how many they are.
    """
    divisor = nw.when(n > 0).then(n).otherwise(None).cast(nw.Float64)
    return (total.cast(nw.Float64) / divisor).round(9).cast(nw.Float64)

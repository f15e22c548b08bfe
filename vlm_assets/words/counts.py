"""Numbers of things, as people read them."""


def so_many(count: int, thing: str, things: str = "") -> str:
    """`1 row`, `1,200 rows`; `things` where the plural is no `s` more."""
    return f"{count:,} {thing if count == 1 else things or f'{thing}s'}"

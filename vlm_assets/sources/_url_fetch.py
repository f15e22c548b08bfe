"""Fetches the items that `_url_list` makes: each URL once, records whole, in the order of the items."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, Final

from vlm_assets.captions.samples import talk_of
from vlm_assets.captions.turns import ConversationError
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.transfer.download import Fetched, UrlItem, fetch_urls
from vlm_assets.transfer.politeness import HostLimits
from vlm_assets.words.contexts import FetchContext
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets.words.records import Item, Record, RecordImage

_TALK: Final = 4
"""Place of the conversation in a row that has one."""
Body = bytes | Path
Address = tuple[str, str]
"""Name in the spool, which is the URL wherever there is one; URL."""
Hashes = Mapping[Address, frozenset[str]]
"""What all rows together declare of an address."""


def fetch_url_items(
    items: Sequence[Item], context: FetchContext, spec: SourceSpec
) -> Iterator[Record | Reject]:
    """Records and rejects of the items, in their order; for every kind that lists URLs.

    Distinct rows of an item give a record each, keyed `<item>#0`, `#1`; an exact repetition of a row is a rejected
    record with reason `duplicate_item`. An item of several URLs gives records of several images, or is a reject
    that names the first that failed for good, else the first that failed. A body that a later item wants too waits
    in a file.
    """
    wanted = deque((item, _addresses(item)) for item in _first_items(items, context.max_records))
    uses = Counter(chain.from_iterable(addresses for _, addresses in wanted))
    declared = _declared(wanted, uses)
    retried = {name for item, addresses in wanted if item.key in context.retried for name, _ in addresses}
    urls = [UrlItem(*address, min(one) if len(one) == 1 else "") for address, one in declared.items()]
    arrived: dict[Address, Body | Reject] = {}
    fetched = fetch_urls(urls, replace(context, retried=retried), HostLimits.of(spec))
    for address, result in zip(declared, fetched, strict=True):
        arrived[address] = result.body if isinstance(result, Fetched) else result
        while wanted and arrived.keys() >= set(wanted[0][1]):
            item, addresses = wanted.popleft()
            yield from _events(item, addresses, [arrived[one] for one in addresses], declared)
            for one in addresses:
                uses[one] -= 1
                if not uses[one]:
                    del arrived[one]
                elif isinstance(body := arrived[one], bytes):
                    arrived[one] = _put_aside(context.spool_dir / "again", body)


def _addresses(item: Item) -> Sequence[Address]:
    """Those of the item's images, in their order."""
    if "url" in item.payload:
        return [(item.key, item.payload["url"])]
    return [(url, url) for url in item.payload["urls"]]


def _first_items(items: Sequence[Item], max_records: int | None) -> Sequence[Item]:
    """So many items as give `max_records` records if nothing is rejected: a test asks for no more."""
    if max_records is None:
        return items
    records = 0
    for count, item in enumerate(items):
        if records >= max_records:
            return items[:count]
        records += len(item.payload["rows"])
    return items


def _declared(
    items: Iterable[tuple[Item, Sequence[Address]]], addresses: Iterable[Address]
) -> dict[Address, frozenset[str]]:
    """The hashes that rows declare of each address; verified while downloading where it is one."""
    found: dict[Address, frozenset[str]] = dict.fromkeys(addresses, frozenset())
    for item, own in items:
        for row in item.payload["rows"]:
            for address, one in zip(own, _hashes(row), strict=False):
                if one:
                    found[address] |= {one}
    return found


def _hashes(row: Sequence[Any]) -> Sequence[str]:
    """What a row declares: a hash, or one an image; none."""
    if isinstance(row[1], str):
        return [row[1]] if row[1] else []
    return list(row[1])


def _put_aside(folder: Path, body: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / sha256(body).hexdigest()
    path.write_bytes(body)
    return path


def _events(
    item: Item, addresses: Sequence[Address], results: Sequence[Body | Reject], declared: Hashes
) -> Iterable[Record | Reject]:
    bodies = [one for one in results if not isinstance(one, Reject)]
    if len(bodies) == len(results):
        return _records(item, addresses, bodies, declared)
    failed = [(number, one) for number, one in enumerate(results, 1) if isinstance(one, Reject)]
    number, reject = min(failed, key=lambda one: (one[1].transient, one[0]))
    if len(results) == 1:
        return [reject]
    where = f"image {number} of {len(results)}, {item.payload['urls'][number - 1]}"
    return [replace(reject, item=item.key, detail=f"{where}: {reject.detail}".removesuffix(": "))]


def _records(
    item: Item, addresses: Sequence[Address], bodies: Sequence[Body], declared: Hashes
) -> Iterator[Record | Reject]:
    rows = item.payload["rows"]
    upstream = len(item.payload.get("urls", ())) or 1
    several = len(bodies) > 1
    digests = [
        _body_hash(body) if len(declared[address]) > 1 else ""
        for address, body in zip(addresses, bodies, strict=True)
    ]
    images = [
        RecordImage(body, origin=url if several else None)
        for body, (_, url) in zip(bodies, addresses, strict=True)
    ]
    for number, row in enumerate(rows):
        hashes = _hashes(row)
        if why := _contradiction(hashes, digests):
            yield Reject(item.key, RejectReason.CHECKSUM, why, record=number)
            continue
        try:
            talk = talk_of(row[_TALK] if len(row) > _TALK else None, upstream)
        except ConversationError as error:
            yield Reject(item.key, RejectReason.BAD_CONVERSATION, str(error)[:300], record=number)
            continue
        yield Record(
            item=item.key, record=number, key=f"{item.key}#{number}" if len(rows) > 1 else item.key, images=images,
            origin=item.key, text=row[0], messages=talk.messages, label=row[2],
            extra={**(row[3] or {}), **talk.beside} or None, images_upstream=upstream, remarks=talk.remarks,
            vouched=bool(hashes) and all(hashes),
        )  # fmt: skip
    for number in range(len(rows), len(rows) + item.payload["repeated"]):
        yield Reject(item.key, RejectReason.DUPLICATE_ITEM, "the list repeats this row", record=number)


def _contradiction(hashes: Sequence[str], digests: Sequence[str]) -> str:
    """Why what a row declares is not of these images; "" where it is.

    A digest stands where rows declare different hashes of one address, which no download could verify.
    """
    if hashes and len(hashes) != len(digests):
        return f"{len(hashes)} hashes are declared for {so_many(len(digests), 'image')}"
    for one, digest in zip(hashes, digests, strict=bool(hashes)):
        if one and digest and one != digest:
            return f"declared {one[:12]}…, got {digest[:12]}…"
    return ""


def _body_hash(body: Body) -> str:
    return sha256(body if isinstance(body, bytes) else body.read_bytes()).hexdigest()

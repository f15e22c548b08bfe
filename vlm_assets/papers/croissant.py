"""`croissant.json`: the corpus in MLCommons' vocabulary for datasets (Croissant 1.1, with RAI and PROV).

mlcroissant reads no Arrow, so what it can iterate here stands in the file itself: samples, columns, composition,
sources. Rows are iterated from an export in Parquet, whose own `croissant.json` names every column.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
import pyarrow as pa

from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.papers.figures import Figures
from vlm_assets.papers.shown import Sample
from vlm_assets.words.column_words import COLUMN_WORDS
from vlm_assets.words.counts import so_many
from vlm_assets.words.schema import COLUMNS, IMAGES_TYPE

CONFORMS_TO: Final = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
CONTEXT: Final[Mapping[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_SPDX: Final = "https://spdx.org/licenses/{}.html"
_NO_SPDX: Final = frozenset({"proprietary", "unknown", "other", "noassertion", ""})
_TEXT, _INTEGER, _IMAGE = "sc:Text", "sc:Integer", "sc:ImageObject"


def croissant_of(figures: Figures, summary: Mapping[str, Any], samples: Sequence[Sample]) -> bytes:
    """The file, indented. Equal arguments give equal bytes."""
    content = _dataset(figures, summary)
    content["distribution"] = [
        _file_set(
            "data", "data-r*.arrow", "Rows as Arrow streams; `datasets.load_from_disk` opens the folder."
        ),
        _file_set("index", "index-r*.arrow", "The same rows without what people made, with hashes."),
    ]
    content["recordSet"] = _record_sets(figures, samples)
    return orjson.dumps(content, option=orjson.OPT_INDENT_2)


def croissant_of_parquet(corpus: CorpusManifest, rows: int) -> bytes:
    """That of an export of so many rows in Parquet; its record set `rows` reads every column of them."""
    content: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO[0],
        "name": f"{corpus.corpus}_{corpus.target}",
        "description": f"{so_many(rows, 'row')} of a corpus with root hash {corpus.root_hash}, as Parquet.",
        "version": _as_version(corpus.version),
        "citeAs": _citation(corpus.corpus, corpus.target, corpus.root_hash),
        "distribution": [
            {**_file_set("parquet", "data/*.parquet", "Rows in Parquet."), "encodingFormat": "application/x-parquet"}
        ],
        "recordSet": [{
            "@type": "cr:RecordSet", "@id": "rows", "name": "rows", "description": "A record of its source a row.",
            "key": {"@id": "rows/id"},
            "field": [_column_field(one.name, one.type) for one in COLUMNS],
        }],
    }  # fmt: skip
    return orjson.dumps(content, option=orjson.OPT_INDENT_2)


def _column_field(name: str, kind: pa.DataType) -> dict[str, Any]:
    """A column of the Parquet files: a text, the images of a record, or a list of structs by its plain parts."""
    field = _field("rows", name, COLUMN_WORDS[name], _TEXT)
    if not pa.types.is_list(kind):
        return field | {"source": _from_column(name)}
    field["repeated"] = True  # not isArray: mlcroissant 1.1 opens images of none but these
    if kind == IMAGES_TYPE:
        return field | {"dataType": _IMAGE, "source": _from_column(name, "bytes")}
    del field["dataType"]
    plain = [part for part in kind.value_type if not pa.types.is_nested(part.type)]
    if len(plain) < kind.value_type.num_fields:
        field["description"] += " Here without what is a list itself: read that from the column."
    field["subField"] = [
        _field(f"rows/{name}", part.name, "", _INTEGER if pa.types.is_integer(part.type) else _TEXT)
        | {"source": _from_column(name, part.name)}
        for part in plain
    ]
    return field


def _from_column(name: str, part: str = "") -> dict[str, Any]:
    source: dict[str, Any] = {"fileSet": {"@id": "parquet"}, "extract": {"column": name}}
    return source | ({"transform": {"jsonPath": part}} if part else {})


def _dataset(figures: Figures, summary: Mapping[str, Any]) -> dict[str, Any]:
    said = figures.get("papers", {})
    general, protection = summary["general"], summary["data_protection"]
    about = said.get("description") or "A corpus of images and words for training vision-language models."
    content: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": f"{figures['corpus']}_{figures['target']}",
        "description": f"{about} {so_many(figures['rows'], 'row')}, {so_many(figures['images'], 'image')}.",
        "version": _as_version(figures["version"]),
        "license": [_licence(name) for name in figures["licences"]],
        "citeAs": _citation(figures["corpus"], figures["target"], figures["hashes"]["root_hash"]),
        "keywords": ["vision-language", *sorted({one["category"] for one in figures["composition"]})],
    }
    if said.get("languages"):
        content["inLanguage"] = list(said["languages"])
    if said.get("controller"):
        content["creator"] = {"@type": "sc:Organization", "name": said["controller"]}
    if general["collected"]:
        content["rai:dataCollectionTimeFrame"] = [general["collected"]["from"], general["collected"]["to"]]
    return {**content, **_rai(figures, summary, protection), **_provenance(summary)}


def _as_version(version: str) -> str:
    """Mlcroissant wants MAJOR.MINOR.PATCH; a version here is a hash, which stands behind it as build metadata."""
    return f"1.0.0+{version}"


def _citation(corpus: str, target: str, root_hash: str) -> str:
    return f"@misc{{{corpus}_{target}, title = {{{corpus} {target}}}, note = {{root hash {root_hash}}}}}"


def _licence(name: str) -> str:
    return name if name.lower() in _NO_SPDX else _SPDX.format(name)


def _rai(figures: Figures, summary: Mapping[str, Any], protection: Mapping[str, Any]) -> dict[str, Any]:
    processing = summary["processing"]
    lost = ", ".join(f"{name} {count:,}" for name, count in processing["excluded"].items()) or "none"
    rejects = ", ".join(f"{name} {count:,}" for name, count in processing["rejects"].items()) or "none"
    content = {
        "rai:dataCollection": "; ".join(
            f"{name.replace('_', ' ')}: {', '.join(one['source'] for one in some)}"
            for name, some in summary["sources"].items()
            if some
        )
        or "no source has a row",
        "rai:dataCollectionType": [
            name.replace("_", " ") for name, some in summary["sources"].items() if some
        ],
        "rai:dataCollectionMissingData": f"Items and records that did not become rows, by reason: {rejects}.",
        "rai:dataPreprocessingProtocol": [
            "Images are kept as their original encoded bytes; texts are brought to Unicode NFC.",
            f"Rows that no target may have, by reason: {lost}.",
            "Rows are chosen by exact quotas and keyed hashes; see the report and the finding `quotas` of the audit.",
        ],
        "rai:personalSensitiveInformation": [protection["personal_data"]],
        "rai:dataReleaseMaintenancePlan": "Sources are listed anew by a schedule; takedowns reach the corpus, its "
        f"papers and later fetches. {figures['takedowns']['in_plan'] + figures['takedowns']['since']} are in force.",
    }
    if protection["purpose"]:
        content["rai:dataUseCases"] = [protection["purpose"]]
    return content


def _provenance(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Sources as entities that the corpus was derived from (W3C PROV-O)."""
    sources = [one for some in summary["sources"].values() for one in some]
    return {
        "prov:wasDerivedFrom": [
            {
                "@type": "prov:Entity",
                "@id": one["address"] or f"urn:vlm-assets:source:{one['source']}",
                "prov:label": one["source"],
                "prov:value": ", ".join(one["revisions"]),
            }
            for one in sources
        ],
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "prov:label": "vlm-assets build",
            "prov:wasAssociatedWith": {"@type": "prov:SoftwareAgent", "prov:label": "vlm-assets"},
        },
    }


def _file_set(name: str, includes: str, told: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": name,
        "name": name,
        "description": told,
        "encodingFormat": "application/vnd.apache.arrow.stream"
        if name == "data"
        else "application/vnd.apache.arrow.file",
        "includes": includes,
    }


def _record_sets(figures: Figures, samples: Sequence[Sample]) -> list[dict[str, Any]]:
    sets = [
        _inline("samples", "A few rows of every subcategory, by their words and facts.", {
            "id": _TEXT, "category": _TEXT, "subcategory": _TEXT, "source": _TEXT, "origin": _TEXT, "licence": _TEXT,
            "words": _TEXT, "images": _TEXT, "image_sha256": _TEXT,
        }, [
            {
                "id": one.id, "category": one.category, "subcategory": one.subcategory, "source": one.source,
                "origin": one.origin, "licence": one.licence, "words": one.words,
                "images": ", ".join(one.image_told), "image_sha256": " ".join(one.image_sha256),
            }
            for one in samples
        ]),
        _inline("columns", "What the columns of the data files hold.", {
            "name": _TEXT, "role": _TEXT, "holds": _TEXT,
        }, [
            {"name": one.name, "role": str(one.role), "holds": COLUMN_WORDS[one.name]} for one in COLUMNS
        ]),
        _inline("composition", "Subcategories: asked, granted and present rows.", {
            "category": _TEXT, "subcategory": _TEXT, "asked": _INTEGER, "granted": _INTEGER, "present": _INTEGER,
        }, [
            {name: one[name] for name in ("category", "subcategory", "asked", "granted", "present")}
            for one in figures["composition"]
        ]),
        _inline("sources", "Where the rows come from.", {
            "source": _TEXT, "kind": _TEXT, "revision": _TEXT, "licence": _TEXT, "rows": _INTEGER,
            "image_bytes": _INTEGER,
        }, [
            {
                "source": one["source"], "kind": one["kind"], "revision": one["revision"], "licence": one["licence"],
                "rows": one["present"], "image_bytes": one["image_bytes"],
            }
            for one in figures["sources"]
        ]),
    ]  # fmt: skip
    return [one for one in sets if one["data"]]


def _inline(
    name: str, told: str, fields: Mapping[str, str], lines: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """A record set whose records stand in it."""
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": told,
        "field": [_field(name, field, "", kind) for field, kind in fields.items()],
        "data": [{f"{name}/{field}": value for field, value in line.items()} for line in lines],
    }


def _field(record_set: str, name: str, told: str, kind: str) -> dict[str, Any]:
    field: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{record_set}/{name}",
        "name": name,
        "dataType": kind,
    }
    if told:
        field["description"] = told
    return field

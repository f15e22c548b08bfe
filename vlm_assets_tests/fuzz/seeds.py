"""What is mutated: small sound inputs of every format, made here and nowhere taken from."""

import base64
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import yaml


@cache
def images() -> dict[str, bytes]:
    """Each format; EXIF, palettes, profiles, animations, progressive scans."""
    from vlm_assets.images.probe import FORMATS
    from vlm_assets_tests.images.pictures import animation, encoded, exif, picture

    small = picture(24, 16)
    found = {form: encoded(small, form) for form in FORMATS}
    found |= {f"{form}-moving": animation(form, 3) for form in ("GIF", "PNG", "WEBP")}
    found |= {
        "JPEG-exif": encoded(small, "JPEG", progressive=True, exif=exif(t274=(3, 6), t282=(5, (300, 1)))),
        "PNG-exif": encoded(picture(24, 16, "RGBA"), "PNG", exif=exif(t274=(3, 8))),
        "PNG-palette": encoded(small.convert("P"), "PNG"),
        "WEBP-exif": encoded(small, "WEBP", exif=exif(t274=(3, 5))),
        "TIFF-lzw": encoded(small, "TIFF", compression="tiff_lzw"),
        "TIFF-fax": encoded(small.convert("1"), "TIFF", compression="group4"),
        "JPEG-cmyk": encoded(small.convert("CMYK"), "JPEG"),
    }
    return found


def _files() -> list[tuple[str, bytes]]:
    jpeg, png = images()["JPEG"], images()["PNG"]
    caption = json.dumps([{"file_name": "a/1.jpg", "text": "bir"}]).encode()
    return [
        ("a/1.jpg", jpeg), ("a/1.txt", b"bir"), ("a/1.json", b'{"text": "bir"}'), ("b/2.png", png),
        ("metadata.csv", b"file_name,text\na/1.jpg,bir\n"), ("captions.json", caption), ("b/2.cls", b"3"),
    ]  # fmt: skip


@cache
def archives() -> dict[str, bytes]:
    """Zip in its ways, tar in its, packed and nested ones, 7z."""
    from vlm_assets_tests.archives.made import seven_zip_bytes, tar_bytes, zip_bytes

    files = _files()
    plain = tar_bytes(files)
    inner = zip_bytes(files[:2], zipfile.ZIP_DEFLATED)
    found = {
        "zip": zip_bytes(files), "zip-deflated": zip_bytes(files, zipfile.ZIP_DEFLATED),
        "zip-bzip2": zip_bytes(files, zipfile.ZIP_BZIP2), "zip-lzma": zip_bytes(files[:3], zipfile.ZIP_LZMA),
        "tar": plain, "tar-gnu": tar_bytes([("n" * 150 + ".jpg", b"x"), *files], form=tarfile.GNU_FORMAT),
        "tar-pax": tar_bytes([("ü" * 120 + ".jpg", b"x"), *files]), "tgz": gzip.compress(plain, 1, mtime=0),
        "txz": lzma.compress(plain, preset=0), "nested": zip_bytes([("in.zip", inner), ("in.tar", plain)]),
        "7z": seven_zip_bytes(files[:3]),
    }  # fmt: skip
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, archive.open("a.jpg", "w", force_zip64=True) as member:
        member.write(images()["JPEG"])
    return {**found, "zip64": stream.getvalue()}


@cache
def tables() -> dict[str, tuple[str, bytes]]:
    """Data files of the Hub by kind: Parquet, Arrow, JSON, CSV, WebDataset, packed images."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from vlm_assets_tests.hub.test_damaged import TABLE, arrow

    def parquet(**options: Any) -> bytes:
        sink = io.BytesIO()
        pq.write_table(TABLE.drop_columns(["view"]), sink, **options)
        return sink.getvalue()

    image = base64.b64encode(images()["JPEG"]).decode()
    said = [{"type": "text", "text": "kedi"}]
    talk = [{"role": "user", "content": "bu ne?"}, {"role": "assistant", "content": said}]
    rows = [
        {"messages": talk, "image": image, "text": "bir", "tags": ["x"], "n": {"m": 1.5}},
        {"image": None, "text": "iki"},
    ]
    return {
        "stream": ("arrow", arrow(pa.ipc.new_stream, None)),
        "stream-zstd": ("arrow", arrow(pa.ipc.new_stream, "zstd")),
        "file": ("arrow", arrow(pa.ipc.new_file, None)),
        "file-lz4": ("arrow", arrow(pa.ipc.new_file, "lz4")),
        "parquet": ("parquet", parquet()),
        "parquet-zstd": ("parquet", parquet(compression="zstd", use_dictionary=False)),
        "parquet-2": ("parquet", parquet(data_page_version="2.0", version="2.6", compression="gzip")),
        "lines": ("json", b"\n".join(map(orjson.dumps, rows))),
        "json": ("json", orjson.dumps(rows)),
        "fields": ("json", orjson.dumps({"data": rows})),
        "csv": ("csv", f'image,text\n{image},"bir, iki"\n{image},\n'.encode()),
        "tsv": ("csv", f"image\ttext\n{image}\tbir\n".encode()),
        "webdataset": ("webdataset", archives()["tar"]),
        "archive": ("archive", archives()["zip"]),
    }


@cache
def captions() -> dict[str, bytes]:
    """Tables of captions by file name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table({"file_name": ["a.jpg", "b.jpg"], "text": ["bir", None], "k": [[1], []]}), sink)
    comma = "file_name,text,n\na.jpg,\"bir, 'iki'\nüç\",1\nb.jpg,,2\n"
    coco = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": "bir"}]}
    return {
        "a.csv": comma.encode(), "b.csv": comma.encode("utf-16"), "c.csv": b"sep=;\nfile_name;text\na.jpg;bir\n",
        "a.tsv": b"file_name\ttext\na.jpg\tbir\n", "a.jsonl": b'{"file_name": "a.jpg", "text": "bir"}\n' * 2,
        "a.json": b'[{"file_name": "a.jpg", "text": "bir"}, {"file_name": "b.jpg", "text": null}]',
        "coco.json": orjson.dumps(coco), "map.json": b'{"a.jpg": "bir", "b.jpg": "iki"}',
        "a.parquet": sink.getvalue(), "a.csv.gz": gzip.compress(comma.encode(), mtime=0),
        "a.csv.xz": lzma.compress(comma.encode()),
    }  # fmt: skip


@cache
def sidecars() -> dict[str, bytes]:
    """Files of one image's words."""
    return {
        "object": b'{"text": "bir", "tags": ["x"], "n": {"m": 1.5}, "note": null}',
        "words": "bir ağaç".encode(),
    }


@cache
def conversations() -> dict[str, bytes]:
    """Cells that hold a conversation as JSON text, in its usual forms."""
    parts = [{"type": "text", "text": "bu ne?"}, {"type": "image"}]
    return {
        "messages": orjson.dumps([{"role": "user", "content": parts}, {"role": "assistant", "content": "kedi"}]),
        "llava": orjson.dumps([{"from": "human", "value": "<image>\nbu ne?"}, {"from": "gpt", "value": "kedi"}]),
        "vision": orjson.dumps([{"user": "bu ne?", "assistant": "kedi", "source": "x"}]),
        "columns": orjson.dumps({"role": ["user", "assistant"], "content": ["bu ne?", "kedi"]}),
    }  # fmt: skip


@cache
def documents() -> dict[str, bytes]:
    """PDFs: a scan, drawings, shared forms, an object stream, a password."""
    import pikepdf

    from vlm_assets_tests.pdf.builders import add_page, drawing, image_object, jpeg, picture

    found = {}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.pdf"
        drawing(path, 2)
        found["drawing"] = path.read_bytes()
        with pikepdf.new() as pdf:
            small = picture("L").resize((90, 120))
            add_page(pdf, images={"Im0": image_object(pdf, jpeg(small), small)})
            form = pdf.make_stream(b"q 9 0 0 9 0 0 cm /Im1 Do Q")
            form.Type, form.Subtype, form.BBox = (
                pikepdf.Name.XObject,
                pikepdf.Name.Form,
                pikepdf.Array([0, 0, 9, 9]),
            )
            raw = small.resize((9, 12))
            image = image_object(pdf, raw.tobytes(), raw, None)
            form.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(Im1=image))
            add_page(pdf, "/Fm0 Do /Fm0 Do BT /F1 9 Tf 9 9 Td (abc) Tj ET", images={"Fm0": form})
            pdf.save(path)
            found["scan"] = path.read_bytes()
            pdf.save(path, object_stream_mode=pikepdf.ObjectStreamMode.generate)
            found["object-streams"] = path.read_bytes()
            pdf.save(path, encryption=pikepdf.Encryption(owner="o", user=""))
            found["encrypted"] = path.read_bytes()
    return found


CORPUS = {
    "name": "x", "seed": 1, "targets": {"a": 10, "b": 20}, "refresh_targets": ["a"], "shortfall": "redistribute",
    "quotas": {"p": {"share": 0.5, "subcategories": {"s": {"share": 1}}},
               "q": {"share": 0.5, "max": 7, "subcategories": {"cat": {"share": "1/3"}, "t": {"share": "2/3"}}}},
    "dedup": {"exact": "record", "near_bits": 0}, "licences": {"deny": ["unknown"]}, "min_side_px": 1,
    "shard": {"max_bytes": "2GB", "block_rows": 64}, "keep_versions": 2, "formats": ["JPEG"],
}  # fmt: skip
SOURCES = [
    {
        "name": "s1",
        "kind": "client_folder",
        "category": "p",
        "subcategory": "s",
        "licence": "MIT",
        "path": ".",
    },
    {
        "name": "s2",
        "kind": "image_urls",
        "category": "q",
        "licence": "MIT",
        "urls": "corpus.yaml",
        "weight": 1.0,
        "subcategory_from": {"folder": 1, "map": {"0": "cat"}},
    },
    {
        "name": "s3",
        "subcategory": "t",
        "kind": "newspapers",
        "category": "q",
        "licence": "MIT",
        "base_url": "http://x",
        "years": [1990, 2000],
    },
    {
        "name": "s4",
        "subcategory": "t",
        "kind": "hf_dataset",
        "category": "q",
        "licence": "MIT",
        "repo": "a/b",
        "configs": "all",
    },
    {
        "name": "s5",
        "subcategory": "t",
        "kind": "kaggle",
        "category": "q",
        "licence": "MIT",
        "handle": "a/b/versions/3",
    },
    {
        "name": "s6",
        "subcategory": "t",
        "kind": "pdf_folder",
        "category": "q",
        "licence": "MIT",
        "path": ".",
        "embedded": "always",
    },
]


@cache
def catalogues() -> dict[str, bytes]:
    """`corpus.yaml` and a file of sources, parted by a line of dashes."""
    sources = yaml.safe_dump({"sources": SOURCES}, sort_keys=False, allow_unicode=True)
    return {"both": f"{yaml.safe_dump(CORPUS, sort_keys=False)}-----\n{sources}".encode()}


@cache
def records() -> dict[str, bytes]:
    """What the product itself wrote and reads again: manifests, lock, tombstone, listing, ledgers, index, rows."""
    from vlm_assets_tests.fuzz.written import written  # the whole line is loaded for it

    return written()


ROBOTS = b"User-agent: *\nDisallow: /a*b$\nAllow: /\nCrawl-delay: 3\nSitemap: x\n\nUser-agent: vlm-assets\n"
ANSWER = (b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b\r\n\r\n"
          b"5;x=y\r\nhello\r\n0\r\n\r\n")  # fmt: skip
OPT_OUTS = {
    "tdmrep.json": b'[{"location": "/free/*", "tdm-reservation": 0},\n {"location": "/*a$", "tdm-reservation": 1},\n'
    b' {"location": "/img/%7Ea", "tdm-reservation": 1},\n {"location": "/", "tdm-reservation": 1}]',
    "ai.txt": b"User-Agent: *\nDisallow: *.jpg\nAllow: /\n\nUser-agent: vlm-assets\nDisallow: *.jpg\n",
}
XMP = (b'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
       b'<rdf:Description xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/"\n plus:DataMining="DMI-ALLOWED">\n'
       b"<plus:DataMining>http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED</plus:DataMining>\n"
       b'<plus:DataMining rdf:resource="DMI-PROHIBITED"/>\n</rdf:Description></rdf:RDF></x:xmpmeta>')  # fmt: skip
SAVED = {
    "dataset_dict.json": b'{"splits": ["train", "d/train"]}',
    "train/state.json": b'{"_data_files": [{"filename": "a.arrow"}, {"filename": "d/a.arrow"}], "_split": null}',
    "train/dataset_info.json": b'{"features": {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", '
    b'"names": ["kedi"]}, "tags": {"_type": "List", "feature": {"dtype": "string"}}}, "download_checksums": {}}',
}
READMES = {
    "configs": b"---\nconfigs:\n- config_name: resim\n  data_files:\n  - split: train\n"
    b"    path: [a/**/*.parquet, '**/x?.parquet']\n  - split: test\n    path: 'a/**/b/[x-z]*.parquet'\n"
    b"- config_name: metin\n  data_dir: a\n  data_files: '*.parquet'\n---\n# x\n",
    "infos": b"---\nlicense: mit\ndataset_info:\n- config_name: resim\n  features:\n  - {name: image, dtype: image}\n"
    b"  - name: label\n    dtype: {class_label: {names: {'0': kedi, '1': k}}}\n"
    b"  splits:\n  - {name: train, num_bytes: 9, num_examples: 1}\n---\n",
    "aliases": b"---\nx: &x {data_files: 'a/*'}\nconfigs:\n- {<<: *x, config_name: a}\n"
    b"- {<<: *x, config_name: 1:30}\n---\n",
}
README_TREE = ("README.md", "a/x.parquet", "a/b/x1.parquet", f"a/b/c/{'b/' * 40}x2.parquet", "a/y.parquet")

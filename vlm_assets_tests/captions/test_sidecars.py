import pytest

from vlm_assets.captions.sidecars import match_sidecars, read_sidecars
from vlm_assets.words.errors import SourceError
from vlm_assets_tests.captions.kit import opener


@pytest.mark.parametrize(
    ("names", "by_image", "unused"),
    [
        (["a.jpg", "a.txt"], {"a.jpg": ["a.txt"]}, []),
        (["a.jpg", "a.jpg.txt"], {"a.jpg": ["a.jpg.txt"]}, []),
        (["a.jpg", "a.jpg.txt", "a.txt"], {"a.jpg": ["a.jpg.txt"]}, ["a.txt"]),
        (["a.jpg", "a.jpg.webp", "a.jpg.txt"], {"a.jpg": ["a.jpg.txt"]}, []),
        (["a.jpg", "a.jpg.webp", "a.txt"], {"a.jpg": ["a.txt"]}, []),
        (["a.jpg", "a.jpg.webp", "a.jpg.webp.txt"], {"a.jpg.webp": ["a.jpg.webp.txt"]}, []),
        (["a.jpg.webp", "a.jpg.txt"], {"a.jpg.webp": ["a.jpg.txt"]}, []),
        (["a.jpg", "a.png", "a.txt"], {"a.jpg": ["a.txt"], "a.png": ["a.txt"]}, []),
        (["a.jpg", "a.png", "a.txt", "a.png.txt"], {"a.jpg": ["a.txt"], "a.png": ["a.png.txt"]}, []),
        (["c.jpg", "C.TXT", "d.jpg", "d.TXT"], {"d.jpg": ["d.TXT"]}, ["C.TXT"]),
        (["e.jpeg", "e.caption"], {"e.jpeg": ["e.caption"]}, []),
        (["e.jpg", "e.caption", "e.txt"], {"e.jpg": ["e.txt"]}, ["e.caption"]),
        (["f.jpg", "f.json", "f.txt"], {"f.jpg": ["f.txt", "f.json"]}, []),
        (["f.jpg", "f.json"], {"f.jpg": ["f.json"]}, []),
        (["a.b/img", "a.b/img.txt", "a.txt"], {"a.b/img": ["a.b/img.txt"]}, ["a.txt"]),
        (["x/a.jpg", "y/a.txt", "readme.txt"], {}, ["readme.txt", "y/a.txt"]),
        (["a.b.jpg", "a.b.txt", "a.txt"], {"a.b.jpg": ["a.b.txt"]}, ["a.txt"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_sidecars_belong_to_the_image_that_they_name(names, by_image, unused):
    images = [n for n in names if not n.lower().endswith((".txt", ".caption", ".json"))]
    found = match_sidecars(images, set(names) - set(images))
    assert (found.by_image, found.unused) == (by_image, unused)


@pytest.mark.parametrize(
    ("files", "encoding", "expected"),
    [
        ([("a.txt", " bir\r\n iki \n")], None, ("bir\r\n iki", {})),
        ([("a.txt", "çay".encode("cp1254"))], "cp1254", ("çay", {})),
        ([("a.TXT", "çay".encode("utf-16"))], None, ("çay", {})),
        ([("a.txt", " \n")], None, (None, {})),
        ([("a.json", b'\xef\xbb\xbf{"caption": "x", "n": 1}')], None, ("x", {"n": 1})),
        ([("a.txt", "x"), ("a.json", '{"caption": "y", "n": 1}')], None, ("x", {"n": 1, "text": "y"})),
        ([("a.txt", "x"), ("a.json", '{"caption": "x", "n": 1}')], None, ("x", {"n": 1})),
        ([("a.txt", ""), ("a.json", '{"caption": "y"}')], None, ("y", {})),
    ],
)
def test_sidecars_say_text_and_other_values(files, encoding, expected):
    said = read_sidecars([(name, name, opener(data)) for name, data in files], encoding)
    assert (said.text, said.extra) == expected


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"bir\n\xe7ay", "a.txt: line 2 is not UTF-8.*encoding"),
        ("a.json", b"[1]", "a.json: expected an object, got list"),
        ("a.json", b"{", "a.json is not JSON"),
    ],
)
def test_a_sidecar_that_cannot_be_read_is_named(name, data, message):
    with pytest.raises(SourceError, match=message):
        read_sidecars([(name, name, opener(data))], None)

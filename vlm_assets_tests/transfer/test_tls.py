"""The certificates that connections trust are read once, and again when the bundle changes."""

import os

import pytest

from vlm_assets.transfer.tls import shared_tls_context


def test_the_same_bundle_is_read_once_and_another_version_of_it_anew(certificate):
    first = shared_tls_context(certificate)
    assert shared_tls_context(certificate) is first
    assert shared_tls_context(None) is not first
    os.utime(certificate, ns=(0, 1))
    again = shared_tls_context(certificate)
    assert again is not first
    assert again.cert_store_stats() == first.cert_store_stats()


def test_a_bundle_that_is_gone_is_an_error_though_it_was_read_before(certificate):
    shared_tls_context(certificate)
    certificate.unlink()
    with pytest.raises(FileNotFoundError):
        shared_tls_context(certificate)


def test_a_bundle_that_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"no regular file.*pipe"):
        shared_tls_context(tmp_path / "pipe")

"""The file in which checked rows wait."""

from __future__ import annotations

from airflow_provider_pindo._bulk.spool import Spool, SpooledBlock


def test_the_spool_has_no_name_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spool = Spool()
    block = SpooledBlock(1, {1: "bad"}, ["+250780000001"] * 1000, ["Aline" * 100] * 1000, None)
    for _ in range(20):
        spool.append(block)
    assert spool._file._rolled  # it is larger than what stays in memory
    assert list(tmp_path.iterdir()) == []
    assert list(spool.blocks()) == [block] * 20
    assert len(list(spool.blocks())) == 20
    spool.close()

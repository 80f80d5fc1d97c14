"""Downloads are resumed, checked, unpacked safely and done once; seen against servers on this machine."""

import hashlib
import http.server
import io
import stat
import tarfile
import threading
import zipfile
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

from phenoloom.core.errors import InputError
from phenoloom.ingest import download
from phenoloom.ingest.archives import extract
from phenoloom.ingest.download import fetch


class Source(http.server.BaseHTTPRequestHandler):
    """Serves `files` with Range and ETag, and lists them as an S3 bucket does; cuts answers off at `cut` bytes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        server.requests.append((parts.path, self.headers.get("Range")))
        if "list-type" in query:
            return self._list(query)
        data = server.files.get(unquote(parts.path))
        if data is None:
            return self._send(404, b"<Error><Code>NoSuchKey</Code></Error>")
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        start, wanted = 0, self.headers.get("Range")
        if self.headers.get("If-Match", tag) != tag:
            return self._send(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        if wanted and self.headers.get("If-Range", tag) == tag and server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                return self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        body = data[start:]
        headers = (
            {"ETag": tag, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {"ETag": tag}
        )
        cut = server.cuts.pop(0) if server.cuts else None
        return self._send(206 if start else 200, body, headers, cut)

    def _list(self, query):
        prefix, size = query["prefix"][0], 2
        bucket = urlsplit(self.path).path
        keys = sorted(k.removeprefix(bucket + "/") for k in self.server.files if k.startswith(f"{bucket}/{prefix}"))
        first = int(query.get("continuation-token", ["0"])[0])
        shown = keys[first : first + size]
        more = first + size < len(keys)
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.server.files[f'{bucket}/{key}'])}</Size></Contents>"
            for key in shown
        )
        token = f"<NextContinuationToken>{first + size}</NextContinuationToken>" if more else ""
        text = f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}</ListBucketResult>"
        return self._send(200, text.encode())

    def _send(self, code, body, headers=None, cut=None):
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def source(monkeypatch):
    """A server on this machine: `files`, `cuts`, `ranges`, `requests` and its address `url`."""
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Source)
    server.files, server.cuts, server.requests, server.ranges = {}, [], [], True
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def block(folder, *files, **more):
    return {
        "folder": str(folder),
        "files": [{"extract": True, "include": ["*"], "to": "", **one} for one in files],
        **more,
    }


ARCHIVE = zipped(
    **{"plate/a.tif": bytes(range(256)) * 40, "plate/b.tif": b"b", "__MACOSX/x": b"", "plate/notes.txt": b"n"}
)


def test_an_archive_is_fetched_checked_and_unpacked_once(source, tmp_path):
    source.files["/x/p%201.zip"] = source.files["/x/p 1.zip"] = ARCHIVE
    wanted = block(
        tmp_path,
        {"url": source.url + "/x/{plate}.zip", "sha256": hashlib.sha256(ARCHIVE).hexdigest(), "include": ["*.tif"]},
    )
    said = []
    fetch(wanted, ["p 1"], said.append)
    assert sorted(path.name for path in (tmp_path / "plate").iterdir()) == ["a.tif", "b.tif"]
    assert any("fetched" in line for line in said)
    requests = len(source.requests)
    fetch(wanted, ["p 1"], said.append)
    assert len(source.requests) == requests
    assert not list(tmp_path.rglob("*.part")) and not list(tmp_path.glob(".unpacking*"))


def test_a_download_that_is_cut_off_goes_on_where_it_stopped(source, tmp_path):
    source.files["/a.zip"] = ARCHIVE
    source.cuts = [100, 50]
    fetch(block(tmp_path, {"url": source.url + "/a.zip"}), [], str)
    assert [wanted for _, wanted in source.requests] == [None, "bytes=100-", "bytes=150-"]
    assert (tmp_path / "plate" / "a.tif").read_bytes() == bytes(range(256)) * 40


def test_a_later_run_goes_on_too_and_a_changed_file_starts_anew(source, tmp_path):
    source.files["/a.zip"] = ARCHIVE
    source.cuts = [10] * download.ATTEMPTS
    wanted = block(tmp_path, {"url": source.url + "/a.zip"})
    with pytest.raises(InputError, match="run again to continue"):
        fetch(wanted, [], str)
    part = next((tmp_path / ".fetched").glob("*.part"))
    assert part.read_bytes() == ARCHIVE[: 10 * download.ATTEMPTS]
    other = zipped(**{"other.tif": b"o" * 500})
    source.files["/a.zip"] = other
    fetch(wanted, [], str)
    assert (tmp_path / "other.tif").read_bytes() == b"o" * 500


def test_a_server_without_ranges_is_asked_again_from_the_start(source, tmp_path):
    source.files["/a.zip"], source.ranges, source.cuts = ARCHIVE, False, [100]
    fetch(block(tmp_path, {"url": source.url + "/a.zip"}), [], str)
    assert (tmp_path / "plate" / "b.tif").read_bytes() == b"b"


def test_a_finished_part_is_not_fetched_again(source, tmp_path):
    source.files["/a.zip"] = ARCHIVE[:-5] + b"xxxxx"  # damaged: unpacking fails after the download
    wanted = block(tmp_path, {"url": source.url + "/a.zip"})
    for _ in range(2):
        with pytest.raises(InputError, match="a.zip"):
            fetch(wanted, [], str)
    assert source.requests[-1][1] == f"bytes={len(ARCHIVE)}-"
    assert not (tmp_path / "plate").exists()


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_wrong_checksum_is_refused_and_nothing_unpacked(source, tmp_path, kind):
    source.files["/a.zip"] = ARCHIVE
    digits = 64 if kind == "sha256" else 32
    with pytest.raises(InputError, match=f"{kind} .* where 0+ is due"):
        fetch(block(tmp_path, {"url": source.url + "/a.zip", kind: "0" * digits}), [], str)
    assert not (tmp_path / "plate").exists()
    assert not list(tmp_path.rglob("*.part"))


def test_what_is_not_there_is_said_at_once(source, tmp_path):
    with pytest.raises(InputError, match="404"):
        fetch(block(tmp_path, {"url": source.url + "/no.zip"}), [], str)
    assert len(source.requests) == 1
    with pytest.raises(InputError, match="only http"):
        fetch(block(tmp_path, {"url": "file:///etc/passwd"}), [], str)
    with pytest.raises(InputError, match="does not exist"):
        fetch(block(tmp_path, {"url": str(tmp_path / "no.zip")}), [], str)


def test_a_plain_file_and_a_local_archive(source, tmp_path):
    source.files["/table.csv"] = b"1,2\n"
    fetch(block(tmp_path / "new", {"url": source.url + "/table.csv", "to": "sub"}), [], str)
    assert (tmp_path / "new" / "sub" / "table.csv").read_bytes() == b"1,2\n"
    (tmp_path / "here.zip").write_bytes(ARCHIVE)
    fetch(block(tmp_path / "new", {"url": str(tmp_path / "here.zip")}), [], str)
    assert (tmp_path / "new" / "plate" / "b.tif").exists() and (tmp_path / "here.zip").exists()


@pytest.mark.parametrize("form", ["w:gz", "w:xz", "w:bz2", "w"])
def test_tar_archives_of_all_kinds(tmp_path, form):
    path = tmp_path / f"a.tar{form[1:].replace(':', '.')}"
    with tarfile.open(path, form) as archive:
        for name, data in (("d/1.tif", b"one"), ("d/2.txt", b"two")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    assert extract(path, tmp_path / "out", ["*.tif"]) == 1
    assert (tmp_path / "out" / "d" / "1.tif").read_bytes() == b"one"


def tar_with(path, name, kind=tarfile.REGTYPE, target=""):
    with tarfile.open(path, "w") as archive:
        good = tarfile.TarInfo("good.tif")
        archive.addfile(good, io.BytesIO(b""))
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        archive.addfile(member)
    return path


@pytest.mark.parametrize("name", ["/etc/x.tif", "../x.tif", "a/../../x.tif", "C:\\x.tif", "a\\..\\..\\x.tif"])
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path, name):
    (tmp_path / "evil.zip").write_bytes(zipped(**{"good.tif": b"g", name: b"x"}))
    for path in (tar_with(tmp_path / "evil.tar", name), tmp_path / "evil.zip"):
        with pytest.raises(InputError, match="points out of its folder"):
            extract(path, tmp_path / "deep" / "out")
    assert [path.name for path in (tmp_path / "deep" / "out").iterdir()] == []
    assert sorted(path.name for path in tmp_path.rglob("x.tif")) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    with pytest.raises(InputError, match="link or device"):
        extract(tar_with(tmp_path / "evil.tar", "l", kind, "/etc/passwd"), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_links_in_a_zip_are_refused(tmp_path):
    member = zipfile.ZipInfo("l.tif")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(InputError, match="link or device"):
        extract(tmp_path / "evil.zip", tmp_path / "out")


def test_bombs_stop_at_the_limit(tmp_path):
    (tmp_path / "bomb.zip").write_bytes(zipped(a=bytes(10**7), b=b""))
    with pytest.raises(InputError, match="max_gigabytes"):
        extract(tmp_path / "bomb.zip", tmp_path / "out", max_bytes=10**6)
    with pytest.raises(InputError, match="max_files"):
        extract(tmp_path / "bomb.zip", tmp_path / "out", max_files=1)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.xz"])
def test_damaged_archives_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"no archive at all")
    with pytest.raises(InputError, match=name):
        extract(tmp_path / name, tmp_path / "out")


@pytest.fixture
def bucket(source, monkeypatch):
    for plate in ("P1", "P2"):
        for number in range(3):
            source.files[f"/gallery/cpg/images/{plate}__2020-M1/Images/r{number}.tiff"] = (
                f"{plate}{number}".encode() * 50
            )
        source.files[f"/gallery/cpg/images/{plate}__2020-M1/Index.xml"] = b"x"
    monkeypatch.setenv("PHENOLOOM_S3_ENDPOINT", source.url)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return source


def test_a_plate_of_a_public_bucket(bucket, tmp_path):
    wanted = block(
        tmp_path, {"url": "s3://gallery/cpg/images/{plate}__*/Images/", "to": "images", "include": ["*.tiff"]}
    )
    fetch(wanted, ["P1"], str)
    files = sorted((tmp_path / "images" / "P1__2020-M1" / "Images").iterdir())
    assert [path.name for path in files] == ["r0.tiff", "r1.tiff", "r2.tiff"]
    assert files[2].read_bytes() == b"P12" * 50
    assert not any("P2" in path for path, _ in bucket.requests)
    before = len(bucket.requests)
    fetch(wanted, ["P1"], str)
    assert len(bucket.requests) == before


def test_a_bucket_goes_on_with_the_files_that_are_missing(bucket, tmp_path):
    wanted = block(tmp_path, {"url": "s3://gallery/cpg/images/P1__2020-M1/Images/"})
    (tmp_path / "r0.tiff").write_bytes(b"P10" * 50)
    bucket.cuts = [60]
    fetch(wanted, [], str)
    asked = [(path.rsplit("/", 1)[-1], part) for path, part in bucket.requests if path.endswith(".tiff")]
    assert "r0.tiff" not in {name for name, _ in asked}
    assert "bytes=60-" in {part for _, part in asked}
    assert (tmp_path / "r1.tiff").read_bytes() == b"P11" * 50


def test_one_object_of_a_bucket_and_one_that_is_not_there(bucket, tmp_path):
    bucket.files["/gallery/a b.zip"] = ARCHIVE
    fetch(block(tmp_path, {"url": "s3://gallery/a%20b.zip"}), [], str)
    assert (tmp_path / "plate" / "b.tif").exists()
    with pytest.raises(InputError, match="NoSuchKey|404"):
        fetch(block(tmp_path, {"url": "s3://gallery/no.zip"}), [], str)
    with pytest.raises(InputError, match="has no file that fits"):
        fetch(block(tmp_path, {"url": "s3://gallery/nothing/"}), [], str)


def test_a_folder_that_is_filled_already_is_taken_as_it_is(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "A01.tif").write_bytes(b"x")
    lines = []
    fetch({"folder": str(tmp_path / "images"), "files": [{"url": "http://127.0.0.1:9/none.zip"}]}, [], lines.append)
    assert "is not fetched" in lines[0]

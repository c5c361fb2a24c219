"""Where a file may come from, and what counts as a PDF: decided without a socket."""

from collections.abc import Callable
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backmarket.client.origins import Origins, is_public, place_of
from backmarket.client.pdf import PdfWriter
from backmarket.errors import BackMarketError, BrokenAnswer, NotAPdf, OriginRefused, TooLarge
from backmarket.settings import Settings

OWN = "https://www.backmarket.fr"
BASE = place_of(OWN)
SIGNATURE = "X-Signature=that-nobody-may-see"

UNDERSTOOD = [
    ("/static/a.pdf", f"{OWN}/static/a.pdf"),
    ("static/a.pdf", f"{OWN}/static/a.pdf"),
    ("/static/../a.pdf", f"{OWN}/a.pdf"),
    ("/a.pdf?x=1&y=%20#page=2", f"{OWN}/a.pdf?x=1&y=%20"),
    ("?x=1", f"{OWN}/?x=1"),
    ("//cdn.example/a", "https://cdn.example/a"),
    ("  https://cdn.example/a\n", "https://cdn.example/a"),
    ("HTTPS://CDN.Example/A", "https://cdn.example/A"),
    ("https://cdn.example./a", "https://cdn.example/a"),
    ("https://cdn.example:443/a", "https://cdn.example/a"),
    ("https://cdn.example:0443/a", "https://cdn.example/a"),
    ("https://cdn.example:/a", "https://cdn.example/a"),
    ("https://cdn.example:8443", "https://cdn.example:8443/"),
    ("http://cdn.example:443/a", "http://cdn.example:443/a"),
    ("https://cdn.example/an old label.pdf", "https://cdn.example/an%20old%20label.pdf"),
    ("https://cdn.example/étiquette?à", "https://cdn.example/%C3%A9tiquette?%C3%A0"),
    ("https://cdn.example/a?u=https://user@host:1/", "https://cdn.example/a?u=https://user@host:1/"),
    ("https://xn--tiquette-b1a.example/", "https://xn--tiquette-b1a.example/"),
    ("http://192.0.2.7:8080/a", "http://192.0.2.7:8080/a"),
    ("http://[2001:DB8:0::1]:8080/a", "http://[2001:db8::1]:8080/a"),
    ("http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/"),
    ("http://[::FFFF:0:1]/", "http://[::ffff:0:1]/"),
    ("http://minio_1:9000/a", "http://minio_1:9000/a"),
]

MISUNDERSTOOD = [
    "",
    " ",
    "file:///etc/passwd",
    "ftp://cdn.example/a",
    "data:application/pdf;base64,JVBERi0=",
    "javascript:alert(1)",
    "gopher://cdn.example",
    "mailto:seller@cdn.example",
    "https://user@cdn.example/a",
    "https://user:password@cdn.example/a",
    "https://@cdn.example/a",
    f"https://{OWN.removeprefix('https://')}@cdn.example/a",
    f"https://{OWN.removeprefix('https://')}\\@cdn.example/a",
    "https:\\\\cdn.example\\a",
    "/\\cdn.example/a",
    "https://cdn.example:port/a",
    "https://cdn.example:99999/a",
    "https://cdn.example:0/a",
    "https://cdn.example:-1/a",
    "https://cdn.exa mple/a",
    "https://cdn.example%2eevil/a",
    "https://cdn..example/a",
    "https://.cdn.example/a",
    "https://cdn.example../a",
    "https://-cdn.example/a",
    "https://étiquette.example/a",
    "https://\uff43dn.example/a",
    "https://www.bac\u212amarket.fr/a",
    "https://cdn\u3002example/a",
    f"https://{'a' * 64}.example/a",
    f"https://{'a.' * 127}a/a",
    "https://cdn.example/a\x00b",
    "https://cdn.example/a\r\nHost: evil",
    "https://cdn\t.example/a",
    "https://cdn.example/\x7f",
    "https://cdn.example/\ud800",
    "https://[::1",
    "https://[]/",
    "https://[cdn.example]/",
    "https://[v1.x]/",
    "https://[fe80::1%25eth0]/",
    "https://[::1]evil/",
    "https://cdn.example/" + "a" * 9000,
]

PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]

NOT_PUBLIC = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.1.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%2",
    "fec0::1",
    "ff02::1",
]


def shown(place_url: str) -> str:
    place = place_of(place_url, BASE)
    return f"{place.origin}{place.target}"


@pytest.mark.parametrize(("url", "meant"), UNDERSTOOD)
def test_an_address_is_read_in_one_way(url: str, meant: str) -> None:
    assert shown(url) == meant
    assert shown(meant) == meant


@pytest.mark.parametrize("url", MISUNDERSTOOD)
def test_an_odd_address_is_refused(url: str) -> None:
    for base in (BASE, None):
        with pytest.raises(ValueError, match=r"^its? ") as caught:
            place_of(url, base)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("url", ["/static/a.pdf", "static/a.pdf", "//cdn.example/a", "https:/a", "https:a"])
def test_without_a_base_only_an_absolute_address_is_read(url: str) -> None:
    with pytest.raises(ValueError, match=r"^its? "):
        place_of(url)


@given(st.text())
def test_whatever_comes_is_read_or_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://cdn.example/{text}"):
        try:
            place = place_of(url, BASE)
        except ValueError:
            continue
        assert place_of(f"{place.origin}{place.target}") == place
        assert (place.host + place.target).isascii()
        assert not set(place.target) & set(" \\\r\n\t\0#")


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public(address: str) -> None:
    assert not is_public(address)


SETTINGS = Settings(
    allowed_base_urls=("http://sandbox:8080",),
    label_origins=("https://CDN.example.", "http://192.0.2.7:9000", "http://[::1]:9000"),
    invoice_origins=("https://invoices.example:8443",),
)
LABELS = Origins.of_labels(SETTINGS)
INVOICES = Origins.of_invoices(SETTINGS)


@pytest.mark.parametrize(
    "url",
    [
        "/static/a.pdf",
        f"{OWN}/a",
        "https://www.backmarket.co.jp/a",
        "https://preprod.backmarket.com/a",
        "https://cdn.example/a",
        "http://192.0.2.7:9000/a",
        "http://[0:0::1]:9000/a",
    ],
)
def test_what_a_label_may_be_fetched_from(url: str) -> None:
    assert LABELS.admit(url, own=OWN, base=BASE).origin in {*LABELS.allowed, OWN}


@pytest.mark.parametrize(
    "url",
    [
        "http://www.backmarket.fr/a",
        "https://www.backmarket.fr:8443/a",
        "https://backmarket.fr/a",
        "https://www.backmarket.fr.evil.example/a",
        "http://cdn.example/a",
        "https://cdn.example:80/a",
        "https://sub.cdn.example/a",
        "http://192.0.2.7/a",
        "http://169.254.169.254/latest/meta-data",
        "http://sandbox:8080/a",
        "https://invoices.example:8443/a",
        "//evil.example/a",
    ],
)
def test_what_it_may_not_is_named_with_the_setting(url: str) -> None:
    with pytest.raises(OriginRefused) as caught:
        LABELS.admit(f"{url}?{SIGNATURE}", own=OWN, base=BASE)
    host = url.partition("//")[2].partition("/")[0]
    assert host in caught.value.message
    assert "add that origin to BACKMARKET_LABEL_ORIGINS" in caught.value.message
    assert SIGNATURE not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize("url", MISUNDERSTOOD)
def test_an_odd_address_is_never_quoted(url: str) -> None:
    with pytest.raises(OriginRefused, match=r"^The label's address cannot be used: .+\.$") as caught:
        LABELS.admit(url, own=OWN, base=BASE)
    assert "password" not in caught.value.message
    assert "evil" not in caught.value.message


def test_an_invoice_comes_from_its_own_setting_only() -> None:
    assert INVOICES.admit("https://invoices.example:8443/a", own=None).target == "/a"
    for url in (f"{OWN}/a", "https://cdn.example/a"):
        with pytest.raises(OriginRefused, match=r"The invoice is at .*BACKMARKET_INVOICE_ORIGINS"):
            INVOICES.admit(url, own=None)


def test_the_operator_s_word_for_private_addresses() -> None:
    assert LABELS.private == {"http://sandbox:8080", "http://192.0.2.7:9000", "http://[::1]:9000"}
    assert INVOICES.private == {"http://sandbox:8080"}


def test_a_place_does_not_show_its_query() -> None:
    assert SIGNATURE not in repr(place_of(f"{OWN}/a?{SIGNATURE}"))


PDF = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"


def written(pieces: list[bytes], max_bytes: int = 10_000, content_type: str | None = "application/pdf") -> bytes:
    into = BytesIO()
    pdf = PdfWriter(into, max_bytes=max_bytes, content_type=content_type)
    for piece in pieces:
        pdf.write(piece)
    assert pdf.end().size == len(into.getvalue())
    return into.getvalue()


PDFS = {
    "plain": PDF,
    "byte order mark": b"\xef\xbb\xbf" + PDF,
    "white space": b" \r\n\t" + PDF,
    "long": PDF.replace(b"obj", b"obj" + b"x" * 5000, 1),
    "padded": PDF + b"\0" * 1000,
}

NO_PDFS: dict[str, tuple[bytes, type[BackMarketError]]] = {
    "nothing": (b"", BrokenAnswer),
    "a page": (b"<html><body>Not found</body></html>", NotAPdf),
    "a page that quotes one": (b"<html>" + PDF, NotAPdf),
    "JSON": (b'{"error": "gone"}', NotAPdf),
    "white space": (b" " * 100, NotAPdf),
    "much white space": (b" " * 2000 + PDF, NotAPdf),
    "the beginning of a mark": (b"%PD", NotAPdf),
    "another mark": (b"%PNG-" + PDF, NotAPdf),
    "a picture": (b"\x89PNG\r\n\x1a\n" + b"\0" * 3000, NotAPdf),
    "cut": (PDF[:-8], BrokenAnswer),
    "cut long ago": (PDF + b"x" * 1100, BrokenAnswer),
}

SPLITS: list[Callable[[bytes], list[bytes]]] = [
    lambda body: [body],
    lambda body: [body[at : at + 1] for at in range(len(body))],
    lambda body: [body[:3], b"", body[3:]],
    lambda body: [body[at : at + 700] for at in range(0, len(body), 700)],
]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("body", PDFS.values(), ids=PDFS)
def test_a_pdf_however_it_comes(body: bytes, split: Callable[[bytes], list[bytes]]) -> None:
    assert written(split(body)) == body


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("body", "error"), NO_PDFS.values(), ids=NO_PDFS)
def test_what_is_no_pdf(body: bytes, error: type[BackMarketError], split: Callable[[bytes], list[bytes]]) -> None:
    with pytest.raises(error):
        written(split(body))


def test_a_wrong_file_is_refused_at_its_first_bytes() -> None:
    into = BytesIO()
    with pytest.raises(NotAPdf):
        PdfWriter(into, max_bytes=100).write(b"<html>")
    assert into.getvalue() == b""


@pytest.mark.parametrize(
    ("content_type", "said"),
    [
        ("text/html; charset=utf-8", "The file is not a PDF; it came as text/html."),
        ("TEXT/HTML", "The file is not a PDF; it came as text/html."),
        (None, "The file is not a PDF."),
        ("seller@host.example", "The file is not a PDF."),
        ("text/html\x1b[31m", "The file is not a PDF."),
    ],
)
def test_the_content_type_is_told(content_type: str | None, said: str) -> None:
    with pytest.raises(NotAPdf) as caught:
        written([b"<html>"], content_type=content_type)
    assert caught.value.message == said


@pytest.mark.parametrize("split", SPLITS)
def test_a_file_has_a_largest_size(split: Callable[[bytes], list[bytes]]) -> None:
    assert written(split(PDF), max_bytes=len(PDF)) == PDF
    with pytest.raises(TooLarge, match=str(len(PDF) - 1)):
        written(split(PDF), max_bytes=len(PDF) - 1)

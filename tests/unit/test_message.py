"""The mail about a job: what people read in it, and that a stranger's file name can do nothing in it."""

import unicodedata
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.notify.message import SHOWN_NAME_LENGTH, compose, display_name

FILE_ID = "01912d68-783e-7a6a-b2a5-0242ac130003"
LINK = f"https://mp3.example.org/download?fid={FILE_ID}&sig=" + "s" * 200
SENTENCE = "The file has no sound."
HEADERS = [
    "Subject",
    "From",
    "To",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
    "Content-Language",
]


def a_mail(**changes: Any) -> EmailMessage:
    """Compose a mail, send it through bytes, and read it as the recipient's program does."""
    arguments: dict[str, Any] = {
        "outcome": "succeeded",
        "to": "ben@example.org",
        "sender": "video2mp3 <mp3@example.org>",
        "filename": "holiday.mp4",
        "file_id": FILE_ID,
        "run": 2,
        "link": LINK,
        "sentence": None,
        "message_domain": "mp3.example.org",
    }
    return message_from_bytes(compose(**arguments | changes).as_bytes(), policy=policy.default)


def text_of(mail: EmailMessage) -> str:
    """Read the part for programs without HTML."""
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def html_of(mail: EmailMessage) -> str:
    """Read the HTML part."""
    part = mail.get_body(("html",))
    assert part is not None
    return str(part.get_content())


class Page(HTMLParser):
    """What a mail program makes of HTML: its elements with their attributes, and the text it shows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.shown = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, tuple(attrs)))

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.shown += data

    def handle_comment(self, data: str) -> None:
        """Note a comment, of which there should be none."""
        self.elements.append(("comment", ((data, None),)))


def test_a_success_says_the_sentence_that_people_look_for() -> None:
    """The subject and the sentence are fixed, and the link follows the sentence."""
    mail = a_mail()
    assert mail["Subject"] == "MP3 Download"
    assert text_of(mail).splitlines()[:2] == [f"mp3 file_id: {FILE_ID} is now ready!", LINK]
    page = Page(html_of(mail))
    assert f"mp3 file_id: {FILE_ID} is now ready!" in page.shown.splitlines()
    assert [dict(attributes)["href"] for tag, attributes in page.elements if tag == "a"] == [LINK]


def test_a_success_can_be_read_without_decoding() -> None:
    """In the raw mail the link stands on one line, so that a script finds it."""
    raw = compose(
        outcome="succeeded",
        to="ben@example.org",
        sender="mp3@example.org",
        filename="holiday.mp4",
        file_id=FILE_ID,
        run=1,
        link=LINK,
        sentence=None,
        message_domain="localhost",
    ).as_bytes()
    assert f"\r\nmp3 file_id: {FILE_ID} is now ready!\r\n{LINK}\r\n".encode() in raw


def test_a_success_tells_what_the_file_is() -> None:
    """Name, length and how long it is kept stand in both parts, where they are known."""
    known = a_mail(duration_seconds=3725.4, expires="1 May 2030, 10:00 UTC")
    for shown in (text_of(known), Page(html_of(known)).shown):
        for line in ("File: holiday.mp4", "Length: 1:02:05", "Kept until: 1 May 2030, 10:00 UTC"):
            assert line in shown.splitlines()
    unknown = text_of(a_mail())
    assert "Length" not in unknown
    assert "Kept" not in unknown
    assert "Length: 0:59" in text_of(a_mail(duration_seconds=59.4))
    assert "Length: 1:00" in text_of(a_mail(duration_seconds=59.6))


def test_a_success_without_a_link_says_where_to_look() -> None:
    """Where no link can be made, there is no dead one."""
    mail = a_mail(link=None)
    assert f"mp3 file_id: {FILE_ID} is now ready!" in text_of(mail)
    assert "list of conversions" in text_of(mail)
    assert "list of conversions" in Page(html_of(mail)).shown
    assert "href" not in html_of(mail)


@pytest.mark.parametrize("link", [None, "https://mp3.example.org/"])
def test_a_failure_says_why_to_what_and_what_to_do(link: str | None) -> None:
    """The reason, the file, the advice and the id to ask with stand in both parts."""
    mail = a_mail(outcome="failed", sentence=SENTENCE, link=link)
    assert mail["Subject"] == "MP3 conversion failed"
    for shown in (text_of(mail), Page(html_of(mail)).shown):
        for words in (SENTENCE, "File: holiday.mp4", "What you can do", FILE_ID):
            assert words in shown
        assert "ready" not in shown
    assert (f"\n{link}\n" in text_of(mail)) is (link is not None)
    assert (f'href="{link}"' in html_of(mail)) is (link is not None)


def test_a_failure_without_a_sentence_is_honest() -> None:
    """A reason that nobody wrote a sentence for is not shown as 'None'."""
    assert "None" not in text_of(a_mail(outcome="failed", sentence=None))
    assert "None" not in html_of(a_mail(outcome="failed", sentence=None))


def test_the_headers_are_those_of_an_automatic_mail() -> None:
    """Mail programs sort it, vacation programs leave it alone (RFC 3834), and it carries the time of its making."""
    mail = a_mail()
    assert sorted(mail.keys()) == sorted(HEADERS)
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Content-Language"] == "en"
    assert mail.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert abs(datetime.now(UTC) - mail["Date"].datetime) < timedelta(minutes=1)
    assert a_mail(sender='"Müller, M." <mp3@example.org>')["From"] == '"Müller, M." <mp3@example.org>'
    assert (mail["To"], mail["From"]) == ("ben@example.org", "video2mp3 <mp3@example.org>")


def test_the_page_is_for_light_and_dark() -> None:
    """A mail program in dark colours may show the page in its own."""
    elements = Page(html_of(a_mail())).elements
    assert ("meta", (("name", "color-scheme"), ("content", "light dark"))) in elements
    [body] = [dict(attributes) for tag, attributes in elements if tag == "body"]
    assert "color-scheme: light dark" in (body["style"] or "")


def test_the_message_id_is_the_same_for_the_same_outcome_of_a_run() -> None:
    """A repeat can be told by its Message-ID; another run or outcome is another mail."""
    assert a_mail()["Message-ID"] == a_mail(filename="x")["Message-ID"] == f"<{FILE_ID}.2.succeeded@mp3.example.org>"
    assert a_mail(run=3)["Message-ID"] == f"<{FILE_ID}.3.succeeded@mp3.example.org>"
    assert a_mail(outcome="failed")["Message-ID"] == f"<{FILE_ID}.2.failed@mp3.example.org>"


def test_a_long_message_id_stays_whole() -> None:
    """A long domain is no reason to fold or encode what must be compared."""
    domain = ".".join(["a-rather-long-label"] * 8)
    assert a_mail(message_domain=domain)["Message-ID"] == f"<{FILE_ID}.2.succeeded@{domain}>"


@pytest.mark.parametrize("address", ["a" * 64 + "@" + "b" * 60 + ".example.org", "o'neil+mp3@example.org"])
def test_an_unusual_address_stays_whole(address: str) -> None:
    """Long addresses and those with signs in them come through the header as they were."""
    assert [found.addr_spec for found in a_mail(to=address)["To"].addresses] == [address]


def test_an_international_address_stays_whole() -> None:
    """With RFC 6532 headers an address in another script is written as it is."""
    message = compose(
        outcome="failed",
        to="用户@例子.example",
        sender="Müller <mp3@example.org>",
        filename="f",
        file_id="x",
        run=1,
        link=None,
        sentence=None,
        message_domain="localhost",
    )
    raw = message.as_bytes(policy=policy.SMTP.clone(utf8=True))
    assert "\r\nTo: 用户@例子.example\r\n".encode() in raw


@pytest.mark.parametrize(
    "changes",
    [
        {"to": "ben@example.org\r\nBcc: eve@example.org"},
        {"to": "ben@example.org, eve@example.org"},
        {"to": "ben@example.org>, <eve@example.org"},
        {"to": "ben\0@example.org"},
        {"to": "ben"},
        {"to": ""},
        {"sender": "mp3"},
        {"sender": "mp3@example.org, eve@example.org"},
        {"sender": "m\0p3 <mp3@example.org>"},
        {"sender": "mp3\r\nBcc: eve@example.org <mp3@example.org>"},
        {"file_id": "1@example.org>\r\nBcc: eve@example.org"},
        {"file_id": ""},
        {"message_domain": "example.org>"},
        {"message_domain": ""},
    ],
)
def test_what_cannot_stand_in_a_header_is_refused(changes: dict[str, str]) -> None:
    """No argument can add a header or a recipient."""
    with pytest.raises(ValueError, match=r"."):
        a_mail(**changes)


NASTY = [
    "evil\r\nBcc: eve@example.org\r\n\r\nHello",
    "<script>alert(1)</script>.mp4",
    "<!-- --><img src=x onerror=alert(1)>&lt;b&gt;",
    '" onmouseover="alert(1)',
    "{link}{0}%s%(x)s",
    "photo\u202e4pm.exe",
    "\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u202a\u202b\u202c\u202d",
    "nul\0and\x1b[31mcolour\x7f\x9b",
    "next\u2028line\u2029\x85\x0b\x0c",
    "\ufeffmark\U000e0041tags",
    "half \ud800 a character \udcff",
    "n" * 300 + ".mp4",
    "Ö" * 300,
    " \t\r\n ",
    "",
    ".\r\n.\r\nQUIT",
]

#: Any text at all, often made of what is special somewhere.
NAMES = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(), max_size=400),
    st.text(st.sampled_from("<>&\"'/=\r\n\t\0 aö\u202e\u2066\u200f\ud800\u2028.:-{}%;")),
)
#: What no name may bring into a mail (Unicode's Bidi_Control).
BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@given(NAMES)
def test_a_display_name_is_one_harmless_line(name: str) -> None:
    """Nothing in it can break a line, turn the direction of text, hide, or fill the screen."""
    shown = display_name(name)
    assert 0 < len(shown) <= SHOWN_NAME_LENGTH
    assert shown.splitlines() == [shown]
    assert not BIDI & set(shown)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("holiday.mp4", "holiday.mp4"),
        ("Übung 1 (Ende).mov", "Übung 1 (Ende).mov"),
        ("שלום.mp4", "שלום.mp4"),
        ("👨\u200d👩\u200d👧.mp4", "👨\u200d👩\u200d👧.mp4"),
        ("photo\u202e4pm.exe", "photo4pm.exe"),
        ("a\r\nBcc: b", "a Bcc: b"),
        ("a\0b\x1b[1m", "ab[1m"),
        ("\ud800", "unnamed file"),
        (" \r\n\u202e ", "unnamed file"),
        ("x" * 120, "x" * 120),
        ("x" * 121, "x" * 119 + "…"),
    ],
)
def test_a_display_name_keeps_what_a_person_reads(name: str, shown: str) -> None:
    """Letters of any script and emoji stay; what is dropped was not to be seen."""
    assert display_name(name) == shown


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
@given(name=NAMES)
def test_no_name_changes_a_mail_but_for_its_own_line(outcome: str, name: str) -> None:
    """Whatever a file is called, headers, elements and all other lines are those of any other mail."""
    mail, usual = a_mail(outcome=outcome, filename=name), a_mail(outcome=outcome)
    assert [(key, value) for key, value in mail.items() if key not in ("Date", "Content-Type")] == [
        (key, value) for key, value in usual.items() if key not in ("Date", "Content-Type")
    ]
    assert mail.get_content_type() == "multipart/alternative"
    assert not mail.defects
    assert text_of(mail) == text_of(usual).replace("holiday.mp4", display_name(name))
    page, usual_page = Page(html_of(mail)), Page(html_of(usual))
    assert page.elements == usual_page.elements
    assert page.shown == usual_page.shown.replace("holiday.mp4", display_name(name))


@pytest.mark.parametrize("part", ["sentence", "expires", "link"])
def test_other_words_are_escaped_too(part: str) -> None:
    """Nothing that is put into the page is taken for HTML."""
    outcome = "failed" if part == "sentence" else "succeeded"
    html = html_of(a_mail(outcome=outcome, **{part: '"><script>&</script>'}))
    assert "<script" not in html
    assert "&#34;&gt;&lt;script&gt;&amp;" in html

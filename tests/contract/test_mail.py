"""What every mailer promises, held against a mailbox and a real SMTP server; then what only one of them can meet."""

import errno
import itertools
import os
import socket
import ssl
import threading
import time
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from functions.common.errors import SettingError
from functions.notify.mail import Mailer, MailRefused, MailUnavailable, from_url
from functions.notify.mail.session import Session

USER, PASSWORD = "anna@example.org", "p@ss/word:#?%42"
LOGIN = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}"
TEXT = "Grüße aus Übersee\n.\n..a line that begins with dots\nFrom here on\n" + "long " * 300 + "\n"
#: Long enough for a slow machine, far below what a test that hangs would take.
SOON_SECONDS = 5.0
#: How long a server that plays dead keeps it up, so that a mailer that waits for it fails its test.
DEAD_SECONDS = 2 * SOON_SECONDS


def a_message(*, to: str = "ben@example.org", number: int = 1) -> EmailMessage:
    """Make a message that is hard on what carries it."""
    message = EmailMessage(policy=policy.SMTP)
    message["Subject"] = "Für dich ♥"
    message["From"] = "mp3@example.org"
    message["To"] = to
    message["Message-ID"] = f"<0190-7f3a.{number}.succeeded@example.org>"
    message.set_content(TEXT)
    return message


# --- Servers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificate:
    """A server's self-signed certificate, which is its own authority, and the file a client trusts it by."""

    ca: Path
    server: ssl.SSLContext


def certify(folder: Path, *names: x509.GeneralName) -> Certificate:
    """Make a certificate for these names."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail server of a test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    ca, private = folder / "ca.pem", folder / "key.pem"
    ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(ca, private)
    return Certificate(ca, server)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The certificate that the servers below show."""
    return certify(
        tmp_path_factory.mktemp("certificate"), x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))
    )


@dataclass(frozen=True)
class Arrived:
    """One mail as the server took it."""

    content: bytes
    recipients: list[str]
    encrypted: bool
    user: str | None


@dataclass
class Post:
    """What a real server does with mails: keeps them, unless the recipient's name asks for an answer."""

    arrived: list[Arrived] = field(default_factory=list)

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        """Answer RCPT with the code that the address begins with, as in 550@example.org."""
        code = address.partition("@")[0]
        if code.isdecimal():
            return f"{code} as you wish"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Keep the mail, or answer with the code in an address like data-554@example.org."""
        kind, _, code = envelope.rcpt_tos[0].partition("@")[0].partition("-")
        if kind == "data":
            return f"{code} as you wish"
        user = session.auth_data.login.decode() if session.auth_data else None
        self.arrived.append(Arrived(envelope.content, envelope.rcpt_tos, session.ssl is not None, user))
        return "250 OK"


def _authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login.decode(), data.password.decode()) == (USER, PASSWORD)
    # handled=False has aiosmtpd itself answer 535; with its default a refused client would wait for nothing.
    return AuthResult(success=right, handled=right, auth_data=data)


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def smtp_server(**options: Any) -> Iterator[tuple[int, Post]]:
    """Run aiosmtpd with these options on a port of its own."""
    post, port = Post(), free_port()
    controller = Controller(post, hostname="127.0.0.1", port=port, enable_SMTPUTF8=True, **options)
    controller.start()
    try:
        yield port, post
    finally:
        controller.stop()


def starttls_options(certificate: Certificate) -> dict[str, Any]:
    """Options of a server that takes nothing before STARTTLS and a login."""
    options = {"tls_context": certificate.server, "require_starttls": True}
    return options | {"authenticator": _authenticate, "auth_required": True}


def tls_options(certificate: Certificate) -> dict[str, Any]:
    """Options of a server that is encrypted from the first byte."""
    # aiosmtpd counts only STARTTLS as encryption, so it has to offer logins without it, and cannot insist on them.
    return {"ssl_context": certificate.server, "authenticator": _authenticate, "auth_require_tls": False}


@dataclass
class Conversation:
    """The server's side of a connection that a test writes the script of."""

    connection: socket.socket
    over: threading.Event

    def __post_init__(self) -> None:
        self._lines = self.connection.makefile("rb")

    def say(self, *lines: str) -> None:
        """Send lines."""
        self.connection.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def hear(self) -> str:
        """Read one line."""
        return self._lines.readline().decode().rstrip("\r\n")

    def until(self, stop: str, *, greet: bool = True) -> None:
        """Be an ordinary server up to the answer to the command that begins with stop ('.' ends the message)."""
        if greet:
            self.say("220 here")
        while (line := self.hear().upper()) and not line.startswith(stop):
            if line == "DATA":
                self.say("354 go on")
                while self.hear() != ".":
                    pass
                if stop == ".":
                    return
            self.say("250 fine")

    def wait(self) -> None:
        """Say nothing until the test is over."""
        self.over.wait(DEAD_SECONDS)

    def trickle(self, text: str) -> None:
        """Repeat a text for as long as somebody reads, a byte at a time, each well within any timeout of its own."""
        end = time.monotonic() + DEAD_SECONDS
        for byte in itertools.cycle(text.encode()):
            self.connection.sendall(bytes([byte]))
            if self.over.wait(0.02) or time.monotonic() > end:
                return

    def close(self) -> None:
        """Cut the connection."""
        self._lines.close()
        self.connection.close()


@contextmanager
def scripted(script: Callable[[Conversation], None], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Run a server that follows a script on one connection, then cuts it."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        if tls:
            connection = tls.wrap_socket(connection, server_side=True)
        conversation = Conversation(connection, over)
        try:
            script(conversation)
        except (ConnectionError, ssl.SSLError):
            pass  # the client has had enough, as it should
        finally:
            conversation.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        over.set()
        thread.join(60)
        listener.close()


def plain(port: int, *, timeout_seconds: float = 10) -> Mailer:
    """Make a mailer to a server without TLS."""
    return from_url(f"smtp://127.0.0.1:{port}?starttls=never", timeout_seconds=timeout_seconds)


@contextmanager
def soon() -> Iterator[None]:
    """Hold that what is inside ends soon."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SOON_SECONDS


# --- Every mailer -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """A mailer and a look at what arrived."""

    mailer: Mailer
    #: The mails as they were written down.
    raw: Callable[[], list[bytes]]

    def messages(self) -> list[EmailMessage]:
        """Read what has arrived."""
        return [message_from_bytes(content, policy=policy.default) for content in self.raw()]


@pytest.fixture(params=["mailbox", "starttls", "tls", "plain"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, certificate: Certificate) -> Iterator[Bench]:
    """Each backend, each way to encrypt."""
    if request.param == "mailbox":
        folder = tmp_path / "not yet made" / "mails"
        yield Bench(from_url(folder.as_uri()), lambda: [path.read_bytes() for path in sorted(folder.glob("*.eml"))])
        return
    url, options = {
        "starttls": (
            f"smtp://{LOGIN}@localhost:%d?ca={certificate.ca}",
            starttls_options(certificate),
        ),
        "tls": (
            f"smtps://{LOGIN}@127.0.0.1:%d?ca={certificate.ca}",
            tls_options(certificate),
        ),
        "plain": ("smtp://127.0.0.1:%d?starttls=never", {}),
    }[str(request.param)]
    with smtp_server(**options) as (port, post):
        yield Bench(from_url(url.replace("%d", str(port))), lambda: [mail.content for mail in post.arrived])


def test_a_message_arrives_once_and_whole(bench: Bench) -> None:
    """What was sent is what is read, dots, umlauts and long lines included."""
    bench.mailer.send(a_message())
    [message] = bench.messages()
    assert message.get_content().replace("\r\n", "\n") == TEXT
    assert message["Subject"] == "Für dich ♥"
    assert message["To"] == "ben@example.org"
    assert message["Message-ID"] == "<0190-7f3a.1.succeeded@example.org>"


def test_a_repeat_can_be_counted(bench: Bench) -> None:
    """Sending the same message again brings it again: silencing repeats is the caller's work."""
    for _ in range(3):
        bench.mailer.send(a_message())
    assert [message["Message-ID"] for message in bench.messages()] == ["<0190-7f3a.1.succeeded@example.org>"] * 3


def test_threads_share_a_mailer(bench: Bench) -> None:
    """Messages sent at once all arrive, each once."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: bench.mailer.send(a_message(number=number)), [1, 1, *range(2, 12)]))
    numbers = sorted(int(message["Message-ID"].split(".")[1]) for message in bench.messages())
    assert numbers == [1, 1, *range(2, 12)]


def test_an_international_address_is_written_as_it_is(bench: Bench) -> None:
    """Letters outside ASCII in an address reach a server that takes them."""
    bench.mailer.send(a_message(to="jürgen@bücher.example"))
    [message] = bench.messages()
    assert message["To"] == "jürgen@bücher.example"
    assert "\nTo: jürgen@bücher.example".encode() in bench.raw()[0]
    assert message.get_content().replace("\r\n", "\n") == TEXT


def test_a_message_in_eight_bits_is_carried_in_seven(bench: Bench) -> None:
    """A server need not take more than ASCII, so a text made without an encoding gets one."""
    message = a_message()
    message.set_content(TEXT, cte="8bit")
    bench.mailer.send(message)
    assert bench.raw()[0].isascii()
    assert bench.messages()[0].get_content().replace("\r\n", "\n") == TEXT


@pytest.mark.parametrize("missing", ["From", "To"])
def test_a_message_without_an_address_is_refused(bench: Bench, missing: str) -> None:
    """Nobody to send to, or nobody who sends, stays so at the next attempt."""
    message = a_message()
    del message[missing]
    with pytest.raises(MailRefused):
        bench.mailer.send(message)
    assert bench.messages() == []


def test_a_message_that_cannot_be_written_is_refused(bench: Bench) -> None:
    """A Message-ID outside ASCII, where the addresses are ASCII, has no right form, today or tomorrow."""
    message = a_message()
    message.replace_header("Message-ID", "<é@example.org>")
    with pytest.raises(MailRefused):
        bench.mailer.send(message)
    assert bench.messages() == []


@pytest.mark.parametrize("kind", ["mailbox", "starttls", "tls", "plain"])
def test_a_mailer_without_its_server_is_unavailable(kind: str, tmp_path: Path) -> None:
    """Where nothing takes mails, the same message may go through later."""
    (tmp_path / "file").touch()
    url = {
        "mailbox": (tmp_path / "file" / "mails").as_uri(),
        "starttls": f"smtp://localhost:{free_port()}",
        "tls": f"smtps://localhost:{free_port()}",
        "plain": f"smtp://localhost:{free_port()}?starttls=never",
    }[kind]
    with soon(), pytest.raises(MailUnavailable):
        from_url(url).send(a_message())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mails",
        "ftp://example.org",
        "file:mails",
        "file:///",
        "file://mails/here",
        "file:///mails?x=1",
        "file:///ma%00ils",
        "smtp://",
        "smtp://user@example.org",
        "smtp://:secret@example.org",
        "smtp://user:se/cret@example.org",
        "smtp://user:se#cret@example.org",
        "smtp://user:se?cret@example.org",
        "smtp://user:secret@example.org:port",
        "smtp://user:secret@example.org:0",
        "smtp://user:secret@[example.org",
        "smtp://user:secret℀@example.org",
        "smtp://user:secr%C3%A9t@example.org",
        "smtp://user:secret%0D%0A@example.org",
        "smtp://user:secret@a..b",
        "smtp://user:secret@example.org/path",
        "smtp://example.org?starttls=maybe",
        "smtp://example.org?starttls=never&ca=/ca.pem",
        "smtp://example.org?ca=/no/such/file",
        "smtps://example.org?starttls=never",
        "smtps://example.org?sender=me",
    ],
)
def test_a_wrong_url_is_refused_by_the_name_of_its_setting(url: str) -> None:
    """Whoever runs the service learns which variable is wrong, and the log learns no password."""
    with pytest.raises(SettingError, match="MAIL_URL") as caught:
        from_url(url)
    told = "".join(traceback.format_exception(caught.value.__cause__ or caught.value, chain=True))
    assert "secr" not in told.replace(repr(url), "")
    assert "cret" not in str(caught.value)


# --- The mailbox --------------------------------------------------------------------------------------------------


def test_a_mailbox_names_its_files_after_the_message(tmp_path: Path) -> None:
    """A person finds a job's mail by its id, and repeats of one Message-ID are numbered."""
    mailer = from_url(tmp_path.as_uri())
    mailer.send(a_message())
    mailer.send(a_message())
    mailer.send(a_message(number=2))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name.rsplit("-", 1)[0] for name in names] == ["0190-7f3a.1.succeeded"] * 2 + ["0190-7f3a.2.succeeded"]
    assert [name.split(".", 3)[3] for name in names] == ["1.eml", "2.eml", "1.eml"]


def test_a_message_id_cannot_lead_out_of_the_mailbox(tmp_path: Path) -> None:
    """Whatever a Message-ID holds, its mail is a visible file in the directory, and another one's file stays."""
    mailer = from_url((tmp_path / "mails").as_uri())
    for message_id in ("<../../x@a>", "<.@a>", "<" + "a/" * 300 + "@a>", "<A@a>", "<a@a>", "<a@b>"):
        message = a_message()
        message.replace_header("Message-ID", message_id)
        mailer.send(message)
    assert [path.name for path in tmp_path.iterdir()] == ["mails"]
    names = [path.name for path in (tmp_path / "mails").iterdir()]
    assert len({name.lower() for name in names}) == 6
    assert all(name.endswith(".1.eml") and not name.startswith(".") for name in names)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room is no lasting refusal, and nobody ever reads half a mail."""

    def full(_descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    mailer = from_url(tmp_path.as_uri())
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(MailUnavailable, match="No space left"):
            mailer.send(a_message())
    assert list(tmp_path.iterdir()) == []
    mailer.send(a_message())
    assert [path.name.split(".", 3)[3] for path in tmp_path.iterdir()] == ["1.eml"]


def test_a_mailbox_understands_percent_and_localhost(tmp_path: Path) -> None:
    """A directory with a space in its name is written %20 in a URL."""
    from_url(f"file://localhost{tmp_path}/my%20mails").send(a_message())
    assert len(list((tmp_path / "my mails").glob("*.eml"))) == 1


# --- SMTP: what the server sees and says --------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_the_login_is_decoded_and_encrypted(scheme: str, certificate: Certificate) -> None:
    """User and password may hold any ASCII sign, percent-encoded, and travel only inside TLS."""
    options = (tls_options if scheme == "smtps" else starttls_options)(certificate)
    with smtp_server(**options) as (port, post):
        from_url(f"{scheme}://{LOGIN}@localhost:{port}?ca={certificate.ca}").send(a_message())
    [mail] = post.arrived
    assert (mail.user, mail.recipients) == (USER, ["ben@example.org"])
    assert mail.encrypted or scheme == "smtps"  # where all is TLS, aiosmtpd doesn't note it


def test_all_recipients_get_it_or_none() -> None:
    """One refused recipient keeps the message from the others, so that a later attempt repeats nothing."""
    with smtp_server() as (port, post):
        plain(port).send(a_message(to="ben@example.org, cleo@example.org"))
        with pytest.raises(MailRefused):
            plain(port).send(a_message(to="ben@example.org, 550@example.org"))
    assert [mail.recipients for mail in post.arrived] == [["ben@example.org", "cleo@example.org"]]


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("550", MailRefused),
        ("553", MailRefused),
        ("450", MailUnavailable),
        ("451", MailUnavailable),
        ("421", MailUnavailable),
        ("data-554", MailRefused),
        ("data-552", MailRefused),
        ("data-451", MailUnavailable),
        ("data-421", MailUnavailable),
    ],
)
def test_the_answer_decides_whether_trying_again_helps(address: str, error: type[Exception]) -> None:
    """A 5xx to recipient or message is for good, a 4xx is for now, and the log has the code."""
    with smtp_server() as (port, post):
        with soon(), pytest.raises(error, match=rf"\b{address[-3:]} as you wish") as caught:
            plain(port).send(a_message(to=f"{address}@example.org"))
        assert type(caught.value) is error
    assert post.arrived == []


@pytest.mark.parametrize(
    ("command", "answer", "error"),
    [
        ("MAIL", "550 no such sender", MailRefused),
        ("MAIL", "450 not now", MailUnavailable),
        ("MAIL", "530 log in first", MailUnavailable),
        ("MAIL", "503 log in first", MailUnavailable),
        ("MAIL", "hello", MailUnavailable),
        ("DATA", "554 no valid recipients", MailRefused),
        ("DATA", "451 not now", MailUnavailable),
        ("DATA", "250 what message?", MailUnavailable),
        (".", "550 spam", MailRefused),
        (".", "451 greylisted", MailUnavailable),
    ],
)
def test_an_answer_counts_at_every_command(command: str, answer: str, error: type[Exception]) -> None:
    """A refusal of sender or content is for good; how the service is set up, its operator can mend."""

    def script(talk: Conversation) -> None:
        talk.until(command)
        talk.say(answer)
        talk.until("QUIT", greet=False)

    with scripted(script) as port, soon(), pytest.raises(error):
        plain(port).send(a_message())


def test_a_server_that_wants_no_visitors_is_unavailable() -> None:
    """A 554 for a greeting is about the server, not about the mail."""
    with scripted(lambda talk: talk.say("554 no service")) as port, pytest.raises(MailUnavailable, match="554"):
        plain(port).send(a_message())


def test_an_international_address_needs_a_server_that_takes_it() -> None:
    """Without SMTPUTF8 such an address will never work there, and the message stays here."""
    heard: list[str] = []

    def script(talk: Conversation) -> None:
        talk.say("220 here")
        while line := talk.hear():
            heard.append(line)
            talk.say("250 fine")

    with scripted(script) as port, pytest.raises(MailRefused, match="SMTPUTF8"):
        plain(port).send(a_message(to="jürgen@example.org"))
    assert not [line for line in heard if line.startswith("MAIL")]


# --- SMTP: faults -------------------------------------------------------------------------------------------------


def _told_by(error: BaseException) -> str:
    """Everything that a log could get out of an error."""
    told = "".join(traceback.format_exception(error))
    link: BaseException | None = error
    while link:
        told += f"{link!r} {link.args!r} {vars(link)!r}"
        link = link.__cause__ or link.__context__
    return told


def test_a_wrong_password_can_be_mended_and_is_never_told(
    certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    """The operator's mistake loses no mail, and neither user nor password reach errors, repr or log."""
    caplog.set_level(0)
    with smtp_server(**starttls_options(certificate)) as (port, post):
        mailer = from_url(f"smtp://{quote(USER)}:wrong-secret@localhost:{port}?ca={certificate.ca}")
        with soon(), pytest.raises(MailUnavailable, match=r"login failed \(535\)") as caught:
            mailer.send(a_message())
    told = _told_by(caught.value) + repr(mailer) + str(mailer)
    told += "".join(record.getMessage() for record in caplog.records if not record.name.startswith("mail"))
    assert "wrong-secret" not in told
    assert USER not in told
    assert post.arrived == []


def test_a_server_that_repeats_the_password_is_not_quoted() -> None:
    """Even a server's own words cannot carry the password into an error."""
    token = b64encode(b"\0user\0my-secret").decode()

    def script(talk: Conversation) -> None:
        talk.say("220 here")
        talk.hear()
        talk.say("250-here", "250 AUTH PLAIN")
        said = talk.hear()
        assert token in said
        talk.say(f"535 wrong: {said} my-secret")
        talk.hear()

    with scripted(script) as port:
        mailer = from_url(f"smtp://user:my-secret@127.0.0.1:{port}?starttls=never")
        with pytest.raises(MailUnavailable) as caught:
            mailer.send(a_message())
    assert "my-secret" not in _told_by(caught.value)
    assert token not in _told_by(caught.value)


def test_a_cut_during_the_login_is_unavailable() -> None:
    """A login that was never answered says nothing about the password."""

    def script(talk: Conversation) -> None:
        talk.say("220 here")
        talk.hear()
        talk.say("250-here", "250 AUTH PLAIN")
        talk.hear()

    with scripted(script) as port:
        mailer = from_url(f"smtp://user:my-secret@127.0.0.1:{port}?starttls=never")
        with pytest.raises(MailUnavailable, match="closed") as caught:
            mailer.send(a_message())
    assert "my-secret" not in _told_by(caught.value)


def test_a_server_without_logins_is_unavailable() -> None:
    """A login that the server doesn't know is the operator's mistake."""
    with smtp_server() as (port, post), pytest.raises(MailUnavailable, match="login failed"):
        from_url(f"smtp://user:secret@127.0.0.1:{port}?starttls=never").send(a_message())
    assert post.arrived == []


def test_nothing_is_said_in_the_clear() -> None:
    """A server (or somebody in between) that offers no STARTTLS gets neither login nor mail."""
    heard: list[str] = []

    def script(talk: Conversation) -> None:
        talk.say("220 here")
        while line := talk.hear():
            heard.append(line.partition(" ")[0].upper())
            talk.say("250-here", "250 AUTH PLAIN")

    with scripted(script) as port, pytest.raises(MailUnavailable, match="STARTTLS"):
        from_url(f"smtp://user:secret@127.0.0.1:{port}").send(a_message())
    assert heard == ["EHLO", "QUIT"]


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
@pytest.mark.parametrize("fault", ["unknown authority", "other authority", "other name"])
def test_a_wrong_certificate_ends_it(scheme: str, fault: str, certificate: Certificate, tmp_path: Path) -> None:
    """A server that cannot prove its name gets no mail; its operator may put that right."""
    (tmp_path / "other").mkdir()
    other = certify(tmp_path / "other", x509.DNSName("mail.example.org"))
    shown = other if fault == "other name" else certificate
    ca = {"unknown authority": "", "other authority": f"?ca={other.ca}", "other name": f"?ca={other.ca}"}[fault]
    options = {"ssl_context": shown.server} if scheme == "smtps" else {"tls_context": shown.server}
    with (
        smtp_server(**options) as (port, post),
        soon(),
        pytest.raises(MailUnavailable, match="certificate verify failed"),
    ):
        from_url(f"{scheme}://localhost:{port}{ca}").send(a_message())
    assert post.arrived == []


def test_a_hang_at_the_greeting_ends_in_time() -> None:
    """A server that takes the connection and says nothing costs the time limit, no more."""
    with scripted(Conversation.wait) as port, soon(), pytest.raises(MailUnavailable):
        plain(port, timeout_seconds=0.3).send(a_message())


@pytest.mark.parametrize("command", ["EHLO", "MAIL", "RCPT", "DATA", "."])
def test_a_hang_later_ends_in_time(command: str) -> None:
    """Nor does silence after any later command cost more, the end of the message included."""

    def script(talk: Conversation) -> None:
        talk.until(command)
        talk.wait()

    with scripted(script) as port, soon(), pytest.raises(MailUnavailable):
        plain(port, timeout_seconds=0.3).send(a_message())


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("text", ["220-still here\r\n", "220 "])
def test_a_trickle_ends_in_time(encrypted: bool, text: str, certificate: Certificate) -> None:
    """A server that always says something, but never enough, cannot hold the mailer beyond its limit."""
    tls = certificate.server if encrypted else None
    url = f"smtps://127.0.0.1:%d?ca={certificate.ca}" if encrypted else "smtp://127.0.0.1:%d?starttls=never"
    with scripted(lambda talk: talk.trickle(text), tls) as port, soon(), pytest.raises(MailUnavailable):
        from_url(url.replace("%d", str(port)), timeout_seconds=0.5).send(a_message())


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_hang_in_the_handshake_ends_in_time(scheme: str, certificate: Certificate) -> None:
    """A server that goes silent before TLS is agreed on is given up too."""

    def script(talk: Conversation) -> None:
        if scheme == "smtp":
            talk.say("220 here")
            talk.hear()
            talk.say("250-here", "250 STARTTLS")
            talk.hear()
            talk.say("220 go on")
        talk.wait()

    with scripted(script) as port, soon(), pytest.raises(MailUnavailable):
        from_url(f"{scheme}://127.0.0.1:{port}?ca={certificate.ca}", timeout_seconds=0.3).send(a_message())


def test_a_server_that_stops_reading_ends_in_time() -> None:
    """A message too large for the network's buffers does not wait for a reader forever."""
    message = a_message()
    message.set_content(("long " * 150 + "\n") * 20_000, cte="7bit")

    def script(talk: Conversation) -> None:
        talk.until("DATA")
        talk.say("354 go on")
        talk.wait()

    with scripted(script) as port, soon(), pytest.raises(MailUnavailable):
        plain(port, timeout_seconds=0.5).send(message)


def test_when_time_is_up_nothing_more_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the limit passes between two commands, the connection ends there."""
    clock, ahead_seconds = time.monotonic, [0.0]
    heard: list[str] = []

    def script(talk: Conversation) -> None:
        talk.until("EHLO")
        talk.say("250 fine")
        heard.append(talk.hear())

    monkeypatch.setattr(time, "monotonic", lambda: clock() + ahead_seconds[0])
    with scripted(script) as port, Session("127.0.0.1", port, tls=None, limit_seconds=30) as session:
        session.ehlo()
        ahead_seconds[0] = 60.0
        with pytest.raises(TimeoutError):
            session.mail("mp3@example.org")
    assert heard == [""]


def test_a_slow_look_up_of_the_name_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name servers that don't answer count against the same limit."""
    over = threading.Event()

    def silent(*_: object, **__: object) -> NoReturn:
        over.wait(DEAD_SECONDS)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    with soon(), pytest.raises(MailUnavailable, match="in time"):
        from_url("smtp://mail.example.org", timeout_seconds=0.3).send(a_message())
    over.set()


def test_an_unknown_name_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is not found now may be found later."""

    def unknown(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with soon(), pytest.raises(MailUnavailable, match="not known"):
        from_url("smtp://mail.example.org").send(a_message())


def test_a_dead_address_does_not_hide_a_living_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a name has several addresses, one that answers is enough."""
    real = socket.getaddrinfo

    def two(host: str, *rest: Any, **options: Any) -> Any:
        if host != "mail.example.org":
            return real(host, *rest, **options)
        return [entry for ip in ("127.0.0.2", "127.0.0.1") for entry in real(ip, *rest, **options)]

    with smtp_server() as (port, post), monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", two)
        from_url(f"smtp://mail.example.org:{port}?starttls=never", timeout_seconds=2).send(a_message())
    assert len(post.arrived) == 1


@pytest.mark.parametrize("command", ["EHLO", "MAIL", "RCPT", "DATA", "."])
def test_a_cut_before_the_last_answer_is_unavailable(command: str) -> None:
    """Without the server's 250 nobody may call the mail sent."""
    with scripted(lambda talk: talk.until(command)) as port, soon(), pytest.raises(MailUnavailable):
        plain(port).send(a_message())


@pytest.mark.parametrize("end", ["cut", "silence", "error"])
def test_after_the_last_answer_nothing_can_go_wrong(end: str) -> None:
    """A mail that the server has taken is sent, however the connection ends, and no long wait puts that at risk."""

    def script(talk: Conversation) -> None:
        talk.until(".")
        talk.say("250 kept")
        if end == "silence":
            talk.wait()
        elif end == "error":
            talk.hear()
            talk.say("451 I don't like goodbyes")

    with scripted(script) as port, soon():
        plain(port, timeout_seconds=30).send(a_message())

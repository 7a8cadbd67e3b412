"""Settings for `--services` on the real servers, with a database, a virtual host and blobs of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.brokers import vhost
from tests.support.servers import database, url
from tests.support.stores import in_mongodb


@contextmanager
def settings_on_servers(folder: Path) -> Iterator[dict[str, str]]:
    """MariaDB, FerretDB, RabbitMQ and SMTP, as `local/services up` started them."""
    with database("mysql", folder) as database_url, vhost() as broker_url, in_mongodb() as place:
        yield {
            "DATABASE_URL": database_url,
            "BLOBS_URL": place.url,
            "BROKER_URL": broker_url,
            "MAIL_URL": url("SMTP_URL"),
        }

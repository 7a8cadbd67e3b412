"""What the system leaves behind: its rows in MySQL, and its mails in mailpit."""

import json
from collections.abc import Iterable
from typing import Any, Final

import requests
from sqlalchemy import Table

from tests.cluster.kube import Kube
from tests.cluster.traffic import again

_MYSQL: Final = (
    'MYSQL_PWD="$MYSQL_PASSWORD" exec mysql -h 127.0.0.1 -u video2mp3 --default-character-set=utf8mb4'
    " --skip-column-names --batch --raw video2mp3"
)


class Rows:
    """The database in the StatefulSet `mysql`, by its own client.

    Args:
        kube: where it is.
    """

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    def run(self, statement: str) -> str:
        """What a statement prints."""
        return self._kube.run("exec", "-i", "statefulset/mysql", "--", "sh", "-c", _MYSQL, given=f"{statement};\n")

    def read(self, table: Table, where: str) -> list[dict[str, Any]]:
        """The rows of a table that a condition holds for, in the order of their keys."""
        names = [column.name for column in table.columns]
        pairs = ", ".join(f"'{name}', `{name}`" for name in names)
        keys = ", ".join(f"`{column.name}`" for column in table.primary_key.columns)
        lines = self.run(f"SELECT JSON_OBJECT({pairs}) FROM `{table.name}` WHERE {where} ORDER BY {keys}")  # noqa: S608
        return [json.loads(line) for line in lines.splitlines()]


class Mailbox:
    """All that was mailed, as mailpit keeps it.

    Args:
        url: its origin.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def about(self, *job_ids: str) -> list[str]:
        """Which outcomes were mailed of these jobs, JOB.RUN.OUTCOME, each as often as it was mailed."""
        beginnings = tuple(f"{job_id}." for job_id in job_ids)
        names = [str(mail["MessageID"]).strip("<>").partition("@")[0] for mail in self._all()]
        return sorted(name for name in names if name.startswith(beginnings))

    def text(self, job_id: str) -> tuple[str, str]:
        """Subject and text of the newest mail about a job."""
        mail = next(each for each in self._all() if str(each["MessageID"]).strip("<>").startswith(f"{job_id}."))
        whole = again(lambda: requests.get(f"{self._url}/api/v1/message/{mail['ID']}", timeout=30))
        whole.raise_for_status()
        return str(mail["Subject"]), str(whole.json()["Text"])

    def forget(self, addresses: Iterable[str]) -> None:
        """Delete what was mailed to these addresses."""
        wanted = set(addresses)
        ids = [mail["ID"] for mail in self._all() if wanted & {to["Address"] for to in mail["To"] or ()}]
        # No ids would stand for all mails.
        if ids:
            url = f"{self._url}/api/v1/messages"
            again(lambda: requests.delete(url, json={"IDs": ids}, timeout=30)).raise_for_status()

    def _all(self) -> list[dict[str, Any]]:
        """Every mail, the newest first."""
        answer = again(lambda: requests.get(f"{self._url}/api/v1/messages", params={"limit": 2000}, timeout=30))
        answer.raise_for_status()
        return list(answer.json()["messages"] or ())

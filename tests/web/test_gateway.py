"""The page as the cluster's gateway serves it: nginx with its own headers and limits, in a real browser."""

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from local.server.listener import Listener
from local.server.proxy import Proxy
from tests.gateway.nginx import Nginx
from tests.support.serving import Api, Served
from tests.web.screen import Screen


@pytest.fixture(scope="module")
def gateway(server: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Nginx before the functions of the one-process run, whose own gateway would take nginx for a foreign site."""
    proxy, listener = Proxy(server.url), Listener("127.0.0.1", 0)

    def functions(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ.pop("HTTP_ORIGIN", None)
        return proxy(environ, start_response)

    listener.app = functions
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
    thread.start()
    with Nginx(tmp_path_factory.mktemp("nginx"), UPSTREAM=f"http://127.0.0.1:{listener.port}") as nginx:
        yield nginx.url
    listener.shutdown()
    thread.join()
    listener.server_close()


def test_the_page_works_behind_the_gateway(
    page: Page, gateway: str, email: str, api: Api, make: Callable[..., Path]
) -> None:
    """Sign in, upload in pieces, watch, play and download: nothing of it is against nginx's word."""
    screen = Screen(page, gateway)
    screen.open()
    screen.sign_in(email)
    with page.expect_response("**/jobs/events") as events:
        page.reload()
    assert events.value.headers["content-type"].startswith("text/event-stream")
    expect(page.locator("#drop")).to_be_visible()
    screen.choose(make())
    row = screen.ready("holiday.mp3")
    row.get_by_role("button", name="Play holiday.mp3").click()
    expect(row.get_by_role("slider")).not_to_have_attribute("aria-valuenow", "0")
    with page.expect_download() as download:
        row.get_by_role("link", name="Download holiday.mp3").click()
    [job] = api.call("GET", "/jobs").json()["jobs"]
    assert download.value.path().read_bytes() == api.download(job["id"])

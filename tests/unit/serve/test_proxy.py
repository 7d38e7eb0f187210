"""Behind a real proxy that strips a path prefix, pages, forms, links and the API stay below that prefix."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from modit.client import Client
from tests.unit.serve.conftest import listening
from tests.unit.serve.proxy import PREFIX, nginx


@pytest.fixture(scope="module", params=["", PREFIX])
def address(request, bundle, tmp_path_factory):
    """The public address of a service with and without --root-path."""
    with (
        listening(lambda: [bundle.named("drama", 3)], root_path=request.param) as behind,
        nginx(tmp_path_factory.mktemp("nginx"), behind) as proxy,
    ):
        yield proxy + PREFIX + "/"


def test_every_link_form_and_file_of_a_page_stays_below_the_prefix(address):
    with httpx.Client(base_url=address, follow_redirects=True) as client:
        page = client.get("")
        assert page.is_success and page.url.path == f"{PREFIX}/explore"
        for name in ("explore", "releases", "nowhere"):
            page = client.get(name, headers={"Accept": "text/html"})
            found = re.findall(r'(?:href|src|action)="([^"#]+)"', page.text)
            assert len(found) >= 6
            for link in found:
                target = urljoin(str(page.url), link)
                assert urlsplit(target).path.startswith(f"{PREFIX}/"), link
                assert client.get(target).status_code in (200, 503), link  # 503: this service has no registry
        style = client.get("static/pages.css")
        assert style.headers["content-type"].startswith("text/css")


def test_the_form_of_explore_answers_below_the_prefix(address):
    with httpx.Client(base_url=address) as client:
        action = re.search(r'<form action="([^"]+)"', client.get("explore").text)[1]
        page = client.get(action, params={"domain": "drama", "seed": ["item-1", "item-2"], "k": 5})
        assert (
            page.is_success and page.text.count("<li data-item=") == 2 + 3 * 5
        )  # seeds, and the results of three rows


def test_the_client_asks_below_the_prefix_and_routes_are_counted_by_their_name(address):
    assert len(Client(address).retrieve("drama", ["item-1"], k=3).items) == 3
    figures = httpx.get(address + "metrics").text
    assert re.search(r'modit_requests_total{route="/v1/retrieve",status="200"} [1-9]', figures)


def test_with_a_root_path_the_documentation_names_public_addresses(bundle, tmp_path):
    with (
        listening(lambda: [bundle.named("drama")], root_path=PREFIX, keys=("one",)) as behind,
        nginx(tmp_path, behind) as proxy,
    ):
        key = ("me", "one")
        document = httpx.get(f"{proxy}{PREFIX}/openapi.json", auth=key).json()
        assert document["servers"] == [{"url": PREFIX}]
        assert f"url: '{PREFIX}/openapi.json'" in httpx.get(f"{proxy}{PREFIX}/docs", auth=key).text
        assert httpx.get(f"{proxy}{PREFIX}/healthz").is_success  # open below the root path, too
        assert httpx.get(f"{behind}{PREFIX}/healthz").is_success  # of a proxy that does not strip it
        assert httpx.get(f"{proxy}{PREFIX}/explore").status_code == 401

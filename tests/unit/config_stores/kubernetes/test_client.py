"""The calls to the API server, and what is said when they fail; over the fake, and over TLS as in a pod."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trustme

from dicom_adapter.config.resources import InvalidResourceError, Kind
from dicom_adapter.config.store import AlreadyExistsError, ConflictError, NotFoundError
from dicom_adapter.config_stores.kubernetes import client as client_module
from dicom_adapter.config_stores.kubernetes.client import Client, ClusterAway, Gone, connect
from dicom_adapter.config_stores.kubernetes.cluster import Access
from dicom_adapter.core.errors import PermanentError
from tests.fake_kubernetes import FakeKubernetes

pytestmark = pytest.mark.anyio
SOURCE = {"aeTitle": "ORTHANC", "hostIp": "1.2.3.4"}


@pytest.fixture
def fake() -> Iterator[FakeKubernetes]:
    made = FakeKubernetes().start()
    yield made
    made.close()


@pytest.fixture
async def client(fake: FakeKubernetes, tmp_path: Path) -> AsyncIterator[Client]:
    made = connect(Access(fake.kubeconfig(tmp_path), "imaging"))
    yield made
    await made.close()


async def test_a_resource_from_its_making_to_its_end(client: Client) -> None:
    made = await client.create(Kind.SOURCE, "orthanc", SOURCE)
    assert (made["kind"], made["metadata"]["namespace"], made["spec"]) == ("Source", "imaging", SOURCE)
    items, version = await client.list(Kind.SOURCE)
    assert (items, version) == ([made], made["metadata"]["resourceVersion"])
    changed = await client.replace(Kind.SOURCE, "orthanc", {**made, "spec": {**SOURCE, "hostIp": "h"}})
    assert await client.get(Kind.SOURCE, "orthanc") == changed
    await client.patch_status(Kind.SOURCE, "orthanc", changed["metadata"]["resourceVersion"], {"Enabled": True})
    assert (await client.get(Kind.SOURCE, "orthanc"))["status"] == {"Enabled": True}
    await client.delete(Kind.SOURCE, "orthanc", made["metadata"]["uid"])
    assert (await client.list(Kind.SOURCE))[0] == []


async def test_long_lists_come_in_pages(client: Client, fake: FakeKubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        await client.create(Kind.SOURCE, f"source-{number}", SOURCE)
    monkeypatch.setattr(client_module, "PAGE", 2)
    items, _ = await client.list(Kind.SOURCE)
    assert [item["metadata"]["name"] for item in items] == [f"source-{number}" for number in range(5)]
    assert fake.count("list sources") == 3


async def test_a_watch_tells_every_change_and_how_far_it_is(client: Client, fake: FakeKubernetes) -> None:
    _, version = await client.list(Kind.SOURCE)
    made = await client.create(Kind.SOURCE, "a", SOURCE)
    await client.create(Kind.DESTINATION, "d", {**SOURCE, "name": "d", "port": 1})
    await client.delete(Kind.SOURCE, "a", made["metadata"]["uid"])
    heard = []
    async with client.watch(Kind.SOURCE, version) as events:
        async for event in events:
            heard.append((event.type, event.item["metadata"].get("name")))
            if event.type == "BOOKMARK":
                assert event.item["metadata"]["resourceVersion"] == str(fake.cluster.version)
                break
    assert heard == [("ADDED", "a"), ("DELETED", "a"), ("BOOKMARK", None)]


async def test_a_version_that_is_too_old_is_gone(client: Client, fake: FakeKubernetes) -> None:
    _, version = await client.list(Kind.SOURCE)
    fake.compact()
    with pytest.raises(Gone):
        async with client.watch(Kind.SOURCE, version) as events:
            _ = [event async for event in events]


async def test_a_list_that_expires_between_its_pages_is_gone(
    client: Client, fake: FakeKubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        await client.create(Kind.SOURCE, f"source-{number}", SOURCE)
    monkeypatch.setattr(client_module, "PAGE", 2)
    fake.on_request = lambda request: fake.compact() if request == "list sources" else None
    with pytest.raises(Gone):
        await client.list(Kind.SOURCE)


Call = Callable[[Client], Awaitable[object]]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda client: client.create(Kind.SOURCE, "there", SOURCE), AlreadyExistsError, "Source already exists"),
        (lambda client: client.create(Kind.SOURCE, "a", {"aeTitle": "A"}), InvalidResourceError, "hostIp"),
        (lambda client: client.get(Kind.SOURCE, "nobody"), NotFoundError, "no Source has this name"),
        (lambda client: client.get(Kind.SOURCE, "../../../../api/v1/nodes"), NotFoundError, "no Source"),
        (lambda client: client.get(Kind.SOURCE, "a/status"), NotFoundError, "no Source"),
        (lambda client: client.get(Kind.SOURCE, "x" * 254), NotFoundError, "no Source"),
        (lambda client: client.get(Kind.SOURCE, "a\n"), NotFoundError, "no Source"),
        (lambda client: client.replace(Kind.SOURCE, "there", _item("1")), ConflictError, "read it again"),
        (lambda client: client.delete(Kind.SOURCE, "there", "another-uid"), ConflictError, "read it again"),
        (lambda client: client.delete(Kind.SOURCE, "nobody", "uid"), NotFoundError, "no Source"),
        (lambda client: client.patch_status(Kind.SOURCE, "there", "1", {}), ConflictError, "read it again"),
    ],
)
async def test_what_the_api_server_refuses(client: Client, call: Call, error: type[Exception], words: str) -> None:
    await client.create(Kind.SOURCE, "there", SOURCE)
    with pytest.raises(error, match=words):
        await call(client)


def _item(version: str) -> dict[str, object]:
    return {"metadata": {"name": "there", "resourceVersion": version}, "spec": SOURCE}


async def test_an_account_without_the_rights(client: Client, fake: FakeKubernetes) -> None:
    fake.forbidden.add(("list", "sources"))
    with pytest.raises(ClusterAway, match=r"may not list sources in namespace imaging.*docs/kubernetes\.md"):
        await client.list(Kind.SOURCE)
    fake.forbidden.add(("watch", "sources"))
    with pytest.raises(ClusterAway, match="may not watch sources"):
        async with client.watch(Kind.SOURCE, "1"):
            pass


async def test_a_cluster_without_the_definitions(client: Client, fake: FakeKubernetes) -> None:
    fake.missing.add("sources")
    words = r"the cluster has no sources\.dicom\.clara\.nvidia\.com: install deploy/crds"
    with pytest.raises(ClusterAway, match=words):
        await client.list(Kind.SOURCE)
    with pytest.raises(ClusterAway, match=words):
        await client.get(Kind.SOURCE, "a")


async def test_a_namespace_that_is_not_there(client: Client, fake: FakeKubernetes) -> None:
    """Its lists are empty, so nothing tells before something is to be made; a name has nothing to do with it."""
    fake.no_namespaces.add("imaging")
    assert (await client.list(Kind.SOURCE))[0] == []
    with pytest.raises(ClusterAway, match="the cluster has no namespace imaging"):
        await client.create(Kind.SOURCE, "a", SOURCE)


async def test_an_api_server_that_is_away(client: Client, fake: FakeKubernetes) -> None:
    fake.stop()
    with pytest.raises(ClusterAway, match=rf"the API server {fake.url} cannot be reached"):
        await client.list(Kind.SOURCE)


async def test_a_connection_that_breaks_under_a_watch(client: Client, fake: FakeKubernetes) -> None:
    async def listen() -> None:
        async with client.watch(Kind.SOURCE, "1000") as events:
            async for _ in events:
                fake.drop_connections()

    with pytest.raises(ClusterAway, match="cannot be reached"):
        await listen()


async def test_something_else_on_the_port(client: Client, fake: FakeKubernetes) -> None:
    fake.garbage.add("list sources")
    with pytest.raises(ClusterAway, match="does not answer as an API server does"):
        await client.list(Kind.SOURCE)


async def test_a_token_that_changed_is_read_again(fake: FakeKubernetes, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    fake.tokens = {"first"}
    client = connect(Access(fake.kubeconfig(tmp_path, {"tokenFile": str(token)}), None))
    await client.list(Kind.SOURCE)
    fake.tokens = {"second"}
    with pytest.raises(ClusterAway, match="does not know the kubeconfig"):
        await client.list(Kind.SOURCE)
    token.write_text("second\n")
    await client.list(Kind.SOURCE)
    token.unlink()
    fake.tokens = {"third"}
    with pytest.raises(ClusterAway, match="cannot be used"):
        await client.list(Kind.SOURCE)
    await client.close()


async def test_in_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service account as Kubernetes mounts it: token, certificate authority, namespace."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    fake = FakeKubernetes(context).start()
    fake.tokens = {"of-the-pod"}
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    (tmp_path / "token").write_text("of-the-pod")
    (tmp_path / "namespace").write_text("imaging")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(fake.port))
    client = connect(Access(None, None, tmp_path))
    assert (client.namespace, client.server) == ("imaging", f"https://127.0.0.1:{fake.port}")
    made = await client.create(Kind.SOURCE, "orthanc", SOURCE)
    assert made["metadata"]["namespace"] == "imaging"
    await client.close()
    fake.close()


@pytest.mark.parametrize(
    "content",
    [None, "", "[]", "clusters: [", "{clusters: [], contexts: []}", "{current-context: x, clusters: [], contexts: []}"],
)
async def test_a_kubeconfig_that_is_none(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)
    with pytest.raises(PermanentError, match=r"kubeconfig .* cannot be used"):
        connect(Access(path, None))

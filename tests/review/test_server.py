"""The server answers this machine and this page only, and nothing it sends names a file."""

import json
import socket

import pytest
from starlette.testclient import TestClient
from studio import Studio

from lora_studio.errors import ReviewError
from lora_studio.review import server
from lora_studio.review.media import Media
from lora_studio.review.room import Room
from lora_studio.review.store import ReviewStore
from lora_studio.workspace import Workspace

TEXTS = {"bottle": "${alert(1)} a bottle <img src=x onerror=alert(1)> {{value}}", "shoe": "a shoe on a plinth"}
HOME = "http://127.0.0.1:7860"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory):
    """(client, studio, room, store) of one running application."""
    from lora_studio.review.page import build_page, mount_page

    studio = Studio(Workspace.at(tmp_path_factory.mktemp("review") / "acme"), brand="Ac${1}me")
    studio.render_all(("real", "base", "autumn"), TEXTS)
    media = Media()
    store = ReviewStore(f"sqlite:///{studio.workspace.review_db}")
    room = Room(studio.workspace, store, media)
    app = server.create_app(media, lambda app: mount_page(app, build_page(room), 7860))
    with TestClient(app, base_url=HOME) as client:
        yield client, studio, room, store
    store.close()


def send_vote(client: TestClient, reviewer: str, sent: dict | None) -> dict:
    """Sends the page's vote event as a browser would, whoever it comes from, and returns how it ended."""
    config = client.get("/config").json()
    compare = next(part["id"] for part in config["components"] if part["props"].get("elem_id") == "compare")
    number = next(d["id"] for d in config["dependencies"] if [compare, "submit"] in d["targets"])
    data = [reviewer]
    body = {"data": data, "fn_index": number, "session_hash": "session", "event_data": sent}
    assert client.post("/gradio_api/queue/join", json=body).status_code == 200
    with client.stream("GET", "/gradio_api/queue/data?session_hash=session") as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                message = json.loads(line.removeprefix("data:"))
                if message["msg"] == "process_completed":
                    return message
    raise AssertionError("the event never ended")


def test_the_page_itself_tells_nothing_of_the_workspace(served):
    client, studio, _, _ = served
    secrets = ["autumn", "a bottle", "plinth", "acme", "Ac${1}me", str(studio.workspace.root), ".mp4"]
    secrets += [take.take_id for take in studio.takes]
    for path in ("/", "/config"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert [secret for secret in secrets if secret in answer.text] == []
    assert client.get("/config").json()["analytics_enabled"] is False


def test_every_answer_carries_the_security_headers(served):
    client, *_ = served
    for path in ("/", "/config", "/ui/wall.js", "/media/nothing", "/nothing"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "192.168.1.20:7860", "127.0.0.1.evil.example", "0.0.0.0"])
def test_other_hosts_are_refused(served, host: str):
    client, *_ = served
    assert client.get("/", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:3000", "https://127.0.0.1:7860", "http://127.0.0.1:7861"])
def test_other_pages_are_refused(served, origin: str):
    client, _, _, store = served
    for path in ("/", "/config", "/gradio_api/queue/join"):
        answer = client.request("POST" if "join" in path else "GET", path, headers={"origin": origin})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    assert client.get("/config", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.get("/config", headers={"origin": HOME}).status_code == 200
    assert store.verdicts() == []


@pytest.mark.parametrize("path", [
    "/gradio_api/upload", "/gradio_api/file=/etc/passwd", "/gradio_api/file=http://example.com/", "/gradio_api/proxy=http://example.com/",
    "/gradio_api/run/vote", "/gradio_api/call/vote", "/gradio_api/info", "/gradio_api/component_server", "/openapi.json", "/docs",
    "/monitoring", "/gradio_api/vibe-edit", "/gradio_api/runs", "/takes/scores.json", "/gradio_api//file=/etc/passwd",
])  # fmt: skip
def test_what_the_page_does_not_need_is_not_there(served, path: str):
    client, *_ = served
    assert client.get(path).status_code == 404
    assert client.post(path).status_code == 404


@pytest.mark.parametrize("path", ["/ui/%2e%2e/server.py", "/ui/..%2fserver.py", "/media/%2e%2e%2freview.db", "/ui/%2fetc%2fpasswd"])
def test_no_path_leads_out(served, path: str):
    client, *_ = served
    assert client.get(path).status_code in (403, 404)


def test_clips_come_by_token_in_ranges_and_say_no_name(served):
    client, studio, room, _ = served
    cell = room.wall()["rows"][0]["cells"][1]
    take = next(t for t in studio.takes if t.look == "base" and t.prompt_id == "bottle")
    content = (studio.workspace.takes / f"{take.take_id}.mp4").read_bytes()
    whole = client.get(cell["clip"]["src"])
    assert (whole.status_code, whole.content) == (200, content)
    assert whole.headers["cache-control"] == "no-store"
    assert whole.headers["accept-ranges"] == "bytes"
    assert not {"etag", "last-modified", "content-disposition"} & set(whole.headers)
    part = client.get(cell["clip"]["src"], headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(content)}"
    assert client.get(cell["clip"]["src"], headers={"range": f"bytes={len(content)}-"}).status_code == 416
    for secret in (take.take_id, "acme"):
        assert secret not in cell["clip"]["src"]
        assert secret not in str(whole.headers)
    assert client.get("/media/" + take.take_id).status_code == 404


def test_a_forged_event_does_not_vote(served):
    client, _, room, store = served
    ballot = room.compare("Ana")["ballot"]
    done = send_vote(client, "Eve", {"ballot": ballot, "choice": "left"})
    assert done["output"]["data"][0]["notice"].startswith("Not saved")
    for sent in (None, {}, {"ballot": ballot}, {"ballot": ballot, "choice": "autumn"}, {"ballot": [ballot], "choice": {"a": 1}}):
        send_vote(client, "Ana", sent)
    assert store.verdicts() == []
    done = send_vote(client, "Ana", {"ballot": ballot, "choice": "same"})
    assert done["output"]["data"][0]["notice"] == "Vote saved."
    assert [(verdict.ballot_id, verdict.choice) for verdict in store.verdicts()] == [(ballot, "same")]


def test_only_this_machine_is_listened_on():
    for host in ("0.0.0.0", "192.168.1.20", "studio.example", "::"):
        with pytest.raises(ReviewError, match="no accounts yet"):
            server.listen(host, 0)
    with pytest.raises(ReviewError, match="0 to 65535"):
        server.listen("127.0.0.1", 70000)
    first = server.listen("127.0.0.1", 0)
    with first, pytest.raises(ReviewError, match="cannot be used"):
        server.listen("127.0.0.1", first.getsockname()[1])
    assert isinstance(first, socket.socket)


def test_settings_that_open_gradio_up_are_refused():
    server.check_environment({"GRADIO_SHARE": "", "HOME": "/home/ana"})
    for name in server.UNSAFE_SETTINGS:
        with pytest.raises(ReviewError, match=name):
            server.check_environment({name: "1"})

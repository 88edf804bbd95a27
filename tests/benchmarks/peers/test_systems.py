from benchmarks.peers.nvflare_fedavg import project
from benchmarks.peers.systems import systems


def test_every_peer_plays_as_it_comes_and_tuned() -> None:
    labels = [system.label for system in systems()]
    assert labels == [
        "fedtier",
        "flower-legacy",
        "flower-legacy-tuned",
        "flower-superlink",
        "flower-superlink-tuned",
        "nvflare-fedavg",
        "nvflare-tuned",
    ]


def test_the_tuned_deployment_has_a_site_for_every_client_and_no_tls() -> None:
    found = project(3)
    participants = found["participants"]
    assert isinstance(participants, list)
    names = [one["name"] for one in participants if one["type"] == "client"]
    assert names == ["site-1", "site-2", "site-3"]
    assert {one["connection_security"] for one in participants} == {"clear"}

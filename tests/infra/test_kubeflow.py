"""The proof of the pipeline: submitted and run whole, it trains as one machine does, and leaves nothing behind."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.infra.containers import images
from tests.infra.containers.podman import Podman
from tests.infra.kubeflow.course import (
    CLIENTS,
    RETRIES,
    ROUNDS,
    delete_while_it_starts,
    lose_both_clients,
    lose_for_good,
    train_here,
)
from tests.infra.kubeflow.site import ROLE, WORKFLOW, Seen, Site, site
from tests.infra.minikube.mirror import mnist_mirror

_USUAL: Mapping[str, object] = {"clients": len(CLIENTS), "rounds": ROUNDS}
_ALL = ("mnist", "tabular", "imageless", "crashing", "bereft", "deleted")
_TASKS = ["prepare-data", "start-aggregators", "train-client", "show-results", "tear-down"]
Undisturbed = Mapping[str, Future[dict[int, str]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kubeflow")


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> Iterator[Undisturbed]:
    """The SHA-256 of each round by task, of training on this machine; it goes on while pipelines run."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield {task: pool.submit(train_here, task, folder) for task in ("tabular_cnn", "mnist_cnn")}


@pytest.fixture(scope="module")
def podman(base_images: Mapping[str, str], folder: Path) -> Iterator[Podman]:
    [server] = images.build("server")
    with Podman(folder, {**base_images, server.name: server.identity}) as started:
        yield started


@pytest.fixture(scope="module")
def place(podman: Podman, folder: Path) -> Iterator[Site]:
    with site(podman, folder) as started:
        yield started


@pytest.fixture(scope="module")
def mnist(place: Site, podman: Podman, folder: Path, undisturbed: Undisturbed) -> Seen:
    """A run of real MNIST, both of whose clients are killed in mid-round."""
    assert undisturbed, "it goes on meanwhile"
    with mnist_mirror(podman, folder) as mirror:
        flags = {**_USUAL, "task": "mnist_cnn", "data-url": mirror}
        return place.run(flags, rounds=ROUNDS, harm=functools.partial(lose_both_clients, place))


@pytest.fixture(scope="module")
def tabular(place: Site) -> Seen:
    """A run that nothing happens to."""
    return place.run({**_USUAL, "task": "tabular_cnn"}, rounds=ROUNDS)


@pytest.fixture(scope="module")
def imageless(place: Site) -> Seen:
    """A run for whose servers there is no image."""
    return place.run({**_USUAL, "task": "tabular_cnn", "server-image": "fedtier-server:not-there"})


@pytest.fixture(scope="module")
def crashing(place: Site) -> Seen:
    """A run with an image that is none of ours: its servers end as soon as they start."""
    return place.run({**_USUAL, "task": "tabular_cnn", "server-image": "docker.io/library/nginx:1.28"})


@pytest.fixture(scope="module")
def bereft(place: Site) -> Seen:
    """A run of which one client is lost for good."""
    flags = {**_USUAL, "task": "tabular_cnn", "deadline": 5}
    return place.run(flags, rounds=ROUNDS, harm=functools.partial(lose_for_good, place))


@pytest.fixture(scope="module")
def deleted(place: Site) -> Seen:
    """A run that is killed while it starts, and never tears down; then somebody deletes it."""
    return place.run({**_USUAL, "task": "tabular_cnn"}, harm=functools.partial(delete_while_it_starts, place))


@pytest.fixture(params=_ALL)
def any_run(request: pytest.FixtureRequest) -> Seen:
    """Each run."""
    seen = request.getfixturevalue(request.param)
    assert isinstance(seen, Seen)
    return seen


@pytest.fixture(params=["mnist", "tabular"])
def good_run(request: pytest.FixtureRequest) -> Seen:
    """Each run that succeeds."""
    seen = request.getfixturevalue(request.param)
    assert isinstance(seen, Seen)
    return seen


def test_a_pipeline_trains_mnist_as_one_machine_does(
    mnist: Seen, undisturbed: Undisturbed, record_property: Callable[[str, object], None]
) -> None:
    record_property("seconds", mnist.seconds)
    assert mnist.status == 0, mnist.told
    assert mnist.models == undisturbed["mnist_cnn"].result()
    assert sorted(mnist.models) == list(range(1, ROUNDS + 1))


def test_a_pipeline_trains_a_table_as_one_machine_does(
    tabular: Seen, undisturbed: Undisturbed, record_property: Callable[[str, object], None]
) -> None:
    record_property("seconds", tabular.seconds)
    assert tabular.status == 0, tabular.told
    assert tabular.models == undisturbed["tabular_cnn"].result()
    assert sorted(tabular.models) == list(range(1, ROUNDS + 1))


def test_an_update_is_counted_once_however_often_its_task_is_tried(mnist: Seen) -> None:
    assert mnist.ends["train-client"].count("FAILED") == len(CLIENTS), "each was killed once"
    for manifest in mnist.published.values():
        assert sorted(one["client_id"] for one in manifest["contributors"]) == list(CLIENTS)


def test_a_second_try_sends_what_the_first_had_trained(mnist: Seen) -> None:
    def seen(event: str) -> Counter[tuple[str, int]]:
        return Counter((fact["client_id"], fact["round"]) for fact in mnist.run.facts(event))

    # The one was counted when it was killed, and asked again; the other was killed while it trained.
    assert seen("training") == {("client-0", 1): 1, ("client-1", 1): 1, ("client-0", 2): 1, ("client-1", 2): 2}
    assert seen("counted") == {("client-0", 1): 1, ("client-1", 1): 1, ("client-0", 2): 2, ("client-1", 2): 1}


def test_each_task_succeeds_in_its_turn(tabular: Seen) -> None:
    assert list(tabular.ends) == _TASKS
    assert {end for ends in tabular.ends.values() for end in ends} == {"SUCCEEDED"}


def test_results_are_artifacts(good_run: Seen) -> None:
    last = good_run.models[ROUNDS]
    said, table = (good_run.artifact(name).read_text() for name in ("last_accuracies", "accuracy_table"))
    plot = good_run.artifact("accuracy_plot").read_text()

    assert all(client in said and client in table for client in CLIENTS)
    assert [f"| {number} |" in table for number in range(1, ROUNDS + 1)] == [True] * ROUNDS
    assert 'src="data:image/png;base64,' in plot
    assert "://" not in plot, "it reaches no other file"
    assert hashlib.sha256(good_run.artifact("model").read_bytes()).hexdigest() == last
    assert last in good_run.printed
    assert "<table>" in good_run.artifact("label_distribution").read_text()


def test_an_image_that_is_not_there_ends_the_run_with_the_reason(imageless: Seen) -> None:
    assert imageless.status == 1
    assert imageless.ends["start-aggregators"] == ["FAILED"]
    assert "train-client" not in imageless.ends
    assert "fedtier-server:not-there" in imageless.printed
    assert "ImagePullBackOff" in imageless.printed
    assert imageless.ends["tear-down"] == ["SUCCEEDED"]
    assert '"task": "Start aggregators"' in imageless.told


def test_servers_that_crash_end_the_run_with_the_end_of_their_log(crashing: Seen) -> None:
    assert crashing.status == 1
    assert crashing.ends["start-aggregators"] == ["FAILED"]
    assert crashing.ends["tear-down"] == ["SUCCEEDED"]
    assert "its log ends with" in crashing.printed


def test_a_client_that_is_lost_for_good_fails_the_run_and_ends_no_round(bereft: Seen) -> None:
    assert bereft.status == 1
    assert bereft.ends["train-client"].count("FAILED") == 1 + RETRIES
    assert [fact["client_id"] for fact in bereft.run.facts("finished") if fact["ok"]] == [CLIENTS[0]]
    assert bereft.ends["show-results"] == ["SUCCEEDED"], "what the other came to is shown"
    assert bereft.ends["tear-down"] == ["SUCCEEDED"]
    for manifest in bereft.published.values():
        assert [one["client_id"] for one in manifest["contributors"]] == [CLIENTS[0]]
    assert hashlib.sha256(bereft.artifact("model").read_bytes()).hexdigest() == bereft.models[ROUNDS]


def test_nothing_is_left_of_a_run_whatever_becomes_of_it(any_run: Seen) -> None:
    assert any_run.made, "there was something to remove"
    assert any_run.left == []


def test_what_a_run_makes_belongs_to_it(any_run: Seen) -> None:
    names = {one["metadata"]["labels"]["app.kubernetes.io/instance"] for one in any_run.made}

    assert len(names) == 1
    for one in any_run.made:
        assert [owner["uid"] for owner in one["metadata"]["ownerReferences"]] == [WORKFLOW], one["metadata"]["name"]


def test_no_secret_is_printed(any_run: Seen) -> None:
    printed = any_run.printed + any_run.told
    for one in any_run.made:
        if one["kind"] == "Secret":
            for key, value in one["data"].items():
                lines = base64.b64decode(value).decode().splitlines()
                shown = [line for line in lines if len(line) > 20 and not line.startswith("-----") and line in printed]
                assert shown == [], f"{one['metadata']['name']}, {key}"


def test_tasks_need_all_rights_of_their_role_and_no_others(place: Site, request: pytest.FixtureRequest) -> None:
    for name in _ALL:
        request.getfixturevalue(name)
    [role] = [one for one in yaml.safe_load_all(ROLE.read_text()) if one["kind"] == "Role"]
    granted = {
        (verb, group, resource)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }

    assert place.api.refused == []
    assert place.api.asked == granted
